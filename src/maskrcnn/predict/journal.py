"""journal.jsonl in the folder of the results: what is finished, so that a run goes on after a kill.

Its first line says what run it is of: weights, settings and images, or videos. Each further line has a
checksum and is of something finished: a part of an image, as COCO results, or what is told of a video. It is
written there last, after all other files have it; those of images are made whole again from here.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.instances import Instances, Masks
from maskrcnn.masks.paste import Window
from maskrcnn.masks.rle import crop_rle, json_rle, rle_bitmap, rle_box
from maskrcnn.model.digest import weights_digest
from maskrcnn.predict.augment import Augmented
from maskrcnn.runtime.engine import Runner
from maskrcnn.version import __version__

NAME = "journal.jsonl"
MOST_SIDE = 1024  # cells of a mask
CHECKED = b', "crc32": '  # of what stands before it in the line: with a flipped bit a number is another one
Run = dict[str, str]  # what a run is: of each thing that changes its results, how it is


@dataclass(frozen=True)
class Finished:
    """A part of an image."""

    image: int  # number, from 1
    part: int  # from 0
    last: bool  # the image has no further part
    notes: list[str]  # told at the end
    full: int  # tiles of the image so far with as many objects as the model gives
    found: Instances


def describe_run(
    model: Runner, files: Sequence[tuple[str, Path]], *, kind: str = "images", **settings: object
) -> Run:
    """What makes another run's results others.

    Args:
        files: name and path of each image, in order.
        kind: of the files, in messages.
        settings: that change what is found, by name.
    """
    state_of_all = hashlib.sha256()
    for name, path in files:
        state_of_all.update(json.dumps([name, _state(path)]).encode())
    settings = {kind: f"{len(files)} {state_of_all.hexdigest()}", **settings}
    return describe_model(model, **settings)


def _state(path: Path) -> Any:
    """Size and time of a file; of a folder, as of a zarr, whose own time says little, those of all in it."""
    if not path.exists():  # the one who reads it says that it is gone
        return None
    if path.is_dir():
        return [[each.name, _state(each)] for each in sorted(path.iterdir())]
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def describe_model(model: Runner, **settings: object) -> Run:
    """The same of a run whose files are described otherwise."""
    inner = model.runner if isinstance(model, Augmented) else model
    config = json.dumps(model.config.model_dump(mode="json"), sort_keys=True)
    return {
        "weights": _weights(inner),
        "model settings": hashlib.sha256(config.encode()).hexdigest(),
        "engine": str(getattr(model, "name", "torch")),
        "augmentation": "" if inner is model else "looks",
        "version": __version__,
        **{name: str(value) for name, value in settings.items()},
    }


def _weights(model: Runner) -> str:
    """SHA-256 of a network's tensors, or what an engine says of its own."""
    return weights_digest(model) if isinstance(model, nn.Module) else str(getattr(model, "weights", ""))


class RunJournal:
    """What is finished of a run, in records; the file stays open until `close`."""

    def __init__(self, folder: Path, run: Run, *, resume: bool = True) -> None:
        """
        Args:
            folder: of the results.
            resume: go on with what the folder holds; else its journal is begun anew.

        Raises:
            UserError: the folder holds another run's results, or a journal that is damaged.
            OSError: it cannot be written.
        """
        self.path = folder / NAME
        self.resumed = resume and self.path.exists()  # there was one of this run
        if self.resumed:
            self._check(run)
        self._file = self.path.open("r+b" if self.resumed else "wb")
        end = self._whole_lines() if self.resumed else 0
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._put({"run": run})

    def close(self) -> None:
        self._file.close()

    def _remember(self, record: dict[str, Any], place: int) -> None:
        """Take note of a record that is there, whose line begins at that byte.

        Raises:
            UserError: it cannot be of this run.
        """
        raise NotImplementedError

    def _put(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, allow_nan=False).encode()[:-1]
        self._file.write(text + CHECKED + b"%d}\n" % zlib.crc32(text))
        self._file.flush()

    def _check(self, run: Run) -> None:
        with self.path.open("rb") as file:
            line, finished = file.readline(), file.readline().endswith(b"\n")
        if not line.endswith(b"\n"):  # killed before it was written
            return
        record = self._record(line)
        other = record.get("run")
        if not isinstance(other, dict):
            raise self._damaged()
        differ = [name for name in run if other.get(name) != run[name]]
        if differ and finished:  # of a run that finished nothing there is nothing to lose
            raise UserError(
                f"{self.path.parent}: holds results of another run (other {' and '.join(differ)}); name "
                "another folder with --out, or replace them with --no-resume"
            )

    def _whole_lines(self) -> int:
        """Where the last whole line ends; 0 where nothing is finished. All records are remembered."""
        end = whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            if whole:  # the first says what run it is
                self._remember(self._record(line), end)
            end, whole = end + len(line), whole + 1
        return end if whole > 1 else 0

    def _record(self, line: bytes) -> dict[str, Any]:
        text, _, check = line.rpartition(CHECKED)
        try:
            record = json.loads(line) if check.strip() == b"%d}" % zlib.crc32(text) else None
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise self._damaged()
        return record

    def _damaged(self) -> UserError:
        return UserError(f"{self.path}: damaged; start anew with --no-resume, or name another --out")


class Journal(RunJournal):
    """Of images, in parts."""

    def __init__(
        self, folder: Path, run: Run, config: ModelConfig, images: int, *, resume: bool = True
    ) -> None:
        """
        Args:
            config: of the run's model.
            images: how many the run has.
            folder, run, resume: as `RunJournal` takes them; its errors are raised.
        """
        self._config, self._images = config, images
        self.parts: dict[int, int] = {}  # of each image, how many are finished
        self.full: dict[int, int] = {}  # of each image, what the last of these says
        self.ended: dict[int, None] = {}  # images, in the order they were finished, without a further part
        self._places: dict[int, list[int]] = {}  # of each image, where its lines begin
        super().__init__(folder, run, resume=resume)

    def finished(self, image: int) -> Iterator[Finished]:
        """What earlier runs finished of an image, in the order in which they did.

        Raises:
            UserError: a record is damaged.
        """
        with self.path.open("rb") as file:
            for place in self._places.get(image, []):
                file.seek(place)
                record = self._record(file.readline())
                try:
                    found = _instances(record, self._config)
                    notes, full = [str(note) for note in record["notes"]], int(record["full"])
                except (KeyError, TypeError, ValueError, IndexError, AttributeError):
                    raise self._damaged() from None
                yield Finished(record["image"], record["part"], record["last"], notes, full, found)

    def add(self, one: Finished) -> None:
        """A part that all writers have; one that earlier runs finished is here already."""
        if one.part < self.parts.get(one.image, 0):
            return
        objects = one.found.to_coco(one.image)
        for result in objects:
            del result["image_id"]
        record: dict[str, Any] = {
            "image": one.image,
            "part": one.part,
            "last": one.last,
            "size": list(one.found.size),
        }
        if one.found.masks is not None:
            record["mask_side"] = one.found.masks.probabilities.shape[-1]
        self._put(record | {"notes": one.notes, "full": one.full, "objects": objects})

    def _remember(self, record: dict[str, Any], place: int) -> None:
        image, part, last = record.get("image"), record.get("part"), record.get("last")
        if not isinstance(image, int) or not 0 < image <= self._images or not isinstance(last, bool):
            raise self._damaged()
        if part != self.parts.get(image, 0) or image in self.ended:
            raise self._damaged()
        self.parts[image] = self.parts.get(image, 0) + 1
        self._places.setdefault(image, []).append(place)
        self.full[image] = record.get("full", 0)
        if last:
            self.ended[image] = None


def _instances(record: dict[str, Any], config: ModelConfig) -> Instances:
    """What `Journal.add` was given."""
    height, width = size = (int(record["size"][0]), int(record["size"][1]))
    objects = record["objects"]
    ids = config.class_ids or list(range(1, len(config.classes) + 1))
    labels = np.array([ids.index(one["category_id"]) for one in objects], np.int64)
    box = np.array([one["bbox"] for one in objects], np.float64).reshape(-1, 4)
    boxes = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1).astype(np.float32)
    masks = None
    if all("segmentation" in one for one in objects) if objects else config.mask_head is not None:
        known = {row: _window(one["segmentation"], *size) for row, one in enumerate(objects)}
        side = int(record["mask_side"])  # so that they go together with masks as the network gives them
        if not 0 < side <= MOST_SIDE:
            raise ValueError("no such masks")
        none = np.zeros((len(objects), side, side), np.float32)
        masks = Masks(none, boxes, (height, width), config.test.mask_threshold, known)
    points = scores = mask_scores = None
    if objects and all("segmentation_score" in one for one in objects):
        mask_scores = np.array([one["segmentation_score"] for one in objects], np.float32)
    if objects and all("keypoints" in one for one in objects):
        flat = np.array([one["keypoints"] for one in objects], np.float64)
        points = (flat.reshape(len(objects), -1, 3) + (0.5, 0.5, 0.0)).astype(np.float32)
        if all("keypoints_score" in one for one in objects):
            scores = np.array([one["keypoints_score"] for one in objects], np.float32)
    elif not objects and config.keypoint_head is not None and config.keypoints is not None:
        points = np.zeros((0, len(config.keypoints.names), 3), np.float32)
    return Instances(
        boxes=boxes,
        scores=np.array([one["score"] for one in objects], np.float32),
        labels=labels,
        names=[config.classes[label] for label in labels],
        size=size,
        masks=masks,
        keypoints=points,
        keypoint_schema=None if points is None else config.keypoints,
        keypoint_scores=scores,
        mask_scores=mask_scores,
        channels=config.input.channels,
        value_range=config.input.value_range,
        class_ids=np.array(config.class_ids, np.int64)[labels] if config.class_ids else None,
    )


def _window(segmentation: dict[str, Any], height: int, width: int) -> Window:
    rle = json_rle(segmentation, height, width)
    x0, y0, x1, y1 = map(int, rle_box(rle))
    return x0, y0, rle_bitmap(crop_rle(rle, x0, y0, x1 - x0, y1 - y0)) > 0
