"""Overlays of large images are reduced, read in strips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.images.regions import ArrayRegions
from maskrcnn.images.tiles import Window
from maskrcnn.instances import Instances, Masks
from maskrcnn.predict.writers import overlay
from maskrcnn.predict.writers.overlay import OverlayWriter, reduced, reduced_pixels, reduction
from maskrcnn.predict.writers.writer import WrittenImage


class Counted(ArrayRegions):
    """Remembers the largest window that was read."""

    most = 0

    def read(self, window: Window) -> np.ndarray:
        self.most = max(self.most, window.width * window.height)
        return super().read(window)


def objects(size: tuple[int, int], rng: np.random.Generator, count: int = 6) -> Instances:
    known, boxes = {}, []
    for row in range(count):
        height, width = rng.integers(9, 60, 2).tolist()
        y0, x0 = int(rng.integers(0, size[0] - height)), int(rng.integers(0, size[1] - width))
        known[row] = (x0, y0, rng.random((height, width)) < 0.8)
        boxes.append((x0, y0, x0 + width, y0 + height))
    box = np.array(boxes, np.float32)
    masks = Masks(np.zeros((count, 28, 28), np.float32), box, size, 0.5, known)
    return Instances(box, np.ones(count), np.zeros(count, int), ["cell"] * count, size, masks)


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_reduced_masks_are_every_nth_pixel_of_the_bitmaps(factor: int) -> None:
    found = objects((203, 310), np.random.default_rng(factor))
    small = reduced(found, factor)
    assert found.masks is not None and small.masks is not None
    height, width = small.size
    expected = found.masks.bitmaps()[:, ::factor, ::factor][:, :height, :width]
    assert np.array_equal(small.masks.bitmaps(), expected)
    assert small.boxes[:, 2].max() <= width and small.boxes[:, 3].max() <= height


def test_reduced_pixels_are_means() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2051, 64, 3), dtype=np.uint8)
    small = reduced_pixels(ArrayRegions(pixels), (2051, 64), 4)
    expected = pixels[:2048].reshape(512, 4, 16, 4, 3).mean((1, 3))
    assert small.shape == (512, 16, 3) and np.abs(small - expected).max() <= 1


def test_an_image_of_few_rows_is_drawn(tmp_path: Path) -> None:
    size = (64, 640_000)
    writer = OverlayWriter(tmp_path)
    pixels = ArrayRegions(np.zeros((*size, 3), np.uint8))
    writer.begin(WrittenImage(1, "a.tif", Path("a.tif"), "a", size, pixels))
    writer.add(objects(size, np.random.default_rng(0)))
    writer.end()
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size == (10_000, 1)


def test_a_large_overlay_is_reduced_and_read_in_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reduction((10_000, 10_000)) == 1 and reduction((10_001, 5)) == 3 and reduction((5, 50_000)) == 5
    monkeypatch.setattr(overlay, "LONGEST", 2000)
    monkeypatch.setattr(overlay, "REDUCED", 1000)
    size = (3000, 2500)
    pixels = Counted(np.full((*size, 3), 200, np.uint8))
    writer = OverlayWriter(tmp_path)
    writer.begin(WrittenImage(1, "a.tif", Path("a.tif"), "a", size, pixels))
    for seed in (1, 2):
        writer.add(objects(size, np.random.default_rng(seed)))
    writer.end()
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size == (833, 1000) and len(drawn.getcolors(1 << 20) or []) > 10
    assert pixels.most <= 1024 * 2500
