"""The mask of an annotation, whichever form its file gave it: as an RLE, or as rings of points."""

from __future__ import annotations

import numpy as np

from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.polygons import bitmap_rings
from maskrcnn.masks.rle import Rle, polygons_rle, rle_bitmap


def annotation_rle(annotation: Annotation, height: int, width: int) -> Rle | None:
    """The mask of an annotation in an image of `height` x `width`, or None where its label is only a box."""
    if annotation.rle is not None:
        return annotation.rle
    if annotation.polygons is None:
        return None
    return polygons_rle(annotation.polygons, height, width)


def annotation_rings(
    annotation: Annotation, image: LabelledImage
) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Each part of an object as its outer ring and its holes, (n, 2) of x, y in pixels; empty without a mask.

    Polygons stay what they are. An RLE's rings run along pixel edges, so that drawing them gives the mask
    again.
    """
    if annotation.polygons is not None:
        return [(np.asarray(ring, np.float64), []) for ring in annotation.polygons]
    rle = annotation_rle(annotation, image.height, image.width)
    return [] if rle is None else bitmap_rings(rle_bitmap(rle))
