"""Every image file opened and decoded: what is broken, what is unusual, and which are in both splits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from maskrcnn.check.findings import Findings, Suspect
from maskrcnn.errors import ImageError
from maskrcnn.images.fingerprint import fingerprint, near_duplicates, similar_hashes
from maskrcnn.images.header import FORMATS, orientation
from maskrcnn.images.read import ValueRange, read_image
from maskrcnn.labels.image_files import size_disagreement
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.progress import Progress

UNUSUAL = {
    "I;16": "of 16 bits: its values are shifted into 8, which loses faint structure",
    "I;16B": "of 16 bits: its values are shifted into 8, which loses faint structure",
    "I": "of 32 bits: its values are shifted into 8, which loses faint structure",
    "F": "of floating point: its values are scaled into 8 bits",
    "P": "with a palette: its colours are looked up",
    "RGBA": "with transparency: it is laid over white",
    "LA": "with transparency: it is laid over white",
    "CMYK": "in CMYK: it is converted without a colour profile",
}
GENERATED = 200  # images without a file that are looked at
KEPT = ("RGBA", "LA", "CMYK")  # as they are, where they have the wanted number of channels
GREY = ("1", "L", "I;16", "I;16B", "I", "F")


@dataclass
class Seen:
    """One image as its file has it."""

    wrong: ImageError | None  # why it cannot be used
    mode: str = ""
    turned: bool = False  # by EXIF
    fingerprint: int = 0  # 64 bits that hardly change when an image is resized or compressed again
    moments: np.ndarray | None = None  # (2, C): of each channel the mean, and that of its square
    flat: bool = False  # one colour only, so that `fingerprint` says nothing


def check_images(
    dataset: Dataset,
    split: str,
    findings: Findings,
    progress: Progress | None = None,
    *,
    channels: int = 3,
    value_range: ValueRange | None = None,
) -> list[Seen]:
    """Decodes every image of a split, as many at a time as there are cores."""
    seen: list[Seen] = []
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        looks = pool.map(partial(look, channels=channels, value_range=value_range), _each(dataset))
        for index, (image, one) in enumerate(zip(_each(dataset), looks, strict=True)):
            seen.append(one)
            suspect = Suspect(split, index, repr(image.file_name))
            if one.wrong is not None:
                told = Suspect(split, index, f"{suspect.record}: {one.wrong.reason}")
                findings.add("image that cannot be used", "error", one.wrong.remedy, told)
            if one.mode in UNUSUAL and (channels in (1, 3) or one.mode not in KEPT):
                findings.add(f"image {UNUSUAL[one.mode].partition(':')[0]}", "warning", UNUSUAL[one.mode], suspect)
            if one.turned and one.wrong is None:
                remedy = "its labels must be for the upright image; the size agrees with that"
                findings.add("image turned by its EXIF tag", "warning", remedy, suspect)
            if one.flat and one.wrong is None:
                findings.add("image of one colour", "warning", "look whether it was exported right", suspect)
            if progress:
                progress(index + 1, len(dataset))
    return seen


def look(image: LabelledImage, channels: int = 3, value_range: ValueRange | None = None) -> Seen:
    """Decode one image; whatever is wrong with it is said, not raised."""
    if image.path is None:
        return Seen(None)
    try:
        with Image.open(image.path, formats=FORMATS) as file:
            mode, turned = file.mode, orientation(file, image.path) != 1
    except Exception:  # noqa: BLE001  what is wrong is said by read_image, in its words
        mode, turned = "", False
    try:
        pixels = read_image(image.path, channels, value_range)
    except ImageError as error:
        return Seen(error, mode, turned)
    wrong = size_disagreement(image, pixels.shape[0], pixels.shape[1])
    hashed = fingerprint(pixels)
    return Seen(wrong, mode, turned, hashed.bits, _moments(pixels), hashed.flat)


def check_leaks(
    train: list[Seen],
    val: list[Seen],
    names: tuple[Dataset, Dataset],
    findings: Findings,
    *,
    channels: int = 3,
    value_range: ValueRange | None = None,
) -> None:
    """Images of the val split that are in the train split too, perhaps resized or compressed again."""
    if not train or not val:
        return
    prints = np.array([one.fingerprint for one in train], np.uint64)
    usable = np.array([one.wrong is None and not one.flat for one in train])
    for index, one in enumerate(val):
        if one.wrong is not None or one.flat:
            continue
        for other in np.flatnonzero(usable & similar_hashes(prints, one.fingerprint)):
            a, b = names[0].image(int(other)), names[1].image(index)
            pair = [read_image(path, channels, value_range) for path in (a.path, b.path) if path]
            if len(pair) == 2 and near_duplicates(*pair):
                record = f"{b.file_name!r} of val is {a.file_name!r} of train"
                remedy = "figures on val are too good by it: move it to one side"
                suspect = Suspect("val", index, record, like=("train", int(other)))
                findings.add("image in both splits", "warning", remedy, suspect)
                break


def _each(dataset: Dataset) -> Iterator[LabelledImage]:
    return (dataset.image(index) for index in range(len(dataset)))


def mean_and_deviation(dataset: Dataset, seen: list[Seen], *, channels: int = 3) -> tuple[list[float], list[float]]:
    """Mean and deviation per channel on 0 to 255, every image as much: `model.input.mean` and `std`.

    Args:
        seen: what `check_images` saw; images without a file are looked at here, 200 of them at most.
    """
    moments = [one.moments for one in seen if one.moments is not None]
    if not moments:
        step = max(1, len(dataset) // GENERATED)
        moments = [_moments(dataset.pixels(i)) for i in range(0, len(dataset), step) if dataset.image(i).path is None]
    if not moments:
        return [0.0] * channels, [1.0] * channels
    mean, square = np.mean(moments, axis=0)
    deviation = np.sqrt(np.maximum(square - mean**2, 1.0))
    return mean.round(2).tolist(), deviation.round(2).tolist()


def _moments(pixels: np.ndarray) -> np.ndarray:
    """Means (2, C) of the values and of their squares, over a grid of at most 64 x 64 pixels."""
    down, across = (max(1, -(-side // 64)) for side in pixels.shape[:2])
    values = pixels[::down, ::across].reshape(-1, pixels.shape[2]).astype(np.float64)
    return np.stack([values.mean(0), (values**2).mean(0)])
