"""An encoded image in memory, as a stranger sends it: asked for its size before anything is decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from maskrcnn.errors import ImageError, one_line
from maskrcnn.images.header import FORMATS, LARGEST, at_full_size, is_heic, open_heic, refuse_header
from maskrcnn.images.multichannel import TIFF_STARTS
from maskrcnn.images.quiet import ignore_warnings_of
from maskrcnn.images.read import ValueRange, model_pixels, pillow_samples, refuse_no_number, unknown_tiff
from maskrcnn.images.tiff_regions import read_tiff

NAME = "image"  # what messages call it
MOST_SCANS = 100  # of a JPEG: each costs a pass over all pixels, and tens of thousands fit into a megabyte


def decode_image(
    data: bytes, channels: int = 3, value_range: ValueRange | None = None, largest: int = LARGEST
) -> np.ndarray:
    """The image, upright, as uint8 (H, W, channels): what `read_image` gives of a file with these bytes.

    Raises:
        ImageError: not an image of `FORMATS`, by its header of more than `largest` pixels or one that would
            take far longer to decode than its size tells; truncated or damaged, of another number of
            channels, or samples that need a `value_range`.
    """
    with _as_image_error(largest):
        samples = read_tiff(NAME, channels, data, largest) if data.startswith(TIFF_STARTS) else None
        if samples is None:
            with _opened(data) as image:
                _refuse_header(image, data, largest)
                samples = pillow_samples(image, channels, NAME)
        refuse_no_number(samples, NAME)
        return model_pixels(samples, NAME, channels, value_range, "save it with 8 or 16 bits")


def _refuse_header(image: Image.Image, data: bytes, largest: int) -> None:
    refuse_header(image, NAME, largest)
    # FF DA begins a scan and, by the format's stuffing, is nothing else in a scan's data
    if image.format == "JPEG" and data.count(b"\xff\xda") > MOST_SCANS:
        raise ImageError(NAME, f"a JPEG of more than {MOST_SCANS} scans", "save it anew")
    width, height = image.size
    # less than a bit for each pixel, and not compressed: all of them would be allocated before that shows
    if any(tile[0] == "raw" for tile in getattr(image, "tile", ())) and width * height > 8 * len(data):
        raise ImageError(NAME, "truncated", "send it whole, or save it anew")


def _opened(data: bytes) -> Image.Image:
    ignore_warnings_of("PIL")
    try:
        return at_full_size(Image.open(io.BytesIO(data), formats=FORMATS))
    except UnidentifiedImageError:
        if data.startswith(TIFF_STARTS):
            raise unknown_tiff(NAME) from None
        if not is_heic(data):
            known = ", ".join(FORMATS)
            raise ImageError(NAME, f"not one of a known format ({known})", "convert it to PNG") from None
    return open_heic(io.BytesIO(data), NAME)


@contextmanager
def _as_image_error(largest: int = LARGEST) -> Iterator[None]:
    """Whatever a decoder stumbles over on damaged bytes, as an ImageError."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise ImageError(NAME, f"more than {largest:,} pixels", "cut it into tiles or shrink it") from None
    except Exception as error:  # noqa: BLE001
        raise ImageError(
            NAME, f"cannot be decoded ({one_line(error):.120})", "send it whole, or save it anew"
        ) from None
