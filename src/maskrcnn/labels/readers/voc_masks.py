"""The masks of Pascal VOC: SegmentationObject/NAME.png, whose numbers count the objects in the XML."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskrcnn.images.tiles import Box
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.readers.label_image import (
    VOC_BORDER,
    VOID_COLOUR,
    read_ids,
    rles_by_id,
    voc_numbers,
)
from maskrcnn.masks.rle import Rle, rle_box


def object_masks(
    root: Path, key: str, size: tuple[int, int], count: int, problems: Problems
) -> dict[int, Rle] | None:
    """RLEs by the position of their object in the XML file, from 1; None where the image has no masks."""
    folder = root / "SegmentationObject"
    path = folder / f"{key}.png"
    if not path.is_file():
        return None
    refuse_leaving(folder, path)
    ids = read_ids(path, size, voc_numbers)
    masks = rles_by_id(np.where(np.isin(ids, (VOC_BORDER, VOID_COLOUR)), 0, ids))
    for extra in [value for value in masks if not 1 <= value <= count]:
        problems.note(ProblemKind.MASK_WITHOUT_OBJECT, f"id {extra} of {path.name!r}")
        del masks[extra]
    return masks


def object_mask(mask: Rle | None, box: Box | None, source: str, problems: Problems) -> Rle | None:
    """The mask of an object in an image that has masks, where it has one that shares a pixel with its box."""
    if mask is None:
        problems.note(ProblemKind.OBJECT_WITHOUT_PIXELS, source)
        return None
    x0, y0, x1, y1 = rle_box(mask)
    if box is not None and np.isfinite(box).all():
        left, right, top, bottom = *sorted(box[::2]), *sorted(box[1::2])
        # counted from 0 or from 1, the last pixel inside
        if x1 < left or x0 > right or y1 < top or y0 > bottom:
            problems.note(ProblemKind.MASK_OUTSIDE_BOX, source)
            return None
    return mask
