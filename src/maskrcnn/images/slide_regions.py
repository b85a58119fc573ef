"""Windows of whole slides, by tiffslide: the level of full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import ImageError
from maskrcnn.images.multichannel import as_image_error, refuse_special
from maskrcnn.images.tiles import Window

SUFFIXES = (
    ".svs",
    ".ndpi",
    ".scn",
    ".bif",
)  # TIFFs of scanners, whose pages are levels, labels and thumbnails


class SlideSamples:
    """A slide at full size."""

    channels = 3

    def __init__(self, path: Path, slide: Any) -> None:
        self._path, self._slide = path, slide
        width, height = slide.dimensions
        self.size = (int(height), int(width))

    def read(self, window: Window) -> np.ndarray:
        """uint8 (h, w, 3), RGB."""
        with as_image_error(self._path):
            place, size = (window.left, window.top), (window.width, window.height)
            pixels = np.asarray(self._slide.read_region(place, 0, size, as_array=True))
            if pixels.shape[2:] != (3,) or pixels.dtype != np.uint8:
                raise ValueError(f"pixels of {pixels.dtype} and shape {pixels.shape}")
            return pixels

    def close(self) -> None:
        self._slide.close()


def open_slide_regions(path: Path) -> SlideSamples:
    """A whole slide.

    Raises:
        ImageError: damaged, or tiffslide is not installed.
    """
    try:
        from tiffslide import TiffSlide
    except ImportError:
        remedy = "pip install 'maskrcnn[slides]'"
        raise ImageError(path, "a whole slide, for which tiffslide is not installed", remedy) from None
    refuse_special(path)
    with as_image_error(path):
        # absolute: of other names it would take some for an address
        return SlideSamples(path, TiffSlide(path.absolute()))
