"""From images to Instances: everything around the network at prediction time, which never resizes or pastes itself."""

from __future__ import annotations

import glob
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.batch import Batch, make_batch
from maskrcnn.images.read import as_pixels, find_images, read_image
from maskrcnn.instances import Instances, Masks
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.ops.heatmaps import decode_resize
from maskrcnn.runtime.engine import Runner, detect, engine_of

if TYPE_CHECKING:
    from maskrcnn.model.mask_rcnn import RawDetections

One = str | Path | np.ndarray | Image.Image
Progress = Callable[[int, int], None]  # images done, images in all


@dataclass
class Summary:
    """What `predict_files` did."""

    results: Path  # the JSON it wrote
    overlays: list[Path] = field(default_factory=list)
    objects: Counter[str] = field(default_factory=Counter)  # found, by class name
    unreadable: list[str] = field(default_factory=list)  # one line for each image that could not be read

    @property
    def exit_code(self) -> int:
        """0, or 3 when an image could not be read."""
        return DataError.exit_code if self.unreadable else 0


def predict(
    model: Runner, source: One | list[One], *, score: float = 0.5, batch: int = 1, engine: str | None = None
) -> Instances | list[Instances]:
    """Find the objects in one or many images.

    Args:
        model: a network, or an engine (`maskrcnn.runtime.engine`).
        source: a file, an array (`as_pixels` says which), or a Pillow image; or a folder, a pattern such as
            'shots/*.jpg', or a list of any of these.
        score: objects below it are left out.
        batch: images that go through the network together.
        engine: "openvino", "onnxruntime" or "auto" runs a network by it; at the first use it is exported into the cache.

    Returns:
        the image's Instances for a single image, else a list of them in the order of `find_images`.

    Raises:
        UserError: no such file, or an array that is not an image.
        DataError: an image that cannot be read.
    """
    if engine is not None and isinstance(model, MaskRCNN):
        model = engine_of(model, engine)
    images = _images_of(source)
    single = not isinstance(source, list) and not _is_many(source)
    found: list[Instances] = []
    for start in range(0, len(images), batch):
        group = images[start : start + batch]
        channels = model.config.input.channels
        pixels = [read_image(p, channels) if isinstance(p, Path) else as_pixels(p, channels) for p in group]
        found += predict_pixels(model, pixels, score=score, paths=[p if isinstance(p, Path) else None for p in group])
    if single:
        return found[0]
    # a folder's worth of decoded images would fill the memory; `plot` reads the file again
    for instances in found:
        instances.pixels = instances.pixels if instances.path is None else None
    return found


def predict_pixels(
    model: Runner, pixels: list[np.ndarray], *, score: float = 0.5, paths: list[Path | None] | None = None
) -> list[Instances]:
    """The same for images that are already uint8 (H, W, C), C as the model has it, as one batch."""
    batch = make_batch(pixels, model.config.input)
    raw = detect(model, batch.images, batch.sizes, score)
    found = finish(raw, batch, model.config, score=score)
    for instances, image, path in zip(found, pixels, paths or [None] * len(pixels), strict=True):
        instances.pixels, instances.path, instances.channels = image, path, image.shape[2]
    return found


def finish(raw: RawDetections, batch: Batch, config: ModelConfig, *, score: float = 0.0) -> list[Instances]:
    """The network's fixed-shape answer as one Instances per image, in original pixels and best first.

    Boxes are clipped to the image; masks stay over the box that the network looked at. Left out are slots that are
    not valid, scores below `score`, and boxes with nothing inside the image or coordinates that are not finite.

    Args:
        raw: what the network gave for `batch`, on any device.
        batch: as `make_batch` or the test loader made it.
        config: of the model, for class names, keypoint schema and mask threshold.
    """
    scales = batch.scales.double().cpu().numpy()
    originals = batch.originals.cpu().numpy()
    everything = _array(raw.boxes), _array(raw.scores), raw.labels.cpu().numpy(), raw.valid.cpu().numpy()
    found = []
    for index, (boxes, scores, labels, valid) in enumerate(zip(*everything, strict=True)):
        height, width = (int(side) for side in originals[index])
        whole = boxes.astype(np.float64) / np.tile(scales[index], 2)
        inside = np.clip(whole, 0, (width, height, width, height))
        solid = np.isfinite(boxes).all(axis=1) & (inside[:, 2:] > inside[:, :2]).all(axis=1)
        rows = np.flatnonzero(valid & solid & (scores >= score))
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        points = _keypoints(raw, index, rows, scales[index])
        expected = points is not None and config.keypoint_head is not None and config.keypoint_head.decode == "oks"
        found.append(
            Instances(
                boxes=inside[rows].astype(np.float32),
                scores=scores[rows],
                labels=labels[rows].astype(np.int64),
                names=[config.classes[label] for label in labels[rows]],
                size=(height, width),
                masks=_masks(raw, index, rows, whole, (height, width), config.test.mask_threshold),
                keypoints=points,
                keypoint_schema=None if points is None else config.keypoints,
                keypoint_scores=scores[rows] * points[..., 2].mean(1) if expected else None,  # type: ignore[index]
                class_ids=np.array(config.class_ids, np.int64)[labels[rows]] if config.class_ids else None,
            )
        )
    return found


def predict_files(
    model: Runner,
    sources: list[str],
    out: Path,
    *,
    score: float = 0.5,
    batch: int = 1,
    progress: Progress | None = None,
) -> Summary:
    """Find the objects in every image of `sources` and write what a person and a program want of it.

    `out` gets one image with the objects drawn on it for each (JPEG for JPEG, else PNG), and results.json: COCO
    results of all images, each with its `file_name` as given and `image_id` counted from 1 in the order of
    `find_images`. An image that cannot be read is named in the summary and the rest go on.

    Raises:
        UserError: no images, `out` is not a folder that can be written, or an overlay would replace its image.
    """
    paths = find_images(sources)
    overlays = _overlay_names(paths, out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{out}: a file is in the way; name a folder for the results") from None
    summary = Summary(results=out / "results.json")
    results = []
    try:
        for start in range(0, len(paths), batch):
            group = list(range(start, min(start + batch, len(paths))))
            for place, found in _predict_readable(model, paths, group, score, summary):
                found.plot().save(overlays[place], quality=92)
                summary.overlays.append(overlays[place])
                summary.objects.update(found.names)
                results += [{**r, "file_name": paths[place].as_posix()} for r in found.to_coco(place + 1)]
            if progress:
                progress(group[-1] + 1, len(paths))
    finally:
        # also after Ctrl-C or a full disk: what was found so far is not lost
        summary.results.write_text(json.dumps(results), encoding="utf-8")
    return summary


def _predict_readable(
    model: Runner, paths: list[Path], group: list[int], score: float, summary: Summary
) -> Iterator[tuple[int, Instances]]:
    """What is in the images at the places `group` of `paths`; those that cannot be read are named in `summary`."""
    pixels: dict[int, np.ndarray] = {}
    for place in group:
        try:
            pixels[place] = read_image(paths[place], model.config.input.channels)
        except DataError as error:
            summary.unreadable.append(str(error))
    if pixels:
        found = predict_pixels(model, list(pixels.values()), score=score, paths=[paths[place] for place in pixels])
        yield from zip(pixels, found, strict=True)


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
            raise UserError(f"{out}: overlays would replace the images in it; name another folder for the results")
    return names


def _images_of(source: One | list[One]) -> list[Path | np.ndarray | Image.Image]:
    """Every image that was given, files found but not yet read."""
    images: list[Path | np.ndarray | Image.Image] = []
    for one in source if isinstance(source, list) else [source]:
        images += find_images([str(one)]) if isinstance(one, (str, Path)) else [one]
    return images


def _is_many(source: One) -> bool:
    """Whether a source stands for a list of images however many it turns out to hold."""
    if not isinstance(source, (str, Path)):
        return False
    path = Path(source).expanduser()
    return path.is_dir() or (not path.exists() and glob.has_magic(str(source)))


def _masks(
    raw: RawDetections, index: int, rows: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threshold: float
) -> Masks | None:
    """Masks of the image at `index`; `boxes` are all its boxes, original pixels, not clipped."""
    if raw.masks is None:
        return None
    return Masks(_array(raw.masks[index])[rows], boxes[rows].astype(np.float32), size, threshold)


def _keypoints(raw: RawDetections, index: int, rows: np.ndarray, scale: np.ndarray) -> np.ndarray | None:
    """Keypoints (N, K, 3) of the image at `index` in original pixels."""
    if raw.keypoint_logits is not None:
        chosen = torch.from_numpy(rows).to(raw.boxes.device)
        # in the model's pixels, as the peers do: their answer depends on the size of the resized map
        points = decode_resize(raw.keypoint_logits[index][chosen].float().cpu(), raw.boxes[index][chosen].float().cpu())
        # the last column is the probability; the logit, where it comes too, is before it
        found = points[..., [0, 1, -1]].numpy()
    elif raw.keypoints is not None:
        found = _array(raw.keypoints[index])[rows]
    else:
        return None
    return (found / np.append(scale, 1.0)).astype(np.float32)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
