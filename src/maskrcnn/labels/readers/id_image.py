"""Instances in an image whose pixel values are their ids."""

from __future__ import annotations

import numpy as np

from maskrcnn.labels.readers.instance_png import instance_rles
from maskrcnn.masks.rle import Rle


def rles_by_id(ids: np.ndarray) -> dict[int, Rle]:
    """The RLE of each id but 0 in an array (H, W) of whole numbers, in the order of the ids."""
    if ids.dtype == bool:
        ids = ids.astype(np.uint8)
    values = np.unique(ids[ids != 0])
    return dict(zip(values.tolist(), instance_rles(ids), strict=True))
