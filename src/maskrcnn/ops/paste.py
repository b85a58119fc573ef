"""From an m x m mask over a box to the picture's own pixels, inside the box only.

A pixel takes the bilinear value of the mask at the pixel's centre, with nothing outside the mask (detectron2's
convention). Bilinear sampling is separable, so a window is two small matrix products, and no float of the picture's
size exists for any number of masks.
"""

from __future__ import annotations

import numpy as np

Window = tuple[int, int, np.ndarray]


def paste_windows(
    probabilities: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float = 0.5
) -> list[Window]:
    """Each mask as the window of the picture that its box touches.

    Args:
        probabilities: (N, m, m) float.
        boxes: (N, 4) xyxy in pixels of the picture.
        height, width: of the picture; windows are cut at its borders.
        threshold: a pixel belongs to the object from this probability on.

    Returns:
        per mask (x0, y0, window): the window's first column and row, and its pixels (h, w) bool, possibly empty.
    """
    windows = []
    ends = boxes.astype(np.float64).tolist()
    for mask, (x1, y1, x2, y2) in zip(probabilities.astype(np.float32, copy=False), ends, strict=True):
        columns, x0 = _axis(x1, x2, width, mask.shape[1])
        rows, y0 = _axis(y1, y2, height, mask.shape[0])
        # column after column in memory, as an RLE runs
        windows.append((x0, y0, (columns @ (rows @ mask).T >= threshold).T))
    return windows


def _axis(start: float, end: float, limit: int, side: int) -> tuple[np.ndarray, int]:
    """(pixels, side) weights of the mask's cells for each pixel centre of the window, and the window's first pixel."""
    # half a mask cell beyond the box still takes part of the border cell's value
    margin = 0.5 * (end - start) / side
    first = int(min(max(np.floor(start - margin), 0), limit))
    last = int(min(max(np.ceil(end + margin), first), limit))
    if not end > start:
        return np.zeros((0, side), np.float32), first
    # cells 0 and side + 1 are the nothing outside the mask; side + 2 takes the other half of what is there
    centre = np.clip((np.arange(first, last) + 0.5 - start) / (end - start) * side + 0.5, 0, side + 1)
    cell = centre.astype(np.intp)
    share = (centre - cell).astype(np.float32)
    weights = np.zeros((last - first, side + 3), np.float32)
    pixel = np.arange(last - first)
    weights[pixel, cell] = 1 - share
    weights[pixel, cell + 1] = share
    return weights[:, 1 : side + 1], first
