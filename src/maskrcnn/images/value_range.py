"""Which values of a data set's samples become 0 and 255 (`model.input.value_range`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskrcnn.errors import DataError
from maskrcnn.images.header import maybe_deep
from maskrcnn.images.read import ValueRange, read_samples

IMAGES = 64  # that are looked at, spread over the data set
GRID = 128  # points a side of each of them that percentiles are taken of
DEPTHS = (8, 10, 12, 14, 16, 24, 32, 64)  # bits that cameras and files have
FLOAT_PERCENTILES = (0.1, 99.9)  # of floats above 1, which have no depth


def find_value_range(
    paths: Sequence[Path], channels: int = 3, percentiles: tuple[float, float] | None = None
) -> ValueRange | None:
    """The range of the samples of more than 8 bits in image files, or None where all have 8.

    Integers: 0 to the largest value of the smallest depth that holds all of them, so one hot pixel changes nothing as
    long as the camera's depth holds it. Floats: 0 to 1 where they are, else their 0.1 to 99.9 percentiles.

    Args:
        channels: as the images are read.
        percentiles: lower and upper, 0 to 100, over all images: taken in place of that.
    """
    step = max(1, len(paths) // IMAGES)
    largest, floats, grids = 0.0, False, list[np.ndarray]()
    for path in paths[::step][:IMAGES]:
        samples = _deep_samples(path, channels)
        if samples is None:
            continue
        floats |= samples.dtype.kind == "f"
        largest = max(largest, float(np.max(samples, initial=0, where=np.isfinite(samples))))
        down, across = (max(1, side // GRID) for side in samples.shape[:2])
        grid = samples[::down, ::across].astype(np.float64).ravel()
        grids.append(grid[np.isfinite(grid)])
    if not grids:
        return None
    if percentiles is None and not floats:
        return 0.0, float(2 ** next(bits for bits in DEPTHS if largest < 2**bits) - 1)
    if percentiles is None and largest <= 1:
        return 0.0, 1.0
    values = np.concatenate(grids)
    low, high = np.percentile(values, percentiles or FLOAT_PERCENTILES).tolist() if len(values) else (0.0, 1.0)
    return (low, high) if low < high else (low, low + 1.0)


def _deep_samples(path: Path, channels: int) -> np.ndarray | None:
    """The samples of an image that has more than 8 bits; None for others, and for one that cannot be read."""
    if not maybe_deep(path):
        return None
    try:
        samples = read_samples(path, channels)
    except DataError:
        return None  # whoever uses the image says so
    return samples if samples.dtype.itemsize > 1 else None
