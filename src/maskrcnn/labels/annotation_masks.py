"""The mask of an annotation, whichever form its file gave it: as an RLE, or as rings of points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.paste import Window
from maskrcnn.masks.polygons import clip_ring, one_ring, window_rings
from maskrcnn.masks.rle import (
    MIN_POINTS,
    Rle,
    crop_rle,
    polygons_rle,
    rle_area,
    rle_bitmap,
    rle_box,
    union_rle,
)


def annotation_rle(annotation: Annotation, height: int, width: int) -> Rle | None:
    """The mask of an annotation in an image of `height` x `width`, or None where its label is only a box."""
    if annotation.rle is not None:
        return annotation.rle
    if annotation.polygons is None:
        return None
    return polygons_rle(annotation.polygons, height, width)


def annotation_window(annotation: Annotation, image: LabelledImage) -> Window | None:
    """The pixels of a mask as (x0, y0, bool (h, w)) without empty ones around them; None without a mask.

    The image's size does not matter: only these pixels are decoded.
    """
    rle = annotation_rle(annotation, image.height, image.width)
    if rle is None:
        return None
    x0, y0, x1, y1 = map(int, rle_box(rle))
    return x0, y0, rle_bitmap(crop_rle(rle, x0, y0, x1 - x0, y1 - y0)) > 0


def annotation_ring(
    annotation: Annotation, image: LabelledImage, tolerance: float = 0.0
) -> np.ndarray | None:
    """All of an object inside the image as one ring (n, 2) of x, y in pixels; None without a mask.

    Its parts and holes are joined by lines of no width. A reader fills by the even-odd rule, so polygons that
    lie on one another, whose overlap would become a hole, are drawn first.

    Args:
        tolerance: as `annotation_rings` has it.
    """
    parts = annotation_rings(annotation, image, tolerance)
    if len(parts) > 1 and annotation.polygons is not None and _overlap(annotation.polygons, image):
        window = annotation_window(annotation, image)
        parts = window_rings(*window, tolerance) if window is not None else []
    inside = (0.0, 0.0, float(image.width), float(image.height))
    if annotation.polygons is not None:
        parts = [(clip_ring(outer, inside), holes) for outer, holes in parts]
    parts = [part for part in parts if len(part[0]) >= MIN_POINTS]
    return one_ring(parts) if parts else None


def _overlap(polygons: Sequence[np.ndarray], image: LabelledImage) -> bool:
    """Whether pixels are inside of several of an object's polygons."""
    drawn = [polygons_rle([ring], image.height, image.width) for ring in polygons]
    rles = [rle for rle in drawn if rle is not None]
    return bool(rles) and sum(map(rle_area, rles)) > rle_area(union_rle(rles))


def annotation_rings(
    annotation: Annotation, image: LabelledImage, tolerance: float = 0.0
) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Each part of an object as its outer ring and its holes, (n, 2) of x, y in pixels; empty without a mask.

    Polygons stay what they are. An RLE's rings run along pixel edges, so that drawing them gives the mask
    again.

    Args:
        tolerance: pixels that the rings of an RLE may be off those edges, for fewer points.
    """
    if annotation.polygons is not None:
        return [(np.asarray(ring, np.float64), []) for ring in annotation.polygons]
    window = annotation_window(annotation, image)
    if window is None or not window[2].any():
        return []
    return window_rings(*window, tolerance)
