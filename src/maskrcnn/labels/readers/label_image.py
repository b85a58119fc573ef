"""Image files that are labels: opened so that whatever is wrong ends in one line, and their instances as
RLEs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnn.errors import DataError
from maskrcnn.images.header import upright_size
from maskrcnn.masks.rle import Rle


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
        DataError: not readable, at once or while it is decoded inside the context; DataErrors from there stay
            theirs.
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


def read_ids(path: Path, image: Path | tuple[int, int]) -> np.ndarray:
    """The instance ids (H, W) of a label image: one channel of 8, 16 or 32 bits, or palette indices.

    Args:
        image: the image that it labels, or its height and width. Where there is no such file, others will say
            so.

    Raises:
        DataError: unreadable, in colour, or of another size than its image.
    """
    if isinstance(image, Path):
        size = upright_size(image) if image.is_file() else None
    else:
        size = image
    with open_label_image(path) as label:
        # before anything is decoded, so that a file that claims to be huge costs nothing
        if size is not None and size != (label.height, label.width):
            raise DataError(
                f"{path}: its image is {size[1]} x {size[0]} (width x height) but the label image"
                f" {label.width} x {label.height}; restore the image that was labelled"
            )
        mode, ids = label.mode, np.asarray(label)
    if ids.ndim != 2 or ids.dtype.kind == "f":
        raise DataError(
            f"{path}: a label image has one channel of whole numbers, not mode {mode}; save it as 16-bit PNG"
        )
    return ids


def read_object(image: Image.Image) -> np.ndarray:
    """Where an opened image is not black, whatever its mode: bool (H, W). Opacity counts as a colour."""
    values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    return values != 0 if values.ndim == 2 else (values != 0).any(axis=2)


def rles_by_id(ids: np.ndarray) -> dict[int, Rle]:
    """The RLE of each id but 0 in an array (H, W) of whole numbers, in the order of the ids."""
    if ids.dtype == bool:
        ids = ids.astype(np.uint8)
    values = np.unique(ids[ids != 0])
    return dict(zip(values.tolist(), _instance_rles(ids), strict=True))


def _instance_rles(ids: np.ndarray) -> list[Rle]:
    """In one pass over the pixels for all instances: the runs of equal ids down the columns are the runs of
    their RLEs.
    """
    height, width = ids.shape
    pixels = ids.reshape(-1, order="F")
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    ends = np.append(starts[1:], pixels.size)
    owners = pixels[starts]
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] != 0]
    if len(order) == 0:
        return []
    starts, ends, owners = starts[order], ends[order], owners[order]
    firsts = np.flatnonzero(np.append(True, owners[1:] != owners[:-1]))
    plain = []
    for first, last in zip(firsts, np.append(firsts[1:], len(owners)), strict=True):
        # where the value changes: background up to the first run, object to its end, ...
        edges = np.stack([starts[first:last], ends[first:last]], axis=1).reshape(-1)
        counts = np.diff(edges, prepend=0, append=pixels.size)
        plain.append({"size": [height, width], "counts": counts.tolist()})
    rles: list[Rle] = coco_mask.frPyObjects(plain, height, width)
    return rles
