"""Draws docs/seam.png: generated objects as two neighbouring tiles show them, and joined.

python tools/seam_image.py docs/seam.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from maskrcnn.images.draw import draw_instances
from maskrcnn.images.tiles import tile_grid
from maskrcnn.instances import Instances, Masks
from maskrcnn.predict.tiles import TileJoiner, merge, view_tile

HEIGHT, WIDTH, SIDE = 300, 480, 300  # two tiles beside each other, which share 120 pixels
OVERLAP = 2 * SIDE - WIDTH
MARGIN = 30  # above each panel, for its title


def scene() -> np.ndarray:
    """A label image: ellipses, some of them across the seam, and one longer than a tile."""
    numbers = np.zeros((HEIGHT, WIDTH), np.int32)
    shapes = [
        ((60, 60), (34, 24), 20),
        ((130, 190), (30, 38), 0),
        ((196, 70), (34, 26), 70),
        ((262, 58), (28, 38), 10),
        ((300, 150), (46, 24), 160),
        ((388, 80), (40, 28), 40),
        ((226, 160), (28, 20), 120),
        ((420, 200), (24, 36), 15),
        ((244, 262), (206, 15), 2),
    ]
    for number, (centre, axes, angle) in enumerate(shapes, 1):
        cv2.ellipse(numbers, centre, axes, angle, 0, 360, number, -1)
    return numbers


def found_in(numbers: np.ndarray) -> Instances:
    """Every number that is there, as a network would find it."""
    known, boxes = {}, []
    for row, number in enumerate(np.unique(numbers[numbers > 0])):
        y, x = np.nonzero(numbers == number)
        x0, y0, x1, y1 = (int(v) for v in (x.min(), y.min(), x.max() + 1, y.max() + 1))
        boxes.append((x0, y0, x1, y1))
        known[row] = x0, y0, numbers[y0:y1, x0:x1] == number
    count, array = len(boxes), np.array(boxes, np.float32).reshape(-1, 4)
    size = (numbers.shape[0], numbers.shape[1])
    masks = Masks(np.zeros((count, 1, 1), np.float32), array, size, 0.5, known)
    return Instances(array, np.ones(count, np.float32), np.zeros(count, np.int64), [""] * count, size, masks)


def panel(pixels: np.ndarray, found: Instances, title: str) -> Image.Image:
    """The objects drawn, with the borders of both tiles and a title."""
    drawn = draw_instances(pixels, found, labels=False, scores=False, enlarge=False)
    image = Image.new("RGB", (WIDTH, HEIGHT + MARGIN), "white")
    image.paste(drawn, (0, MARGIN))
    pen = ImageDraw.Draw(image)
    for x in (WIDTH - SIDE, SIDE):
        for y in range(MARGIN, HEIGHT + MARGIN, 12):
            pen.line((x, y, x, y + 6), "white", 2)
    pen.text((4, 4), title, "black", font_size=18)
    return image


def main(path: Path) -> None:
    numbers = scene()
    grey = np.where(numbers > 0, 120, 35).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    grid, views = tile_grid(HEIGHT, WIDTH, SIDE, OVERLAP), []
    for number in range(len(grid)):
        x0, _, x1, _ = grid.tile(number)[0].box
        views.append(view_tile(grid, number, found_in(numbers[:, x0:x1])))
    apart = merge([view.instances(np.arange(len(view))) for view in views])
    joined = TileJoiner(grid).add(views)
    titles = f"two tiles: {len(apart)} objects", f"joined: {len(joined)} objects"
    image = Image.new("RGB", (2 * WIDTH + 20, HEIGHT + MARGIN), "white")
    for number, (found, title) in enumerate(zip((apart, joined), titles, strict=True)):
        image.paste(panel(pixels, found, title), (number * (WIDTH + 20), 0))
    image.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
