"""Which values of a data set's samples become 0 and 255 (`model.input.value_range`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from maskrcnn.errors import DataError
from maskrcnn.images.header import maybe_deep
from maskrcnn.images.read import ValueRange, read_samples
from maskrcnn.images.regions import count_images, open_samples
from maskrcnn.images.tiles import Window

IMAGES = 64  # that are looked at, spread over the data set
SAMPLES = 500_000_000  # after which no further image is decoded
PART, PARTS = 512, 4  # pixels a side, and how many a side, of what is read of a file too large for memory
GRID = 128  # points a side of each of them that percentiles are taken of
GOLDEN = 0.618034
DEPTHS = (8, 10, 12, 14, 16, 24, 32, 64)  # bits that cameras and files have
PERCENTILES = (0.1, 99.9)  # of floats above 1 and values below 0, which have no depth


def find_value_range(
    paths: Sequence[Path], channels: int = 3, percentiles: tuple[float, float] | None = None
) -> ValueRange | None:
    """The range of the samples of more than 8 bits in image files, or None where all have 8.

    Integers: 0 to the largest value of the smallest depth that holds all of them, so one hot pixel changes
    nothing as long as the camera's depth holds it. Floats: 0 to 1 where they are. Else, and where anything is
    below 0, their 0.1 to 99.9 percentiles.

    Args:
        channels: as the images are read.
        percentiles: lower and upper, 0 to 100, over all images: taken in place of that.
    """
    smallest, largest, floats, grids = 0.0, 0.0, False, list[np.ndarray]()
    for samples in _deep_images(paths, channels):
        floats |= samples.dtype.kind == "f"
        finite: np.ndarray | bool = np.isfinite(samples) if samples.dtype.kind == "f" else True
        smallest = min(smallest, float(np.min(samples, initial=0, where=finite)))
        largest = max(largest, float(np.max(samples, initial=0, where=finite)))
        down, across = (max(1, side // GRID) for side in samples.shape[:2])
        grid = samples[::down, ::across].astype(np.float64).ravel()
        grids.append(grid[np.isfinite(grid)])
    if not grids:
        return None
    known = percentiles is None and smallest == 0
    if known and not floats:
        return 0.0, float(2 ** next((bits for bits in DEPTHS if largest < 2**bits), DEPTHS[-1]) - 1)
    if known and largest <= 1:
        return 0.0, 1.0
    values = np.concatenate(grids)
    low, high = np.percentile(values, percentiles or PERCENTILES).tolist() if len(values) else (0.0, 1.0)
    return (low, high) if low < high else (low, low + 1.0)


def _deep_images(paths: Sequence[Path], channels: int) -> Iterator[np.ndarray]:
    """The samples of those images that have more than 8 bits, of up to `IMAGES` spread over `paths`."""
    seen = 0
    # an order that is spread wherever it ends
    for index in np.argsort(np.arange(len(paths)) * GOLDEN % 1)[:IMAGES]:
        if seen > SAMPLES:
            return
        try:
            samples = _samples_of(paths[index], channels) if maybe_deep(paths[index]) else None
        except DataError:
            continue  # whoever uses the image says so
        if samples is not None and samples.dtype.itemsize > 1 and samples.dtype.kind in "uif":
            seen += samples.size
            yield samples


def _samples_of(path: Path, channels: int) -> np.ndarray | None:
    """The samples of an image; of a stack, or a file too large for memory, parts that are spread over it."""
    try:
        return read_samples(path, channels)
    except DataError:
        count = count_images(path, channels)
        image = open_samples(path, channels, None if count == 1 else count // 2)
        if image is None:
            raise
    height, width = (min(PART, side) for side in image.size)
    tops, lefts = (
        np.linspace(0, whole - part, PARTS).astype(int).tolist()
        for whole, part in zip(image.size, (height, width), strict=True)
    )
    try:
        parts = [image.read(Window(left, top, width, height)) for top in tops for left in lefts]
    finally:
        image.close()
    return np.concatenate(parts)
