"""From the pixels of images to Instances: everything around the network at test time."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from maskrcnn.config.model import InputConfig, ModelConfig, TestConfig
from maskrcnn.errors import UserError
from maskrcnn.images.batch import Batch, batches_of_one_shape, make_batch
from maskrcnn.images.read import as_pixels
from maskrcnn.images.regions import ArrayRegions, RegionImage, whole_pixels
from maskrcnn.instances import Instances, Masks
from maskrcnn.masks.paste import integer_boxes
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.ops.heatmaps import decode_resize
from maskrcnn.predict.augment import Augmented
from maskrcnn.predict.given import GivenFiles, OpenFile
from maskrcnn.predict.large import TiledImage, Tiles, tile_side
from maskrcnn.predict.reading import SourceImage, open_image
from maskrcnn.predict.sources import find_sources, is_many, passed_over_line
from maskrcnn.progress import Progress
from maskrcnn.runtime.compiled_engine import CompiledEngine
from maskrcnn.runtime.engine import Runner, run_network
from maskrcnn.runtime.torch_engine import torch_runner
from maskrcnn.shell import counted

Pixels = np.ndarray | Image.Image | bytes | bytearray | memoryview | OpenFile
One = str | Path | Pixels


def predict(
    model: Runner,
    source: One | Iterable[One],
    *,
    score: float | None = None,
    batch: int = 1,
    tiles: Tiles = "auto",
    tta: bool = False,
    allow_network: bool = False,
) -> Instances | list[Instances]:
    """Find the objects in one or many images.

    Args:
        model: a network, or an engine (`maskrcnn.runtime.engine`).
        source: a file by its path, its bytes, or open in binary mode; an array, which `as_pixels` describes
            (8 bits as they are; 16 bits and floats 0 to 1 scaled to 8; others refused without
            `model.config.input.value_range`); a Pillow image; an address. Or a folder, a pattern such as
            'shots/*.jpg', or any number of these.
        score: objects with a lower score are left out; None: the model's own, `test.predict_score`.
        batch: at most so many images go through the network together: those of one shape.
        tiles: "auto" predicts images in overlapping tiles that are more than twice as long as those that the
            model is made for (`model.input.tile_side`); a number of pixels, all that are longer than it, in
            tiles of that side; "off" none.
        tta: test-time augmentation: what is found mirrored and at other sizes too is made one
            (`maskrcnn.predict.augment`), for about four times the time.
        allow_network: fetch addresses (https); they are refused otherwise.

    Warns where an image may hold more objects than the model gives (`Instances.capped`).

    Returns:
        the image's Instances for a single image, else a list of them in the order of `find_images`.

    Raises:
        UserError: no such file, an array that is not an image, or an argument out of its range.
        DataError: an image that cannot be read.
    """
    check_batch(batch)
    score = kept_score(score, model.config)
    for name, value in {"tta": tta, "allow_network": allow_network}.items():
        if not isinstance(value, bool):
            raise UserError(f"{name}={value!r:.40}: give True or False")
    model = torch_runner(model) if isinstance(model, MaskRCNN) else model
    model = Augmented(model) if tta else model
    one = isinstance(source, One) or not isinstance(source, Iterable)
    found: list[Instances] = []
    with GivenFiles(allow_network=allow_network) as given:
        images = _images_of([source] if one else source, given)  # type: ignore[list-item, arg-type]
        for start in range(0, len(images), batch):
            group = images[start : start + batch]
            opened = [_open(image, model.config.input, tiles) for image in group]
            found += predict_opened(model, opened, score, [given.own_path(image) for image in group])
    if capped := sum(instances.capped for instances in found):
        warnings.warn(f"{capped_line(capped, 'image')}; give tiles=, half an image's side", stacklevel=3)
    if one and not (isinstance(source, str | Path) and is_many(source)):
        return found[0]
    # a folder's worth of decoded images would fill the memory; `plot` reads the file again
    for instances in found:
        instances.pixels = instances.pixels if instances.path is None else None
    return found


def capped_line(count: int, noun: str) -> str:
    """That so many images or frames may hold more, in words."""
    return (
        f"{counted(count, noun)} with as many objects as the model gives for one, or for a tile "
        "(model.test.detections), so there may be more"
    )


def predict_pixels(
    model: Runner,
    pixels: list[np.ndarray],
    *,
    score: float | None = None,
    paths: list[Path | None] | None = None,
    tiles: Tiles = "off",
    progress: Progress | None = None,
) -> list[Instances]:
    """The same for images that are already uint8 (H, W, C), C as the model has it.

    Those of one padded shape go through the network together; each in tiles goes on its own, with `progress`
    called for its tiles.
    """
    score = kept_score(score, model.config)
    config = model.config.input
    opened = [(ArrayRegions(image), tile_side(config, image.shape[:2], tiles)) for image in pixels]
    return predict_opened(model, opened, score, paths or [None] * len(pixels), progress)


def predict_opened(
    model: Runner,
    images: Sequence[tuple[RegionImage, int | None]],
    score: float,
    paths: Sequence[Path | None],
    progress: Progress | None = None,
    batches: Iterable[tuple[list[int], Batch]] | None = None,
) -> list[Instances]:
    """What is in some images, of which each has a side of tiles or is predicted whole.

    Args:
        batches: what `whole_batches` gave for them, where that was done before.
    """
    config = model.config.input
    found: dict[int, Instances] = {}
    for place, (image, side) in enumerate(images):
        if side is None:
            continue
        prediction = tiled(model, image, side, score=score)
        found[place] = prediction.whole(progress)
        found[place].capped = prediction.full > 0
    for places, batch in whole_batches(model, images) if batches is None else batches:
        raw = run_network(model, batch.images, batch.sizes, score)
        found |= zip(places, finish(raw, batch, model.config, score=score), strict=True)
    for place, (image, side) in enumerate(images):
        instances = found[place]
        if side is None:
            instances.capped = len(instances) >= model.config.test.detections
        instances.pixels = image.pixels if isinstance(image, ArrayRegions) else None
        instances.channels, instances.value_range = image.channels, config.value_range
        instances.path = paths[place]
        image.close()
    return [found[place] for place in range(len(images))]


def whole_batches(
    model: Runner, images: Sequence[tuple[RegionImage, int | None]]
) -> Iterator[tuple[list[int], Batch]]:
    """Those of the images that are predicted whole as the network takes them, with their places."""
    config = model.config.input
    whole = {
        place: whole_pixels(image, image.size) for place, (image, side) in enumerate(images) if side is None
    }
    sizes = (pixels.shape[:2] for pixels in whole.values())
    shape = model.shapes.holding if isinstance(model, CompiledEngine) else None
    for batch_of in batches_of_one_shape(sizes, config, len(images), shape):
        places = [list(whole)[one] for one in batch_of]
        yield places, make_batch([whole[place] for place in places], config)


def _open(
    image: Path | np.ndarray | Image.Image, config: InputConfig, tiles: Tiles
) -> tuple[RegionImage, int | None]:
    if isinstance(image, Path):
        return open_image(SourceImage(image), config, tiles)
    return open_pixels(image, config, tiles)


def open_pixels(
    image: np.ndarray | Image.Image, config: InputConfig, tiles: Tiles
) -> tuple[ArrayRegions, int | None]:
    """An image that is in memory, as `as_pixels` takes it, and the side of its tiles, None where it is
    predicted whole.

    Raises:
        UserError: an array that is not such an image.
    """
    whole = ArrayRegions(as_pixels(image, config.channels, config.value_range))
    return whole, tile_side(config, whole.size, tiles)


def tiled(model: Runner, image: RegionImage, side: int, *, score: float) -> TiledImage:
    """An image whose objects are found in overlapping tiles of `side` pixels."""

    def find(tile: np.ndarray) -> Instances:
        return predict_pixels(model, [tile], score=score)[0]

    return TiledImage(image, side, find, most=model.config.test.detections, config=model.config.input)


def kept_score(score: float | None, config: ModelConfig) -> float:
    """The score from which objects are kept: what is asked for, or the model's own.

    Raises:
        UserError: a score that nothing can have, NaN too.
    """
    if score is None:
        return config.test.kept_score
    if not (isinstance(score, Real) and 0 <= score <= 1):
        raise UserError(f"score={score!r:.40}: scores are from 0 to 1")
    return score


def check_batch(batch: int) -> None:
    """Refuse a batch of no image."""
    if not isinstance(batch, Integral) or batch < 1:
        raise UserError(f"batch={batch!r:.40}: give at least 1 image per forward pass")


def finish(raw: RawDetections, batch: Batch, config: ModelConfig, *, score: float = 0.0) -> list[Instances]:
    """The network's fixed-shape answer as one Instances per image, in original pixels and best first.

    Boxes are clipped to the image and then moved towards their masks' extents (`test.box_from_mask`); masks
    stay over the box that the network looked at. Left out are slots that are not valid, scores below `score`,
    and boxes with nothing inside the image or coordinates that are not finite.

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
        expected = (
            points is not None and config.keypoint_head is not None and config.keypoint_head.decode == "oks"
        )
        masks = _masks(raw, index, rows, whole, (height, width), config.test)
        by_iou = masks is not None and config.test.mask_rank == "expected_iou"
        found.append(
            Instances(
                boxes=_refined(inside[rows], masks, config.test.box_from_mask).astype(np.float32),
                scores=scores[rows],
                labels=labels[rows].astype(np.int64),
                names=[config.classes[label] for label in labels[rows]],
                size=(height, width),
                masks=masks,
                mask_scores=scores[rows] * masks.expected_iou() if by_iou else None,  # type: ignore[union-attr]
                keypoints=points,
                keypoint_schema=None if points is None else config.keypoints,
                keypoint_scores=scores[rows] * points[..., 2].mean(1) if expected else None,  # type: ignore[index]
                class_ids=np.array(config.class_ids, np.int64)[labels[rows]] if config.class_ids else None,
            )
        )
    return found


def _images_of(sources: Iterable[One], given: GivenFiles) -> list[Path | np.ndarray | Image.Image]:
    """Every image that was given, files found but not yet read."""
    images: list[Path | np.ndarray | Image.Image] = []
    for one in sources:
        path = None if isinstance(one, np.ndarray | Image.Image) else given.path(one)
        if path is not None:
            images.append(path)
        elif isinstance(one, str | Path):
            found = find_sources([one])
            images += found.images
            if found.passed_over:
                warnings.warn(passed_over_line(found.passed_over), stacklevel=4)
        else:
            images.append(one)  # type: ignore[arg-type]
    return images


def _masks(
    raw: RawDetections,
    index: int,
    rows: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int],
    settings: TestConfig,
) -> Masks | None:
    """Masks of the image at `index`; `boxes` are all its boxes, original pixels, not clipped."""
    if raw.masks is None:
        return None
    maps, boxes = _array(raw.masks[index])[rows], boxes[rows]
    if settings.paste == "integer_boxes":
        boxes = integer_boxes(boxes, maps.shape[-1])
    return Masks(maps, boxes.astype(np.float32), size, settings.mask_threshold)


def _refined(boxes: np.ndarray, masks: Masks | None, share: float) -> np.ndarray:
    """Boxes (N, 4), inside the image, whose sides went that share of the way to where their masks end."""
    if masks is None or not share:
        return boxes
    height, width = masks.size
    extents = np.clip(masks.extents(), 0, (width, height, width, height))
    solid = (extents[:, 2:] > extents[:, :2]).all(axis=1)  # an empty mask says nothing
    return np.where(solid[:, None], boxes + share * (extents - boxes), boxes)


def _keypoints(raw: RawDetections, index: int, rows: np.ndarray, scale: np.ndarray) -> np.ndarray | None:
    """Keypoints (N, K, 3) of the image at `index` in original pixels."""
    if raw.keypoint_logits is not None:
        chosen = torch.from_numpy(rows).to(raw.boxes.device)
        # in the model's pixels, as the peers do: their answer depends on the size of the resized map
        points = decode_resize(
            raw.keypoint_logits[index][chosen].float().cpu(), raw.boxes[index][chosen].float().cpu()
        )
        # the last column is the probability; the logit, where it comes too, is before it
        found = points[..., [0, 1, -1]].numpy()
    elif raw.keypoints is not None:
        found = _array(raw.keypoints[index])[rows]
    else:
        return None
    return (found / np.append(scale, 1.0)).astype(np.float32)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
