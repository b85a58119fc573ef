"""What of an object's outline, box and keypoints can be used, as a reader hands them over.

`note` counts what was repaired; what leaves nothing to train on raises `Unusable`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from maskrcnn.images.tiles import Box
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.shapes import drawable, fits_swapped
from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.rle import MIN_POINTS, Rle, rle_area, rle_box

# pixels: files round coordinates, so a box may leave its image by this much and still be right
ROUNDING = 0.05
BESIDE = 1.0  # pixels by which a keypoint or an outline may leave the image: tools round
NO_BOXES = (ProblemKind.NO_BOX, ProblemKind.ZERO_AREA_BOX, ProblemKind.NON_FINITE)
Note = Callable[[ProblemKind], None]


class Unusable(Exception):
    """The object cannot be used."""

    def __init__(self, kind: ProblemKind) -> None:
        super().__init__(kind.text)
        self.kind = kind


def usable_rings(polygons: Sequence[np.ndarray], note: Note) -> list[np.ndarray] | None:
    """The rings that enclose something, float64 (n, 2) each; None: none does.

    Raises:
        Unusable: a coordinate is not finite or too large to draw.
    """
    rings = []
    for ring in polygons:
        if len(ring) < MIN_POINTS:
            note(ProblemKind.SHORT_POLYGON)
            continue
        if not np.isfinite(ring).all():
            raise Unusable(ProblemKind.NON_FINITE)
        if not drawable(ring):
            raise Unusable(ProblemKind.OVERLONG_OUTLINE)
        rings.append(ring)
    return rings or None


def box_of_outline(rings: list[np.ndarray], mask: Rle | None, image: LabelledImage, note: Note) -> Box:
    """The box, xyxy, of what an outline shows of the image; `mask` is the outline as drawn.

    Raises:
        Unusable: it shows nothing.
    """
    if mask is None or rle_area(mask) == 0:
        raise Unusable(ProblemKind.OUTLINE_OUTSIDE)
    low = min(float(ring.min()) for ring in rings)
    right, bottom = (max(float(ring[:, axis].max()) for ring in rings) for axis in (0, 1))
    if low < -BESIDE or right > image.width + BESIDE or bottom > image.height + BESIDE:
        note(ProblemKind.CLIPPED_OUTLINE)
    return rle_box(mask)


def box_of_mask(mask: Rle | None) -> Box:
    """The box, xyxy, around a mask.

    Raises:
        Unusable: the mask is empty, or there is none.
    """
    if mask is None or rle_area(mask) == 0:
        raise Unusable(ProblemKind.NO_BOX)
    return rle_box(mask)


def usable_box(given: Sequence[float], image: LabelledImage, found: Annotation, note: Note) -> Box:
    """A box as given, xyxy inside the image; the mask's where what is given says nothing.

    Args:
        found: the object so far, with its mask if it has one.

    Raises:
        Unusable: neither box nor mask says where the object is.
    """
    try:
        return _inside_image(given, image, found, note)
    except Unusable as why:
        if why.kind not in NO_BOXES:
            raise
        mask = annotation_rle(found, image.height, image.width)
        if mask is None or rle_area(mask) == 0:
            raise
    note(ProblemKind.NEW_BOX_FROM_MASK)
    return rle_box(mask)


def usable_keypoints(given: np.ndarray, image: LabelledImage, note: Note) -> np.ndarray:
    """float64 (K, 3) of x, y and visibility: zeros where there is no keypoint or it is not finite."""
    finite = np.isfinite(given).all(axis=1)
    if not finite.all():
        note(ProblemKind.NON_FINITE_KEYPOINT)
    keypoints = given.astype(np.float64)
    keypoints[~finite | (given[:, 2] <= 0)] = 0.0
    if not np.isin(given[finite, 2], (0, 1, 2)).all():
        note(ProblemKind.ODD_VISIBILITY)
    there = keypoints[keypoints[:, 2] > 0, :2]
    if (there < -BESIDE).any() or (there > (image.width + BESIDE, image.height + BESIDE)).any():
        note(ProblemKind.KEYPOINT_OUTSIDE)
    return keypoints


def _inside_image(given: Sequence[float], image: LabelledImage, found: Annotation, note: Note) -> Box:
    """xyxy inside the image, its corners in order."""
    if len(given) != 4:
        raise Unusable(ProblemKind.NO_BOX)
    first, upper, second, lower = map(float, given)
    if not (math.isfinite(first) and math.isfinite(upper) and math.isfinite(second) and math.isfinite(lower)):
        raise Unusable(ProblemKind.NON_FINITE)
    x0, x1 = (first, second) if first <= second else (second, first)
    y0, y1 = (upper, lower) if upper <= lower else (lower, upper)
    if x0 == x1 or y0 == y1:
        raise Unusable(ProblemKind.ZERO_AREA_BOX)
    if x0 != first or y0 != upper:
        note(ProblemKind.REVERSED_BOX)
    box = (x0, y0, x1, y1)
    if _is_inside(box, image):
        return box
    if _is_inside((y0, x0, y1, x1), image) and (
        x0 >= image.width or y0 >= image.height or _mask_says_swapped(box, image, found)
    ):
        raise Unusable(ProblemKind.SWAPPED_BOX)
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(image.width)), min(y1, float(image.height)))
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise Unusable(ProblemKind.BOX_OUTSIDE)
    note(ProblemKind.CLIPPED_BOX)
    return clipped


def _mask_says_swapped(box: Box, image: LabelledImage, found: Annotation) -> bool:
    rle = annotation_rle(found, image.height, image.width)
    return rle is not None and rle_area(rle) > 0 and fits_swapped(rle_box(rle), box)


def _is_inside(box: Box, image: LabelledImage) -> bool:
    x0, y0, x1, y1 = box
    right, lower = image.width + ROUNDING, image.height + ROUNDING
    return x0 >= -ROUNDING and y0 >= -ROUNDING and x1 <= right and y1 <= lower
