"""Detections as columns for COCO's evaluator, checked on the way in.

Results come as one dictionary for each detection. They are gone through once, some thousands at a time, and checked a
column at a time: looking at every number of every dictionary took as long as the matching. Only where a column is wrong
are its records looked at one by one, to name the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from reprlib import repr as shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn.errors import DataError
from maskrcnn.evaluate.truth import Kind, Truth

if TYPE_CHECKING:
    import hotcoco

Result = dict[str, Any]  # one detection as in COCO's results files

FIELDS: dict[Kind, str] = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
RANK = "keypoints_score"  # in place of the score where keypoints are scored and it is there
CHUNK = 4096  # results that are checked together
RLE_REMEDY = "give COCO's run-length code of the image's size, as pycocotools.mask.encode makes it"


@dataclass
class Found:
    """N detections, numbered as the truth's images and classes are; what no kind needs is None."""

    image: np.ndarray  # int64 (N,)
    category: np.ndarray  # int64 (N,)
    score: np.ndarray  # float64 (N,)
    boxes: np.ndarray | None = None  # float64 (N, 4) x, y, width, height
    masks: list[Any] | None = None  # RLE
    areas: np.ndarray | None = None  # (N,) of the masks
    keypoints: np.ndarray | None = None  # float64 (N, 3 K)
    keypoint_score: np.ndarray | None = None  # float64 (N,): what ranks them when keypoints are scored

    def __len__(self) -> int:
        return len(self.score)

    def coco(self, labels: hotcoco.COCO, kind: Kind) -> hotcoco.COCO:
        """The detections as `kind` is scored, by that kind's field alone."""
        if kind == "keypoints":
            # keypoints have no column form
            assert self.keypoints is not None and self.keypoint_score is not None
            columns = tuple(each.tolist() for each in (self.image, self.category, self.keypoint_score, self.keypoints))
            names = ("image_id", "category_id", "score", "keypoints")
            return labels.load_res([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])
        table = np.zeros((len(self), 7))
        table[:, 0], table[:, 5], table[:, 6] = self.image, self.score, self.category
        if kind == "bbox":
            table[:, 1:5] = self.boxes
            return labels.load_res(table)
        # a mask is matched by its pixels, and its size is theirs: the boxes stay zero
        found = labels.load_res(table, segmentation=self.masks)
        if len(self):
            found.update_anns(ids=np.arange(1, len(self) + 1), area=self.areas)
        return found


def gather(results: Iterable[Result], kinds: Sequence[Kind], truth: Truth) -> Found:
    """The columns of `results` that `kinds` need; of an iterator no more than some thousands are held as they come.

    Raises:
        DataError: a result with an unknown id, a missing field, a number that is not finite, a mask that is no RLE of
            its image's size; the message names the first.
    """
    remaining, parts, place = iter(results), list[Found](), 0
    while chunk := list(islice(remaining, CHUNK)):
        part = _columns(chunk, kinds, truth)
        if part is None:
            raise DataError(_complaint(chunk, place, kinds, truth))
        parts.append(part)
        place += len(chunk)
    if not parts:
        return _nothing(kinds, truth)
    masks = [mask for part in parts for mask in part.masks or ()]
    return Found(
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.category for part in parts]),
        np.concatenate([part.score for part in parts]),
        boxes=_joined(parts, "boxes"),
        masks=masks if "segm" in kinds else None,
        areas=_joined(parts, "areas"),
        keypoints=_joined(parts, "keypoints"),
        keypoint_score=_joined(parts, "keypoint_score"),
    )


def _joined(parts: list[Found], name: str) -> np.ndarray | None:
    columns = [getattr(part, name) for part in parts]
    return None if columns[0] is None else np.concatenate(columns)


def _nothing(kinds: Sequence[Kind], truth: Truth) -> Found:
    none = np.zeros(0, np.int64)
    masks: list[Any] | None = [] if "segm" in kinds else None
    points = np.zeros((0, 3 * truth.points))
    return Found(none, none, np.zeros(0), np.zeros((0, 4)), masks, np.zeros(0), points, np.zeros(0))


def _columns(chunk: list[Result], kinds: Sequence[Kind], truth: Truth) -> Found | None:
    """What can be scored of a chunk, or None where one of it cannot."""
    images, categories = truth.images, truth.categories
    try:
        image = np.array([images[result["image_id"]] for result in chunk], np.int64)
        category = np.array([categories[result["category_id"]] for result in chunk], np.int64)
        values = {key: [result[key] for result in chunk] for key in ("score", *(FIELDS[kind] for kind in kinds))}
    except (KeyError, TypeError):  # a field or an id that is not there; an id that cannot be one; no dictionary
        return None
    score = _finite(values["score"], ())
    if score is None:
        return None
    found = Found(image, category, score)
    if "bbox" in kinds:
        found.boxes = _finite(values["bbox"], (4,))
        if found.boxes is None:
            return None
    if "keypoints" in kinds:
        found.keypoints = _finite(values["keypoints"], (3 * truth.points,))
        found.keypoint_score = _finite([result.get(RANK, result["score"]) for result in chunk], ())
        if found.keypoints is None or found.keypoint_score is None:
            return None
    if "segm" in kinds:
        found.masks = values["segmentation"]
        found.areas = _areas(found.masks, truth.sizes[image - 1])
        if found.areas is None:
            return None
    return found


def _finite(values: list[Any], shape: tuple[int, ...]) -> np.ndarray | None:
    """`values`, each of `shape`, as float64, or None unless all are finite numbers."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError):  # of different lengths
        return None
    # text, None and the like make an array of another kind than numbers
    if array.dtype.kind not in "iuf" or array.shape != (len(values), *shape):
        return None
    array = array.astype(np.float64, copy=False)
    return array if np.isfinite(array).all() else None


def _areas(masks: list[Any], sizes: np.ndarray) -> np.ndarray | None:
    """Pixels of each RLE, or None where one is not of its image's size or cannot be read."""
    import hotcoco

    try:
        stated = np.asarray([mask["size"] for mask in masks])
        if stated.dtype.kind not in "iu" or not np.array_equal(stated, sizes):
            return None
        return np.asarray(hotcoco.mask.area(masks), np.float64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _complaint(chunk: list[Result], first: int, kinds: Sequence[Kind], truth: Truth) -> str:
    """What is wrong with the first of a chunk that cannot be scored."""
    for place, result in enumerate(chunk, first):
        if _columns([result], kinds, truth) is None:
            return f"result {place}{_fault(result, kinds, truth)}"
    return f"results {first} to {first + len(chunk) - 1}: their numbers do not fit one another"


def _fault(result: Any, kinds: Sequence[Kind], truth: Truth) -> str:
    """What is wrong with this result."""
    if not isinstance(result, dict):
        return f": {type(result).__name__} where a dictionary with image_id, category_id and score should be"
    image_id, category_id = result.get("image_id"), result.get("category_id")
    if not _known(image_id, truth.images):
        return f": image_id {shorten(image_id)} is not in {truth.name}"
    if not _known(category_id, truth.categories):
        return (
            f": category_id {shorten(category_id)} is not in {truth.name}, "
            f"which has {', '.join(map(str, truth.categories))}"
        )
    who = f" (image_id {shorten(image_id)})"
    for key in ("score", *(FIELDS[kind] for kind in kinds)):
        if key not in result:
            return f"{who}: no {key!r}; it cannot be scored without"
    shapes: dict[str, tuple[int, ...]] = {"score": (), "bbox": (4,), "keypoints": (3 * truth.points,)}
    used = {"score"} | {FIELDS[kind] for kind in kinds}
    if "keypoints" in kinds and RANK in result:
        shapes, used = shapes | {RANK: ()}, used | {RANK}
    for key, shape in shapes.items():
        if key in used and _finite([result[key]], shape) is None:
            wanted = f"{shape[0]} finite numbers" if shape else "a finite number"
            return f"{who}: {key!r} is {shorten(result[key])}, not {wanted}; correct it or leave the result out"
    height, width = truth.sizes[truth.images[result["image_id"]] - 1].tolist()
    return f"{who}: 'segmentation' {_mask_fault(result['segmentation'], height, width)}; {RLE_REMEDY}"


def _mask_fault(mask: Any, height: int, width: int) -> str:
    """What is wrong with this mask of an image of `height` x `width`."""
    import hotcoco

    if not isinstance(mask, dict) or not {"size", "counts"} <= mask.keys():
        return "has no size and counts"
    try:
        if list(mask["size"]) != [height, width]:
            return f"is of size {shorten(mask['size'])}, its image of {[height, width]}"
        hotcoco.mask.area(mask)
    except (TypeError, ValueError, OverflowError) as error:
        return f"cannot be read ({str(error).splitlines()[0]})"
    return "is not one that can be read"


def _known(key: Any, numbers: dict[Any, int]) -> bool:
    try:
        return key in numbers
    except TypeError:  # a list cannot be an id
        return False
