"""Each image with its objects drawn on it; a large one reduced, so that it need not be in memory whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from maskrcnn.images.regions import Readable, whole_pixels
from maskrcnn.images.tiles import Window
from maskrcnn.images.view import resize_image
from maskrcnn.images.write import save_image
from maskrcnn.instances import Instances, Masks
from maskrcnn.masks.paste import Window as Pasted
from maskrcnn.predict.tiles import best_first, merge
from maskrcnn.predict.writers.results import overlay_name
from maskrcnn.predict.writers.writer import WrittenImage

LONGEST = 10_000  # pixels: images with a longer side are drawn reduced
REDUCED = 5_000  # pixels, to at most this side
STRIP = 1024  # rows of a large image that are read together, about


class OverlayWriter:
    """Overlays in a folder."""

    def __init__(self, folder: Path) -> None:
        self.written: list[Path] = []
        self._folder = folder
        self._image: WrittenImage | None = None
        self._found: list[Instances] = []

    def begin(self, image: WrittenImage) -> None:
        self._image, self._found = image, []

    def add(self, found: Instances) -> None:
        assert self._image is not None
        factor = reduction(self._image.size)
        self._found.append(found if factor == 1 else reduced(found, factor))

    def end(self) -> None:
        assert self._image is not None
        path = self._folder / overlay_name(self._image.path, self._image.stem)
        if not (self._image.done and path.exists()):
            found = self._found[0] if len(self._found) == 1 else best_first(merge(self._found))
            factor = reduction(self._image.size)
            size, pixels = self._image.size, self._image.pixels
            found.pixels = whole_pixels(pixels, size) if factor == 1 else reduced_pixels(pixels, size, factor)
            save_image(found.plot(enlarge=True), path)
        self._found = []
        self.written.append(path)

    def close(self) -> None:
        pass


def reduction(size: tuple[int, int]) -> int:
    """How many times smaller an image of this height and width is drawn."""
    return 1 if max(size) <= LONGEST else min(-(-max(size) // REDUCED), min(size))


def reduced(found: Instances, factor: int) -> Instances:
    """The same objects in the image with every `factor` x `factor` pixels as one."""
    size = found.size[0] // factor, found.size[1] // factor
    masks = None
    if found.masks is not None:
        known = {row: _sampled(window, factor, size) for row, window in enumerate(found.masks.windows())}
        none = np.zeros((len(found), 1, 1), np.float32)
        masks = Masks(none, found.masks.boxes / factor, size, found.masks.threshold, known)
    points = None if found.keypoints is None else found.keypoints / np.array([factor, factor, 1], np.float32)
    limit = np.array([size[1], size[0]] * 2, np.float32)
    boxes = np.minimum(found.boxes / factor, limit)
    return replace(found, boxes=boxes, size=size, masks=masks, keypoints=points, path=None, pixels=None)


def _sampled(window: Pasted, factor: int, size: tuple[int, int]) -> Pasted:
    """Each `factor`-th pixel of a mask, of those of the whole image."""
    x0, y0, bitmap = window
    left, top = -(-x0 // factor), -(-y0 // factor)
    part = bitmap[top * factor - y0 :: factor, left * factor - x0 :: factor]
    return left, top, np.ascontiguousarray(part[: max(size[0] - top, 0), : max(size[1] - left, 0)])


def reduced_pixels(pixels: Readable, size: tuple[int, int], factor: int) -> np.ndarray:
    """The image uint8 (H // factor, W // factor, C), each pixel a mean, read in strips."""
    height, width = size[0] // factor, size[1] // factor
    rows, strips = max(STRIP // factor, 1), []
    for top in range(0, height, rows):
        count = min(rows, height - top)
        strip = pixels.read(Window(0, top * factor, width * factor, count * factor))
        strips.append(resize_image(strip, width, count))
    return np.concatenate(strips)
