"""Images that are read a window at a time, however large they are."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from maskrcnn.errors import ImageError
from maskrcnn.images.multichannel import ARRAY_SUFFIX, is_tiff, open_array
from maskrcnn.images.read import AGAIN, NO_NUMBER, ValueRange, model_pixels, no_number, refuse_no_number
from maskrcnn.images.slide_regions import SUFFIXES as SLIDES
from maskrcnn.images.slide_regions import open_slide_regions
from maskrcnn.images.tiff_regions import count_tiff_images, open_tiff_regions
from maskrcnn.images.tiles import Window, tile_grid
from maskrcnn.images.zarr_regions import count_zarr_images, is_zarr, open_zarr_regions

MOST_SIDE = 10**8  # pixels; a header costs nothing
MOST_PIXELS = 10**12


class RegionImage(Protocol):
    """An image of which any window can be read without the rest."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""

    @property
    def channels(self) -> int: ...

    def read(self, window: Window) -> np.ndarray:
        """(h, w, channels) of a window that lies in the image: uint8, or of a file the type that it stores.

        Raises:
            ImageError: this part of the file is damaged.
        """

    def close(self) -> None: ...


class Readable(Protocol):
    """What windows can be read of."""

    def read(self, window: Window) -> np.ndarray:
        """(h, w, C) of a window that lies in the image."""


def whole_pixels(image: Readable, size: tuple[int, int]) -> np.ndarray:
    """All pixels, (H, W, C), of an image of this height and width."""
    return image.read(Window(0, 0, size[1], size[0]))


class ArrayRegions:
    """An image that is in memory, or mapped into it: (H, W, C)."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.size: tuple[int, int] = (pixels.shape[0], pixels.shape[1])
        self.channels: int = pixels.shape[2]

    def read(self, window: Window) -> np.ndarray:
        left, top, right, bottom = window.box
        return np.ascontiguousarray(self.pixels[top:bottom, left:right])

    def close(self) -> None: ...


class FileRegions:
    """A file as a model takes it: uint8 with the model's channels, by the rules of `read_image`."""

    def __init__(
        self, path: Path, samples: RegionImage, channels: int, value_range: ValueRange | None
    ) -> None:
        """
        Args:
            samples: what is stored in the file, of any type.
        """
        self._path, self._samples, self._range = path, samples, value_range
        self.size, self.channels = samples.size, channels

    def read(self, window: Window) -> np.ndarray:
        """uint8 (h, w, channels).

        Raises:
            ImageError: this part of the file is damaged, of other channels than the model, or needs a value
                range; or it is the whole image and has no number.
        """
        samples = self._samples.read(window)
        if (window.height, window.width) == self.size:  # a tile without a number may be one of a map
            refuse_no_number(samples, self._path)
        return model_pixels(samples, self._path, self.channels, self._range)

    def refuse_no_number(self, side: int) -> None:
        """Refuse a float image without a number; reads a pixel, then tiles of `side`, until one has any.

        Raises:
            ImageError: as `read`.
        """
        grid = tile_grid(*self.size, side, 0)
        tiles = (grid.tile(number)[0] for number in range(len(grid)))
        if all(no_number(self._samples.read(window)) for window in chain([Window(0, 0, 1, 1)], tiles)):
            raise ImageError(self._path, NO_NUMBER, AGAIN)

    def close(self) -> None:
        self._samples.close()


def open_regions(
    path: Path, channels: int = 3, value_range: ValueRange | None = None, page: int | None = None
) -> FileRegions | None:
    """An image file that can be read by windows; None where `read_image` reads it whole.

    Args:
        channels, value_range: as `read_image` takes them.
        page: one of `count_images` images in the file; None: the only one.

    Raises:
        ImageError: damaged, of several images where `page` is None, of more pixels than any image has, or
            of a format whose package is not installed.
    """
    samples = open_samples(path, channels, page)
    if samples is None:
        return None
    height, width = samples.size
    if max(height, width) > MOST_SIDE or height * width > MOST_PIXELS:
        samples.close()
        reason = f"its header tells of {width:,} x {height:,} pixels"
        raise ImageError(path, reason, "no image is that large; replace it")
    return FileRegions(path, samples, channels, value_range)


def open_samples(path: Path, channels: int = 3, page: int | None = None) -> RegionImage | None:
    """The same as it is stored, of any type and not of the model's channels yet."""
    if is_zarr(path):
        return open_zarr_regions(path, page)
    if path.suffix.lower() in SLIDES:
        return open_slide_regions(path)
    if path.suffix.lower() == ARRAY_SUFFIX:
        return ArrayRegions(open_array(path))
    return open_tiff_regions(path, channels, page) if is_tiff(path) else None


def count_images(path: Path, channels: int = 3) -> int:
    """How many images a file holds, each with its own number in `open_regions`.

    Raises:
        ImageError: as `open_regions`.
    """
    if is_zarr(path):
        return count_zarr_images(path)
    if path.suffix.lower() not in (ARRAY_SUFFIX, *SLIDES) and is_tiff(path):
        return count_tiff_images(path, channels)
    return 1
