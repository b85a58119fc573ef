"""Detections as columns for COCO's evaluator, checked on the way in.

Results come as one dictionary for each detection, and are checked a column at a time, which is quicker than
looking at every number of every dictionary. Only where a column is wrong are the records looked at one by
one, to name the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from reprlib import repr as shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn.errors import DataError
from maskrcnn.evaluate.truth import Kind, Truth

if TYPE_CHECKING:
    import hotcoco

Result = dict[str, Any]  # one detection as in COCO's results files

FIELDS: dict[Kind, str] = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
# in place of the score where a kind is scored and the results have it
RANKS: dict[Kind, str] = {"segm": "segmentation_score", "keypoints": "keypoints_score"}
RLE_REMEDY = "give COCO's run-length code of the image's size, as pycocotools.mask.encode makes it"


class _Unfit(Exception):
    """What is wrong with the first result; of several, that one of them cannot be scored."""


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
    # float64 (N,): what ranks them when a kind is scored, where that is not the score
    ranks: dict[Kind, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.score)

    def coco(self, labels: hotcoco.COCO, kind: Kind) -> hotcoco.COCO:
        """The detections as `kind` is scored, by that kind's field alone."""
        rank = self.ranks.get(kind, self.score)
        if kind == "keypoints":
            # keypoints have no column form
            assert self.keypoints is not None
            columns = tuple(each.tolist() for each in (self.image, self.category, rank, self.keypoints))
            names = ("image_id", "category_id", "score", "keypoints")
            return labels.load_res([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])
        table = np.zeros((len(self), 7))
        table[:, 0], table[:, 5], table[:, 6] = self.image, rank, self.category
        if kind == "bbox":
            table[:, 1:5] = self.boxes
            return labels.load_res(table)
        # a mask is matched by its pixels, and its size is theirs: the boxes stay zero
        found = labels.load_res(table, segmentation=self.masks)
        if len(self):
            found.update_anns(ids=np.arange(1, len(self) + 1), area=self.areas)
        return found


def gather(results: list[Result], kinds: Sequence[Kind], truth: Truth) -> Found:
    """The columns of `results` that `kinds` need, without those of classes that nobody looked for in their
    image.

    Raises:
        DataError: a result with an unknown id, a missing field, a number that is not finite, a mask that is
            no RLE of its image's size; the message names the first.
    """
    results = looked_for(results, truth)
    try:
        return _columns(results, kinds, truth)
    except _Unfit:
        for place, result in enumerate(results):
            try:
                _columns([result], kinds, truth)
            except _Unfit as fault:
                raise DataError(f"result {place}{fault}") from None
        raise DataError("results: their numbers do not fit one another") from None


def looked_for(results: list[Result], truth: Truth) -> list[Result]:
    """Those of classes that somebody looked for in their image, which in LVIS are not all."""
    return [result for result in results if _was_looked_for(result, truth)] if truth.searched else results


def _was_looked_for(result: Result, truth: Truth) -> bool:
    """Whether a result can be right or wrong; one that cannot be understood is left to others to refuse."""
    try:
        searched = truth.searched.get(truth.images[result["image_id"]])
        return searched is None or truth.categories[result["category_id"]] in searched
    except (KeyError, TypeError):
        return True


def _columns(results: list[Result], kinds: Sequence[Kind], truth: Truth) -> Found:
    has = f"{truth.name}, which has {', '.join(map(str, truth.categories))}"
    image = _numbered(results, "image_id", truth.images, truth.name)
    category = _numbered(results, "category_id", truth.categories, has)
    found = Found(image, category, _numbers(results, "score"))
    if "bbox" in kinds:
        found.boxes = _numbers(results, "bbox", (4,))
        if (found.boxes[:, 2:] < 0).any():  # two of them would make an area above 0
            size = f"{shorten(results[0]['bbox'])}, of a width or height below 0; give x, y, width, height"
            raise _Unfit(f"{_who(results)}: 'bbox' is {size}")
    if "keypoints" in kinds:
        found.keypoints = _numbers(results, "keypoints", (3 * truth.points,))
    if "segm" in kinds:
        found.masks = _values(results, "segmentation")
        found.areas = _areas(found.masks, truth.sizes[image - 1], results)
    for kind, rank in RANKS.items():
        if kind in kinds:
            ranked = [result if rank in result else result | {rank: result["score"]} for result in results]
            found.ranks[kind] = _numbers(ranked, rank)
    return found


def _numbered(results: list[Result], key: str, numbers: Mapping[Any, int], where: str) -> np.ndarray:
    """The number (N,) of each user's id."""
    try:
        return np.array([numbers[result[key]] for result in results], np.int64)
    except (KeyError, TypeError):  # not there, unknown, or a list, which cannot be an id
        if not isinstance(results[0], dict):
            strange = type(results[0]).__name__
            raise _Unfit(
                f": {strange} where a dictionary with image_id, category_id and score should be"
            ) from None
        raise _Unfit(f": {key} {shorten(results[0].get(key))} is not in {where}") from None


def _values(results: list[Result], key: str) -> list[Any]:
    try:
        return [result[key] for result in results]
    except KeyError:
        raise _Unfit(f"{_who(results)}: no {key!r}; it cannot be scored without") from None


def _numbers(results: list[Result], key: str, shape: tuple[int, ...] = ()) -> np.ndarray:
    """float64 (N, *shape): finite numbers."""
    values = _values(results, key)
    try:
        array = np.asarray(values) if values else np.zeros((0, *shape))
    except (ValueError, TypeError, OverflowError):  # of different lengths
        array = np.array(None)
    # text, None and the like make an array of another kind than numbers
    if array.dtype.kind in "iuf" and array.shape == (len(values), *shape) and np.isfinite(array).all():
        return array.astype(np.float64, copy=False)
    wanted = f"{shape[0]} finite numbers" if shape else "a finite number"
    raise _Unfit(
        f"{_who(results)}: {key!r} is {shorten(values[0])}, not {wanted}; correct it or leave the result out"
    )


def _areas(masks: list[Any], sizes: np.ndarray, results: list[Result]) -> np.ndarray:
    """Pixels (N,) of each RLE."""
    import hotcoco

    if not masks:
        return np.zeros(0)
    who = f"{_who(results)}: 'segmentation'"
    try:
        stated = np.asarray([mask["size"] for mask in masks])
    except (KeyError, TypeError):
        raise _Unfit(f"{who} has no size and counts; {RLE_REMEDY}") from None
    except ValueError:  # of different lengths
        stated = np.array(None)
    if stated.dtype.kind not in "iu" or not np.array_equal(stated, sizes):
        raise _Unfit(
            f"{who} is of size {shorten(masks[0]['size'])}, its image of {sizes[0].tolist()}; {RLE_REMEDY}"
        )
    try:
        return np.asarray(hotcoco.mask.area(masks), np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        fault = (
            f"cannot be read ({str(error).splitlines()[0]})"
            if "counts" in masks[0]
            else "has no size and counts"
        )
        raise _Unfit(f"{who} {fault}; {RLE_REMEDY}") from None


def _who(results: list[Result]) -> str:
    return f" (image_id {shorten(results[0]['image_id'])})"
