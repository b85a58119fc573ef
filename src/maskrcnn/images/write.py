"""Images written whole or not at all, and encoded in memory."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from maskrcnn.errors import UserError, one_line
from maskrcnn.files import new_file

QUALITY = 92  # of JPEG and WebP, of 100


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image as RGB in the format of the path's suffix.

    Raises:
        OSError: the disk is full or may not be written to; an older file is whole then.
        UserError: the format has no such large images; an older file is whole then.
    """
    kind = Image.registered_extensions()[path.suffix.lower()]
    with new_file(path, flush=False) as unfinished:
        try:
            # in memory first: a JPEG that Pillow writes itself ends where the disk is full, without an error
            unfinished.write_bytes(encoded(image.convert("RGB"), kind))
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk's, not Pillow's
                raise
            size = f"{image.width:,} x {image.height:,} pixels as {kind}"
            raise UserError(
                f"{path}: cannot hold {size} ({one_line(error):.80}); give it the suffix .png"
            ) from None


def encoded(image: Image.Image, kind: str, quality: int = QUALITY) -> bytes:
    """An image as a file of a kind, "JPEG" or "PNG"; JPEG as RGB."""
    if kind == "JPEG" and image.mode != "RGB":
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return file.getvalue()
