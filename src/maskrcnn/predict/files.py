"""From image files to a folder of overlays and results.json: what `maskrcnn predict` does."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import DataError, UserError
from maskrcnn.files import write_text
from maskrcnn.images.read import read_image
from maskrcnn.images.write import save_image
from maskrcnn.instances import Instances
from maskrcnn.predict.large import grid_of
from maskrcnn.predict.predictor import Tiles, check_batch, check_score, predict_pixels, tile_side
from maskrcnn.predict.sources import find_sources
from maskrcnn.predict.table import TableWriter
from maskrcnn.progress import Progress
from maskrcnn.runtime.engine import Runner
from maskrcnn.stop import telling

SAVED = ("overlay", "csv")


@dataclass
class Summary:
    """What `predict_files` did."""

    results: Path  # the JSON it wrote
    overlays: list[Path] = field(default_factory=list)
    images: int = 0  # that were predicted
    objects: Counter[str] = field(default_factory=Counter)  # found, by class name
    unreadable: list[str] = field(default_factory=list)  # one line for each image that could not be read
    notes: list[str] = field(default_factory=list)  # a line on each image in tiles, or too large without
    passed_over: list[Path] = field(default_factory=list)  # in folders, of formats that are not read

    @property
    def exit_code(self) -> int:
        """0, or 3 when an image could not be read or was passed over."""
        return DataError.exit_code if self.unreadable or self.passed_over else 0


def predict_files(
    model: Runner,
    sources: Sequence[str | Path],
    out: Path,
    *,
    score: float | None = 0.5,
    batch: int = 1,
    tiles: Tiles = "auto",
    save: Collection[str] = ("overlay",),
    scale: float | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Find the objects in every image of `sources` and write what a person and a program want of it.

    `out` gets results.json: COCO results of all images, each with its `category_name`, its `file_name` as
    given and `image_id` counted from 1 in the order of `find_images`. An image that cannot be read is named
    in the summary and the rest go on.

    Args:
        tiles: as `predict` takes it.
        save: any of `SAVED`: "overlay", each image with the objects drawn on it (JPEG for JPEG, else PNG),
            and "csv", tables of the objects and of the images (`TableWriter`).
        scale: micrometres per pixel, for the tables.

    Raises:
        UserError: no images, `out` is not a folder that can be written, or an overlay would replace its
            image.
    """
    check_batch(batch)
    check_score(score)
    for name in save:
        if name not in SAVED:
            raise UserError(f"save={name}: there are {', '.join(SAVED)}")
    paths, passed_over = find_sources(sources)
    overlays = _overlay_names(paths, out)
    _make_folder(out)
    summary = Summary(results=out / "results.json", passed_over=passed_over)
    results: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(telling(lambda: f"{summary.images} of {len(paths)} images are done: {out}"))
        # also after Ctrl-C or a full disk: what was found so far is not lost
        stack.callback(lambda: write_text(summary.results, json.dumps(results)))
        table = stack.enter_context(TableWriter(out, scale)) if "csv" in save else None
        for start in range(0, len(paths), batch):
            group = list(range(start, min(start + batch, len(paths))))
            for place, found in _predict_readable(model, paths, group, score, tiles, summary, progress):
                file_name = paths[place].as_posix()
                if "overlay" in save:
                    save_image(found.plot(), overlays[place], quality=92)
                    summary.overlays.append(overlays[place])
                if table is not None:
                    table.add(file_name, found)
                summary.images += 1
                summary.objects.update(found.names)
                results += [
                    {**result, "category_name": name, "file_name": file_name}
                    for result, name in zip(found.to_coco(place + 1), found.names, strict=True)
                ]
            if progress:
                progress(group[-1] + 1, len(paths))
    return summary


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{out}: a file is in the way; name a folder for the results") from None


def _predict_readable(
    model: Runner,
    paths: list[Path],
    group: list[int],
    score: float | None,
    tiles: Tiles,
    summary: Summary,
    progress: Progress | None,
) -> Iterator[tuple[int, Instances]]:
    """What is in the images at the places `group` of `paths`; those that cannot be read are named in
    `summary`.
    """
    pixels: dict[int, np.ndarray] = {}
    config = model.config.input
    for place in group:
        try:
            pixels[place] = read_image(paths[place], config.channels, config.value_range)
        except DataError as error:
            summary.unreadable.append(str(error))
    if pixels:
        found = predict_pixels(
            model,
            list(pixels.values()),
            score=score,
            paths=[paths[place] for place in pixels],
            tiles=tiles,
            progress=progress,
        )
        for place, instances in zip(pixels, found, strict=True):
            summary.notes += _notes(paths[place], instances, model.config, tiles)
        yield from zip(pixels, found, strict=True)


def _notes(path: Path, found: Instances, config: ModelConfig, tiles: Tiles) -> list[str]:
    """How a large or crowded image was predicted, where that is worth a line."""
    height, width = found.size
    side = tile_side(config.input, found.size, tiles)
    if side is not None:
        count = len(grid_of(found.size, side))
        return [f"{path}: {width:,} x {height:,} pixels, predicted in {count:,} tiles of {side}"]
    lines = []
    if tile_side(config.input, found.size, "auto") is not None:
        times = max(height, width) / (config.input.tile_side or 1)
        lines.append(
            f"warning: {path}: {width:,} x {height:,} pixels, {times:.1f} times what the model is made for, "
            "so objects are seen that much smaller; leave out --tiles"
        )
    if len(found) >= config.test.detections:
        lines.append(
            f"warning: {path}: {len(found)} objects are the most that the model gives for an image "
            "(model.test.detections), so there may be more; add --tiles, with half the image's side"
        )
    return lines


def _overlay_names(paths: list[Path], out: Path) -> list[Path]:
    """Where each image's overlay goes: its own name in `out`, numbered where two images have the same."""
    sources = {path.resolve() for path in paths}
    taken: set[str] = set()
    names = []
    for path in paths:
        suffix = path.suffix if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
        name, number = f"{path.stem}{suffix}", 1
        # lower case, for file systems that do not tell A.png from a.png
        while name.lower() in taken:
            number += 1
            name = f"{path.stem}_{number}{suffix}"
        taken.add(name.lower())
        names.append(out / name)
        if names[-1].resolve() in sources:
            raise UserError(
                f"{out}: overlays would replace the images in it; name another folder for the results"
            )
    return names
