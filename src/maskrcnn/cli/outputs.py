"""Where a command writes: that it can, and that nothing it reads is written over."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maskrcnn.errors import UserError
from maskrcnn.files import in_the_way, refuse_filled

if TYPE_CHECKING:
    from maskrcnn.labels.types import Dataset

Output = Literal["file", "image", "folder", "new folder"]


def check_outputs(
    *paths: Path | None, kind: Output = "file", inputs: Iterable[str | Path | None] = ()
) -> None:
    """Find out before the work, not after it, that a result cannot be written.

    Args:
        kind: of what will be there: a "file", an "image", a "folder" that may exist, or a "new folder".
        inputs: what the command reads: none of it is written over.

    Raises:
        UserError: one line that names the path and the remedy.
    """
    given = [path for path in paths if path is not None]
    if len(set(map(os.path.realpath, given))) < len(given):
        raise UserError(f"{given[0]}: two results cannot be one file; give each a name of its own")
    there = {os.path.realpath(path) for path in given if path.is_file()}
    for read in inputs if there else ():
        if read and os.path.realpath(read) in there:
            raise UserError(
                f"{read}: the command reads it and would replace it; give the result another name"
            )
    for path in given:
        _check_kind(path, kind)
        if path.exists() and not path.is_file() and not path.is_dir():
            place = path  # a device or a pipe
        else:
            place = next(folder for folder in path.resolve().parents if folder.exists())
            if not place.is_dir():
                raise UserError(f"{place}: a file is where a folder should be; use another path")
        if not os.access(place, os.W_OK):
            raise UserError(f"{place}: not writable; write to another folder")


def files_of(*datasets: Dataset | None) -> Iterator[str | Path | None]:
    """What data sets are read from, for `check_outputs`: label files, images, LabelMe's files of these."""
    for dataset in datasets:
        if dataset is not None:
            yield dataset.info.name
            paths = (image.path for image in dataset)
            yield from (each for path in paths if path for each in (path, path.with_suffix(".json")))


def _check_kind(path: Path, kind: Output) -> None:
    """Refuse a path that something of another kind has, and an image that no format has a suffix for."""
    if kind in ("file", "image") and path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    if kind == "folder" and path.exists() and not path.is_dir():
        raise in_the_way(path)
    if kind == "new folder":
        refuse_filled(path)
    if kind == "image":
        _check_image_format(path)


def _check_image_format(path: Path) -> None:
    """Write one pixel in the format that the suffix asks for."""
    from io import BytesIO

    from PIL import Image

    format_ = Image.registered_extensions().get(path.suffix.lower(), "none")
    try:
        Image.new("RGB", (1, 1)).save(BytesIO(), format=format_)
    except (KeyError, OSError, ValueError):
        suffix = f"{path.suffix!r} is no" if path.suffix else "has no suffix that names an"
        raise UserError(f"{path}: {suffix} image format; give it a suffix such as .png or .jpg") from None
