"""A folder of images, some of which cannot be read."""

from __future__ import annotations

from pathlib import Path

from blob_model import blobs
from PIL import Image


def photos(folder: Path, count: int, broken: tuple[int, ...] = ()) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels, _ = blobs(40, 50, seed=number)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        if number in broken:
            (folder / f"{number:03d}.png").write_bytes(b"no image")
    return folder
