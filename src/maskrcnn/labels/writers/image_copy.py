"""Copies of a data set's images, byte for byte where there is a file."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from maskrcnn.files import new_file
from maskrcnn.labels.image_files import relative_name
from maskrcnn.labels.types import Dataset

# control characters, line ends, bytes that are no UTF-8
NO_XML = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def plain_name(name: str) -> str:
    """The name of a file as XML and a line of text can hold it: other letters by their numbers."""
    return NO_XML.sub(lambda letter: f"_x{ord(letter[0]):x}_", name)


def link_image(source: Path, target: Path) -> None:
    """The file `source` under another name: a hard link, which takes no room, or a copy where the drive has
    none.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    with new_file(target, flush=False) as unfinished:
        unfinished.unlink()
        try:
            os.link(source.resolve(), unfinished)
        except OSError:
            shutil.copyfile(source, unfinished)


def copy_image(
    dataset: Dataset, index: int, folder: Path, taken: set[str], *, flat: bool = False, plain: bool = False
) -> str:
    """Copies an image into `folder` and returns its name there, which no other in `taken` has but for its
    suffix and for upper case.

    Names keep their folders, but for those called "images": readers of YOLO look for labels by that word. A
    generated image becomes a PNG, or with more than four channels an array.

    Args:
        flat: names lose all their folders.
        plain: they are such as XML can hold (`plain_name`).

    Raises:
        DataError: a generated image cannot be made.
    """
    image = dataset.image(index)
    pixels = dataset.pixels(index) if image.path is None else None
    inside = PurePosixPath((relative_name(image.file_name) or f"{index:06d}.png").replace("\\", "/"))
    kept = [] if flat else [part for part in inside.parent.parts if part != "images"]
    inside = PurePosixPath(*kept, inside.name)
    if pixels is not None:
        inside = inside.with_suffix(".png" if pixels.shape[2] <= 4 else ".npy")
    if plain:
        inside = PurePosixPath(plain_name(str(inside)))
    stem = str(inside.with_suffix(""))
    if stem.casefold() in taken:  # A.png would replace a.png on Windows and macOS
        stem = f"{stem}-{index:06d}"
    taken.add(stem.casefold())
    name = f"{stem}{inside.suffix}"
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if image.path is not None:
        shutil.copyfile(image.path, target)
    elif pixels is not None and pixels.shape[2] > 4:
        np.save(target, pixels, allow_pickle=False)
    elif pixels is not None:
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(target)
    return name
