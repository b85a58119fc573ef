"""Image files that are labels, opened so that whatever is wrong with them ends in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from maskrcnn.errors import DataError


@contextmanager
def quiet() -> Iterator[None]:
    """Pillow warns of large images that we allow, in lines of its own; what matters raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def open_label_image(path: Path, formats: tuple[str, ...] = ("PNG", "TIFF")) -> Iterator[Image.Image]:
    """The image with its header read and nothing decoded yet.

    Raises:
        DataError: not readable, at once or while it is decoded inside the context; DataErrors from there stay theirs.
    """
    try:
        with quiet(), Image.open(path, formats=formats) as image:
            yield image
    except DataError:
        raise
    # parsers raise whatever they stumble over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not readable as an image ({reason:.200}); replace it") from None
