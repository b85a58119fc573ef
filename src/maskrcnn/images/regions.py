"""Images that are read a region at a time, however large they are."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from maskrcnn.images.tiles import Window


class RegionImage(Protocol):
    """An image of which any window can be read without the rest."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""

    @property
    def channels(self) -> int: ...

    def read(self, window: Window) -> np.ndarray:
        """uint8 (h, w, channels) of a window that lies in the image.

        Raises:
            ImageError: this part of the file is damaged, or its samples need a value range.
        """

    def close(self) -> None: ...


class ArrayRegions:
    """An image that is in memory: uint8 (H, W, C)."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels
        self.size: tuple[int, int] = (pixels.shape[0], pixels.shape[1])
        self.channels: int = pixels.shape[2]

    def read(self, window: Window) -> np.ndarray:
        left, top, right, bottom = window.box
        return np.ascontiguousarray(self._pixels[top:bottom, left:right])

    def close(self) -> None: ...
