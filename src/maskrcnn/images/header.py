"""What an image file's header says before anything is decoded: size, channels, orientation, and guards.

What a file says is never trusted: only the formats in `FORMATS` are tried, and an image of more than
`LARGEST` pixels is refused.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from maskrcnn.errors import ImageError, one_line
from maskrcnn.images.colours import ASSOCIATED
from maskrcnn.images.multichannel import (
    ARRAY_SUFFIX,
    MOST_PAGES,
    NOT_FULL,
    ORIENTATION,
    SAMPLES,
    TIFF_EXTRA,
    has_tifffile,
    imagej_images,
    is_tiff,
    open_array,
    refuse_special,
    tiff_header,
)
from maskrcnn.images.quiet import ignore_warnings_of

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
BYTES = 6  # of a pixel of RGB with 16 bits
MOST_BYTES = BYTES * LARGEST  # of arrays and TIFFs
# TIFF tags: what a page is, its bits, colours, text, planes, alpha and numbers
SUBFILE, BITS, WHITE, DESCRIPTION, PLANES, EXTRA, FORMAT = 254, 258, 262, 270, 284, 338, 339


class Header(NamedTuple):
    """What a file says of its image, or of the first of full size, before anything is decoded."""

    size: tuple[int, int]  # height and width as a person sees it (EXIF orientation applied)
    channels: int  # that cannot be read as RGB; 3 for every other
    deep: bool  # perhaps samples of more than 8 bits


def read_header(path: Path) -> Header:
    """What the header of an image file says.

    Raises:
        ImageError: not an image that can be opened.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        array = open_array(path)
        return Header((array.shape[0], array.shape[1]), array.shape[2], array.dtype.itemsize > 1)
    try:
        with open_image(path) as image:
            width, height = image.size
            size = (
                (width, height) if orientation(image, path) >= 5 else (height, width)
            )  # it lies on its side
            deep = image.mode == "F" or image.mode.startswith("I") or _tiff_bits(image) > 8
            return Header(size, _samples(image) if _samples(image) > len(image.getbands()) else 3, deep)
    except ImageError:
        raise
    # parsers raise whatever they stumble over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception as error:  # noqa: BLE001
        # Pillow knows no TIFF of five channels, nor some of four
        if isinstance(error, UnidentifiedImageError) and is_tiff(path):
            size, channels, bits = tiff_header(path)
            return Header(size, channels, bits > 8)
        raise ImageError(path, f"not readable as an image ({one_line(error)})", "replace it") from None


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as a person sees it, from its header only.

    Raises:
        ImageError: not an image that can be opened.
    """
    return read_header(path).size


def stored_channels(path: Path) -> int:
    """How many channels a file holds that cannot be read as RGB; 3 for every other, also unreadable ones."""
    try:
        return read_header(path).channels
    except ImageError:  # read_image says what is wrong
        return 3


def maybe_deep(path: Path) -> bool:
    """Whether a file may hold samples of more than 8 bits, by its header."""
    try:
        return path.is_dir() or read_header(path).deep  # a folder is a zarr
    except ImageError:  # read_image says what is wrong; a TIFF may be too large for Pillow alone
        return path.is_file() and is_tiff(path)


def open_image(path: Path) -> Image.Image:
    """An image that is open but not decoded, of one of `FORMATS`, or HEIC where pillow-heif is installed. Of
    a TIFF it is the first of full size: a thumbnail may come first.

    Raises:
        ImageError: it is HEIC and pillow-heif is not installed, or is no image at all.
        Exception: whatever Pillow raises of a file that is missing, damaged or of another format.
    """
    refuse_special(path)
    ignore_warnings_of("PIL")
    try:
        return at_full_size(Image.open(path, formats=FORMATS))
    except UnidentifiedImageError:
        with path.open("rb") as file:
            start = file.read(READ_START)
        _refuse_no_image(start, path)
        if not is_heic(start):
            raise
    return open_heic(path, path)


def at_full_size(image: Image.Image) -> Image.Image:
    """An open image; of a TIFF at the first page of full size, which a thumbnail may come before."""
    if image.format == "TIFF" and _smaller(image):
        for number in range(1, min(int(getattr(image, "n_frames", 1)), MOST_PAGES)):
            image.seek(number)
            if not _smaller(image):
                return image
        image.seek(0)
    return image


def _smaller(image: Any) -> bool:
    """Whether the page that a TIFF is at is a smaller level, a thumbnail or a mask."""
    return bool(int(image.tag_v2.get(SUBFILE, 0)) & NOT_FULL)


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


def sixteen_bits(image: Image.Image) -> type[np.integer] | None:
    """The type of samples that a file has in 16 bits and Pillow in 32, or None."""
    if image.mode != "I":
        return None
    if image.format == "PPM":
        return np.uint16
    return np.int16 if image.format == "TIFF" and _tiff_bits(image) == 16 else None


def misread(image: Image.Image) -> str | None:
    """What makes noise, white or a negative of a TIFF in Pillow 12 and 13, in words; None: nothing does."""
    tags: Any = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return None
    deep = _tiff_bits(image) == 16
    odd = image.mode in ("LA", "La") or tags.get(EXTRA) == ASSOCIATED
    if tags.get(PLANES) == 2 and len(image.getbands()) > 1 and (deep or odd):
        return f"{_tiff_bits(image)} bits in planes of one channel each"
    if deep and tags.get(WHITE) == 0:
        return "16 bits of which 0 is white"
    if image.mode == "L" and tags.get(FORMAT, (1,))[0] == 2:
        return "8 bits with a sign"
    if tags.prefix == b"MM" and image.mode in ("I", "F") and image.info.get("compression") != "raw":
        return "compressed and big-endian samples"
    return None


def _tiff_bits(image: Image.Image) -> int:
    """Bits of a TIFF's deepest channel; 1 for other formats."""
    return max(getattr(image, "tag_v2", {}).get(BITS, (1,)), default=0)


def refuse_header(image: Image.Image, path: Path | str, largest: int | None = None) -> None:
    """Raise an ImageError for an open image whose header promises what we do not decode."""
    refuse_size(image.height, image.width, path, largest)
    refuse_pages(_pages(image), path, _grey(image))
    if _samples(image) > len(image.getbands()):
        refuse_channels(_samples(image), path)


def refuse_size(height: int, width: int, path: Path | str, largest: int | None = None) -> None:
    """Raise an ImageError for an image of more than `largest` pixels; None: `LARGEST`."""
    largest = largest or LARGEST
    if height * width > largest:
        remedy = "cut it into tiles or shrink it first"
        if str(path).lower().endswith((".tif", ".tiff")):
            remedy += f"; predict takes it in tiles{'' if has_tifffile() else f' with {TIFF_EXTRA}'}"
        raise ImageError(path, f"{width} x {height} is more than {largest:,} pixels", remedy)


def refuse_bytes(count: int, path: Path | str, most: int | None = None) -> None:
    """Raise an ImageError for samples of more than `most` bytes; None: `MOST_BYTES`."""
    most = most or MOST_BYTES
    if count > most:
        raise ImageError(path, f"{count:,} bytes, more than {most:,}", "cut it into tiles or shrink it first")


def refuse_channels(count: int, path: Path | str) -> None:
    """Raise an ImageError for a TIFF of so many channels, where RGB or grey is wanted."""
    raise ImageError(
        path, f"a TIFF of {count} channels", f"set model.input.channels={count} or save it as RGB"
    )


def refuse_pages(count: int, path: Path | str, grey: bool, kind: str = "TIFF") -> None:
    """Raise an ImageError for a file of several images.

    Args:
        grey: each has one channel, so that they may be the channels of one.
    """
    if count > 1:
        needs = "" if kind != "TIFF" or has_tifffile() else f" (after {TIFF_EXTRA})"
        remedy = (
            f"save each as a file of its own, or let `maskrcnn predict --pages`{needs} take each for an image"
        )
        if grey:
            known = "save them as RGB" if count == 3 else f"set model.input.channels={count}"
            remedy += f" (or, if they are channels of one image, {known})"
        raise ImageError(path, f"a {kind} of {count} pages", remedy)


def _grey(image: Image.Image) -> bool:
    return len(image.getbands()) == 1 and image.mode != "P"


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
    full, place = 0, image.tell()
    for number in range(count):
        image.seek(number)
        full += not _smaller(image)
    image.seek(place)
    return max(full, 1)


def refuse_stack(path: Path) -> None:
    """Raise an ImageError for a TIFF of several pages, which none of them alone stands for."""
    try:
        with open_image(path) as image:
            pages, grey = _pages(image), _grey(image)
    except Exception:  # noqa: BLE001 - as in read_image, which says what is wrong
        return
    refuse_pages(pages, path, grey)


def _samples(image: Image.Image) -> int:
    """Channels that a TIFF's header tells of, of which Pillow may know some only; 0 for other formats."""
    return int(getattr(image, "tag_v2", {}).get(SAMPLES, 0))
