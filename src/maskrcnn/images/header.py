"""What an image file's header says before anything is decoded: size, channels, orientation, and guards.

What a file says is never trusted: only the formats in `FORMATS` are tried, and an image of more than
`LARGEST` pixels is refused.
"""

from __future__ import annotations

import mmap
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from maskrcnn.errors import ImageError, one_line
from maskrcnn.images.multichannel import (
    ARRAY_SUFFIX,
    MOST_PAGES,
    NOT_FULL,
    ORIENTATION,
    SAMPLES,
    imagej_images,
    is_tiff,
    open_array,
    refuse_special,
    tiff_shape,
)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF")
HEIC_SUFFIXES = (".heic", ".heif", ".hif")  # with pillow-heif
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", *HEIC_SUFFIXES),
)
HEIC_STARTS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
HEIC_START = 12  # bytes that tell it
READ_START = 100  # bytes that tell what a file is that is no image
HEIC_REMEDY = "pip install 'maskrcnn[heic]', or convert it to JPEG"
LARGEST = 178_956_970  # pixels, 0.5 GB of RGB; where Pillow itself refuses
MOST_BYTES = 6 * LARGEST  # of what Pillow does not read: as many pixels of RGB with 16 bits
SUBFILE, BITS, DESCRIPTION, PLANES = 254, 258, 270, 284  # TIFF tags: what a page is, a channel's bits, ...


def open_image(path: Path) -> Image.Image:
    """An image that is open but not decoded, of one of `FORMATS`, or HEIC where pillow-heif is installed.

    Raises:
        ImageError: it is HEIC and pillow-heif is not installed, or is no image at all.
        Exception: whatever Pillow raises of a file that is missing, damaged or of another format.
    """
    refuse_special(path)
    try:
        return Image.open(path, formats=FORMATS)
    except UnidentifiedImageError:
        with path.open("rb") as file:
            start = file.read(READ_START)
        _refuse_no_image(start, path)
        if not is_heic(start):
            raise
    return open_heic(path, path)


def _refuse_no_image(start: bytes, path: Path) -> None:
    """Refuse what a download or a copy leaves where an image should be, by what it begins with.

    Raises:
        ImageError: an empty file, the pointer of Git LFS, or a web page.
    """
    if not start:
        raise ImageError(path, "an empty file, not an image", "copy or download it again")
    if start.startswith(b"version https://git-lfs"):
        raise ImageError(path, "a pointer of Git LFS, not the image", "fetch the images: git lfs pull")
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise ImageError(path, "a web page (HTML), not an image", "download the image itself")


def is_heic(start: bytes) -> bool:
    """Whether a file that begins with `start` is HEIC, whatever it is called: phones export some as .jpg."""
    return start[4:8] == b"ftyp" and start[8:HEIC_START] in HEIC_STARTS


def open_heic(file: Path | BinaryIO, path: Path | str) -> Image.Image:
    """A HEIC image that is open but not decoded; `path` is what it is called in messages.

    Raises:
        ImageError: pillow-heif is not installed.
        Exception: whatever it raises of a damaged file.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(path, "a HEIC image, for which pillow-heif is not installed", HEIC_REMEDY) from None
    opened: Image.Image = HeifImageFile(file)
    return opened


def unmapped(image: Image.Image) -> Image.Image:
    """The same image, not decoded yet, which Pillow will not map into memory: it maps a grey TIFF that lies
    on its side by its upright size, which makes noise (Pillow 12.2 to 13.0).
    """
    if isinstance(image, ImageFile.ImageFile) and image.format == "TIFF":
        image.filename = ""
    return image


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as a person sees it (EXIF orientation applied), from its header only.

    Raises:
        ImageError: not an image that can be opened.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        height, width, _ = open_array(path).shape
        return height, width
    try:
        # Pillow warns of large images that we allow; what matters raises
        with warnings.catch_warnings(action="ignore"), open_image(path) as image:
            width, height = image.size
            turned = orientation(image, path) >= 5  # it lies on its side
    except ImageError:
        raise
    # parsers raise whatever they stumble over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception as error:  # noqa: BLE001
        # Pillow knows no TIFF of five channels, nor some of four
        if isinstance(error, UnidentifiedImageError) and is_tiff(path):
            return tiff_shape(path)[:2]
        raise ImageError(path, f"not readable as an image ({one_line(error)})", "replace it") from None
    return (width, height) if turned else (height, width)


def orientation(image: Image.Image, path: Path | None = None) -> int:
    """The EXIF orientation that is still to be applied to an image, 1 to 8.

    A block that cannot be parsed counts as upright, as it does in image viewers.

    Args:
        path: of an image that is open but not decoded yet: Pillow would decode all of a PNG to look for the
            tag behind its pixels, so its bytes are searched first.
    """
    if image.format == "TIFF":  # Pillow turns it as it decodes, and tells the upright size before
        return 1
    if image.format == "PNG" and path is not None and not _mentions_exif(path):
        return 1
    try:
        found = int(image.getexif().get(ORIENTATION, 1))
    # the parser raises whatever it stumbles over on damaged bytes
    except Exception:  # noqa: BLE001
        return 1
    return found if found in range(1, 9) else 1


def _mentions_exif(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(word) >= 0 for word in (b"eXIf", b"Raw profile type exif"))


def stored_channels(path: Path) -> int:
    """How many channels a file holds that cannot be read as RGB; 3 for every other.

    Raises:
        ImageError: an array that is no image, or a TIFF that cannot be parsed.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        return open_array(path).shape[2]
    try:
        with warnings.catch_warnings(action="ignore"), open_image(path) as image:
            return _samples(image) if _samples(image) > len(image.getbands()) else 3
    except UnidentifiedImageError:
        return tiff_shape(path)[2] if is_tiff(path) else 3
    except Exception:  # noqa: BLE001 - as in read_image, which says what is wrong
        return 3


def sixteen_bits(image: Image.Image) -> type[np.integer] | None:
    """The type of samples that a file has in 16 bits and Pillow in 32, or None."""
    if image.mode != "I":
        return None
    if image.format == "PPM":
        return np.uint16
    return np.int16 if image.format == "TIFF" and _tiff_bits(image) == 16 else None


def maybe_deep(path: Path) -> bool:
    """Whether a file may hold samples of more than 8 bits, by its header."""
    if path.is_dir():  # a zarr
        return True
    try:
        if path.suffix.lower() == ARRAY_SUFFIX:
            return open_array(path).dtype.itemsize > 1
        with warnings.catch_warnings(action="ignore"), open_image(path) as image:
            return image.mode == "F" or image.mode.startswith("I") or _tiff_bits(image) > 8
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return is_tiff(path)
    except Exception:  # noqa: BLE001 - as in read_image, which says what is wrong
        return False


def deep_planes(image: Image.Image) -> bool:
    """Whether a TIFF has colours of 16 bits one plane after the other, of which Pillow 12 makes noise."""
    return image.mode == "RGB" and _tiff_bits(image) == 16 and getattr(image, "tag_v2", {}).get(PLANES) == 2


def _tiff_bits(image: Image.Image) -> int:
    """Bits of a TIFF's deepest channel; 1 for other formats."""
    return max(getattr(image, "tag_v2", {}).get(BITS, (1,)), default=0)


def refuse_header(image: Image.Image, path: Path | str) -> None:
    """Raise an ImageError for an open image whose header promises what we do not decode."""
    width, height = image.size
    if width * height > LARGEST:
        remedy = "cut it into tiles or shrink it first"
        if image.format == "TIFF":
            remedy += "; predict takes it in tiles with pip install 'maskrcnn[tiff]'"
        raise ImageError(path, f"{width} x {height} is more than {LARGEST:,} pixels", remedy)
    refuse_pages(_pages(image), path)
    if _samples(image) > len(image.getbands()):
        raise ImageError(
            path,
            f"a TIFF of {_samples(image)} channels",
            f"set model.input.channels={_samples(image)} or save it as RGB",
        )


def refuse_pages(count: int, path: Path | str, kind: str = "TIFF") -> None:
    """Raise an ImageError for a file of several images."""
    if count > 1:
        raise ImageError(
            path,
            f"a {kind} of {count} pages",
            "save each as a file of its own, or let `maskrcnn predict --pages` take each for an image (or, if"
            f" they are channels of one image, set model.input.channels={count})",
        )


def _pages(image: Image.Image) -> int:
    """How many images of full size a file holds; other animations than a TIFF's pages count as one."""
    if image.format != "TIFF":
        return 1
    tags: Any = image
    count = int(getattr(image, "n_frames", 1))
    if count == 1:
        return imagej_images(str(tags.tag_v2.get(DESCRIPTION, "")))
    if count > MOST_PAGES:
        return count
    full = 0
    for number in range(count):
        image.seek(number)
        full += not int(tags.tag_v2.get(SUBFILE, 0)) & NOT_FULL
    image.seek(0)
    return max(full, 1)


def refuse_stack(path: Path) -> None:
    """Raise an ImageError for a TIFF of several pages, which none of them alone stands for."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            pages = _pages(image)
    except Exception:  # noqa: BLE001 - as in read_image, which says what is wrong
        return
    refuse_pages(pages, path)


def _samples(image: Image.Image) -> int:
    """Channels that a TIFF's header tells of, of which Pillow may know some only; 0 for other formats."""
    return int(getattr(image, "tag_v2", {}).get(SAMPLES, 0))
