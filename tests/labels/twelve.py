"""Twelve small generated images with all that labels can hold: classes, holes, parts, a crowd, keypoints,
nothing.

No photograph and no file: what `make_samples.py` writes in every format.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import cv2
import numpy as np

from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.masks.rle import bitmap_rle, rle_area, rle_bitmap, rle_box

SIDE = (72, 96)  # height and width
COUNT = 12
HOLED, CUT, CROWDED, EMPTY = 9, 10, 8, 11  # which images have what
GREY = 128
LEVELS = 32  # colours are multiples of it, so that a PNG is small


class Twelve(Dataset):
    """The first `count` of them. No two objects share a pixel."""

    def __init__(self, count: int = COUNT) -> None:
        self._scenes = Synthetic(COUNT, seed=31, side=SIDE, people=True)
        self.count = count
        self.info = replace(self._scenes.info, name="twelve")
        self._drawn = [self._draw(index) for index in range(count)]

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`."""
        return deepcopy(self._drawn[index][0])

    def pixels(self, index: int) -> np.ndarray:
        """The image at `index`: uint8 RGB (H, W, 3)."""
        return self._drawn[index][1].copy()

    def _draw(self, index: int) -> tuple[LabelledImage, np.ndarray]:
        image = deepcopy(self._scenes.image(index))  # the generator keeps its latest
        pixels = _flat(image, self._scenes.pixels(index))
        image.file_name = f"{index + 1:012d}.png"
        if index == HOLED:
            _remove(image.annotations[-1], pixels, 0.3, 0.3)
        if index == CUT:
            _remove(image.annotations[-1], pixels, 0.15, 2.0)
        if index == CROWDED:
            image.annotations.append(_crowd(image, pixels))
        if index == EMPTY:
            image.annotations, pixels = [], np.full_like(pixels, GREY)
        return image, pixels


def _flat(image: LabelledImage, pixels: np.ndarray) -> np.ndarray:
    """The image with one colour for each object before a blurred background."""
    flat = cv2.medianBlur(pixels, 7)
    for annotation in image.annotations:
        mask = rle_bitmap(annotation.rle) > 0
        flat[mask] = pixels[mask].mean(axis=0)
    return flat // LEVELS * LEVELS


def _remove(annotation: Annotation, pixels: np.ndarray, wide: float, high: float) -> None:
    """Take a block, as large as these shares of its box, out of the middle of an object, in its mask and in
    the image.
    """
    x0, y0, x1, y1 = annotation.box
    rows, columns = np.mgrid[: SIDE[0], : SIDE[1]] + 0.5
    # a little to the left, so that no two parts are equally large
    beside = np.abs(columns - 0.55 * x0 - 0.45 * x1) > (x1 - x0) * wide / 2
    above = np.abs(rows - (y0 + y1) / 2) > (y1 - y0) * high / 2
    mask = rle_bitmap(annotation.rle) > 0
    pixels[mask & ~(beside | above)] = GREY
    _set_mask(annotation, mask & (beside | above))


def _crowd(image: LabelledImage, pixels: np.ndarray) -> Annotation:
    """Dots of the first class in what is left of the image."""
    free = np.ones(SIDE, bool)
    for annotation in image.annotations:
        free &= rle_bitmap(annotation.rle) == 0
    rows, columns = np.mgrid[: SIDE[0], : SIDE[1]]
    dots = free & (np.hypot(rows % 12 - 6, columns % 12 - 6) < 4) & (rows < 24) & (columns < 48)
    pixels[dots] = (224, 64, 64)
    crowd = Annotation((0.0, 0.0, 0.0, 0.0), 0, crowd=True, id=image.annotations[-1].id + 1)
    _set_mask(crowd, dots)
    return crowd


def _set_mask(annotation: Annotation, mask: np.ndarray) -> None:
    assert mask.any()
    annotation.rle = bitmap_rle(mask)
    annotation.box, annotation.area = rle_box(annotation.rle), float(rle_area(annotation.rle))
