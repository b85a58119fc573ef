"""Image files as prediction takes them: whole, or window by window where they are predicted in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn.config.model import InputConfig
from maskrcnn.errors import DataError, ImageError
from maskrcnn.images.header import LARGEST
from maskrcnn.images.read import read_image
from maskrcnn.images.regions import ArrayRegions, RegionImage, count_images, open_regions, whole_pixels
from maskrcnn.images.tiles import Window
from maskrcnn.predict.large import Tiles, tile_side


@dataclass(frozen=True)
class SourceImage:
    """An image of a run: a file, or one of several in a file."""

    path: Path
    page: int | None = None  # from 0; None: the file's only image

    @property
    def name(self) -> str:
        """The path as given; a page's number, from 1, stands in brackets behind it."""
        return self.path.as_posix() + ("" if self.page is None else f"[{self.page + 1}]")

    @property
    def stem(self) -> str:
        """What the image's own files are called."""
        return self.path.stem + ("" if self.page is None else f"_page{self.page + 1}")


def source_images(paths: Sequence[Path], pages: bool, channels: int) -> list[SourceImage]:
    """The images of some files.

    Args:
        pages: each page of a stack is an image; else a file is one.
        channels: of the model.
    """
    images = []
    for path in paths:
        try:
            count = count_images(path, channels) if pages else 1
        except DataError:
            count = 1  # whoever reads it says what is wrong
        images += [SourceImage(path, number) for number in range(count)] if count > 1 else [SourceImage(path)]
    return images


def open_image(image: SourceImage, config: InputConfig, tiles: Tiles) -> tuple[RegionImage, int | None]:
    """An image as the model takes it, and the side of the tiles that it is predicted in, pixels; None: whole.

    One that is predicted whole is in memory, as is one of a format that has no regions.

    Raises:
        ImageError: it cannot be read, has no number, or is too large to be predicted whole.
    """
    form = config.channels, config.value_range
    regions = open_regions(image.path, *form, image.page)
    if regions is None:
        whole = ArrayRegions(read_image(image.path, *form))
        return whole, tile_side(config, whole.size, tiles)
    side = tile_side(config, regions.size, tiles)
    if side is not None:
        try:
            regions.refuse_no_number(side)
        except ImageError:
            regions.close()
            raise
        return regions, side
    height, width = regions.size
    try:
        if height * width > LARGEST:
            reason = f"{width} x {height} pixels are too many to be predicted whole"
            raise ImageError(
                image.name, reason, "add --tiles SIDE, with the side that the model was trained on"
            )
        return ArrayRegions(whole_pixels(regions, regions.size)), None
    finally:
        regions.close()


class LazyImage:
    """An image that is opened when a window of it is read."""

    def __init__(self, image: SourceImage, config: InputConfig, tiles: Tiles) -> None:
        """Arguments are those of `open_image`."""
        self._source = image, config, tiles
        self._opened: RegionImage | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self._image().size

    @property
    def channels(self) -> int:
        return self._image().channels

    def read(self, window: Window) -> np.ndarray:
        """uint8 (h, w, C).

        Raises:
            ImageError: the image cannot be read any more.
        """
        return self._image().read(window)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _image(self) -> RegionImage:
        if self._opened is None:
            self._opened, _ = open_image(*self._source)
        return self._opened
