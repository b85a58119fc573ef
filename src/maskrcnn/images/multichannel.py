"""Images that Pillow has no mode for: NumPy arrays, and TIFFs of several channels or pages."""

from __future__ import annotations

import logging
import math
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import ImageError, one_line

ARRAY_SUFFIX = ".npy"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION, SAMPLES = 274, 277  # tags of TIFF, the first of EXIF too
MOST_PAGES = 1000
NOT_FULL = 1 | 4  # bits of a page's NewSubfileType: a smaller level, a mask
IMAGEJ = re.compile(r"ImageJ=.*?\bimages=(\d{1,9})\b", re.DOTALL)  # how its descriptions begin
MOST_RATIO = 2000  # of an image's bytes to its file's; deflate and LZW reach 1,400 on a single colour


def refuse_special(path: Path) -> None:
    """Raise an ImageError for a pipe, a socket or a device: one may be waited for without end."""
    try:
        mode = path.stat().st_mode
    except OSError:  # whoever opens it says what is wrong
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ImageError(path, "a pipe or a device, no file", "save it as a file first")


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF does; false of one that cannot be read, whose reader says why."""
    refuse_special(path)
    try:
        with path.open("rb") as file:
            return file.read(4) in TIFF_STARTS
    except OSError:
        return False


def open_array(path: Path) -> np.ndarray:
    """The image in a .npy file, (H, W) or (H, W, C), mapped into memory as (H, W, C): nothing is read yet.

    Raises:
        ImageError: no such file, not an array of numbers, another shape, or shorter than its header says.
    """
    refuse_special(path)
    with as_image_error(path):
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise ImageError(path, "not an array of numbers", "save the image with numpy.save")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ImageError(
            path, f"an array of shape {array.shape} is not an image", "save (height, width, channels)"
        )
    return array if array.ndim == 3 else array[:, :, None]


def tiff_shape(path: Path) -> tuple[int, int, int]:
    """Height and width (upright) and channels of a TIFF, from its header; grey pages count as channels.

    Raises:
        ImageError: not such a TIFF, or tifffile is not installed.
    """
    with open_tiff(path) as tiff, as_image_error(path):
        height, width, channels = _page_shape(tiff, path)
        return (width, height, channels) if tiff_orientation(tiff) >= 5 else (height, width, channels)


def read_tiff(path: Path, largest: int) -> np.ndarray:
    """A TIFF of several channels or pages, upright, as (H, W, C) of its own type.

    Args:
        largest: bytes above which it is refused from its header.

    Raises:
        ImageError: damaged, of pages that are no channels, or too large; or tifffile is not installed.
    """
    with open_tiff(path) as tiff, as_image_error(path):
        shape = _page_shape(tiff, path)
        # tifffile's own sizes too, which count what else a header may claim (depth, wider samples)
        pages = full_pages(tiff)
        size = max(sum(page.nbytes for page in pages), math.prod(shape))
        if size > largest:
            raise ImageError(
                path, f"{size:,} bytes, more than {largest:,}", "cut it into tiles or shrink it first"
            )
        if size > MOST_RATIO * path.stat().st_size:
            raise ImageError(
                path, f"its header tells of {size:,} bytes, which the file cannot hold", "save it as .npy"
            )
        pixels = np.concatenate([_page_pixels(page) for page in pages], axis=2)
        if pixels.dtype.kind not in "buif":
            raise ImageError(path, f"its samples are {pixels.dtype}", "save plain numbers")
        if pixels.shape != shape:
            raise ImageError(path, f"its header says {shape}, it holds {pixels.shape}", "save it as .npy")
        return upright(pixels, tiff_orientation(tiff))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """An array (H, W, C) turned by an EXIF orientation, 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


@contextmanager
def as_image_error(path: Path) -> Iterator[None]:
    """Whatever a parser stumbles over on damaged bytes, as an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(path, "no such file", "check the name") from None
    except Exception as error:  # noqa: BLE001
        reason = one_line(error)
        remedy = "pip install imagecodecs" if "imagecodecs" in reason else "save it again, or with numpy.save"
        raise ImageError(path, f"cannot be decoded ({reason:.120})", remedy) from None


def open_tiff(path: Path) -> Any:
    try:
        import tifffile
    except ImportError:
        raise ImageError(
            path, "such a TIFF needs tifffile", "pip install 'maskrcnn[tiff]', or save it as .npy"
        ) from None
    # what it finds odd it would print, when nobody else handles its messages
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    with as_image_error(path):
        return tifffile.TiffFile(path)


def full_pages(tiff: Any) -> list[Any]:
    """The pages of full size: without the smaller levels of a pyramid, thumbnails and transparency masks.

    Not by iterating over `tiff.pages`, which never ends where a page names itself as the next.
    """
    count = len(tiff.pages)
    if count > MOST_PAGES:
        raise ValueError(f"{count} pages")
    pages = [tiff.pages[index] for index in range(count)]
    return [page for page in pages if not page.subfiletype & NOT_FULL] or pages


def imagej_images(description: str) -> int:
    """How many images ImageJ says that a TIFF holds, which may all lie behind one page."""
    found = IMAGEJ.match(description)
    return max(int(found[1]), 1) if found else 1


def _page_shape(tiff: Any, path: Path) -> tuple[int, int, int]:
    """Height, width and channels as stored."""
    pages = full_pages(tiff)
    shapes = {(page.imagelength, page.imagewidth, page.samplesperpixel) for page in pages}
    count = len(pages)
    shape = next(iter(shapes), (0, 0, 0))
    if len(shapes) != 1 or 0 in shape or (count > 1 and shape[2] > 1):
        raise ImageError(
            path, f"a TIFF of {count} pages that are no channels of one image", "save it as .npy"
        )
    return int(shape[0]), int(shape[1]), int(shape[2]) * count


def _page_pixels(page: Any) -> np.ndarray:
    """One page as (H, W, C)."""
    pixels: np.ndarray = page.asarray()
    if pixels.ndim == 2:
        return pixels[:, :, None]
    # channels that are stored one after the other
    return np.moveaxis(pixels, 0, 2) if page.axes.startswith("S") else pixels


def tiff_orientation(tiff: Any) -> int:
    """The EXIF orientation of an open TIFF, 1 to 8."""
    tag = tiff.pages[0].tags.get(ORIENTATION)
    value = getattr(tag, "value", 1)
    return value if value in range(1, 9) else 1
