"""Files of NumPy arrays, and what tifffile needs around it to open a TIFF."""

from __future__ import annotations

import io
import logging
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
TIFF_EXTRA = "pip install 'maskrcnn[tiff]'"


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


def tiff_header(path: Path) -> tuple[tuple[int, int], int, int]:
    """Of a TIFF's first image of full size: height and width, upright, its channels, and bits of each.

    Raises:
        ImageError: damaged, or tifffile is not installed.
    """
    with open_tiff(path) as tiff, as_image_error(path):
        page = full_pages(tiff, path)[0]
        height, width = int(page.imagelength), int(page.imagewidth)
        size = (width, height) if page_orientation(page) >= 5 else (height, width)
        return size, int(page.samplesperpixel), 8 * page.dtype.itemsize if page.dtype else 8


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
def as_image_error(path: Path | str) -> Iterator[None]:
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


def has_tifffile() -> bool:
    """Whether tifffile is installed; without it Pillow reads what TIFFs it can."""
    try:
        import tifffile  # noqa: F401
    except ImportError:
        return False
    return True


def open_tiff(path: Path | str, data: bytes | None = None) -> Any:
    """A tifffile.TiffFile, of a path or of `data`, which `path` then names in messages.

    Raises:
        ImageError: damaged, or tifffile is not installed.
    """
    try:
        import tifffile
    except ImportError:
        raise ImageError(path, "such a TIFF needs tifffile", f"{TIFF_EXTRA}, or save it as .npy") from None
    # what it finds odd it would print, when nobody else handles its messages
    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    with as_image_error(path):
        return tifffile.TiffFile(path if data is None else io.BytesIO(data))


def full_pages(tiff: Any, path: Path | str) -> list[Any]:
    """The pages of full size: without the smaller levels of a pyramid, thumbnails and transparency masks.

    Not by iterating over `tiff.pages`, which never ends where a page names itself as the next.

    Raises:
        ImageError: more than `MOST_PAGES`.
    """
    count = len(tiff.pages)
    if count > MOST_PAGES:
        reason = f"a TIFF of {count:,} pages, more than {MOST_PAGES:,}"
        raise ImageError(path, reason, "save each as a file of its own")
    pages = [tiff.pages[index] for index in range(count)]
    return [page for page in pages if not page.subfiletype & NOT_FULL] or pages


def imagej_images(description: str) -> int:
    """How many images ImageJ says that a TIFF holds, which may all lie behind one page."""
    found = IMAGEJ.match(description)
    return max(int(found[1]), 1) if found else 1


def page_orientation(page: Any) -> int:
    """The EXIF orientation of a page of a TIFF, 1 to 8."""
    tag = page.tags.get(ORIENTATION)
    value = getattr(tag, "value", 1)
    return value if value in range(1, 9) else 1
