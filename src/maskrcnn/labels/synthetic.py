"""Labelled images made of nothing: textured shapes and stick figures that cover one another.

No file is read; the image at an index is always the same. A class is told by its outline alone: colours and
textures are random. The mask of an object is the part of it that can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from maskrcnn.config.keypoints import coco_keypoints
from maskrcnn.errors import UserError
from maskrcnn.labels.stick_figure import INK, Drawing, draw_stick_figure
from maskrcnn.labels.types import Annotation, Dataset, DatasetInfo, LabelledImage
from maskrcnn.masks.rle import bitmap_rle, rle_box

SHAPES = ["circle", "square", "triangle", "star"]
FINE = ["ring", "cross", "arrow", "comb"]  # small and of thin strokes: a mask off by a few pixels misses them
MORE = ["hexagon", "bar"]  # with the eight above ten classes
PERSON = "person"
SEEDS = {"train": 0, "val": 1}
LEAST_VISIBLE = 0.5  # share of an object that those in front of it leave visible
MOST_OBJECTS = 5


@dataclass
class Scene:
    """An image and its labels."""

    pixels: np.ndarray  # uint8 (H, W, 3)
    annotations: list[Annotation]


class Synthetic(Dataset):
    """`count` generated images."""

    def __init__(
        self,
        count: int | None = None,
        seed: int | None = None,
        side: tuple[int, int] = (128, 160),
        *,
        split: Literal["train", "val"] = "train",
        shapes: bool = True,
        fine: bool = False,
        more: bool = False,
        people: bool = False,
    ) -> None:
        """
        Args:
            count: images; by default 1000 for training and 200 for validation.
            seed: what the images derive from; by default another one for each split.
            side: height and width of the images, at least 64.
            shapes: whether there are circles, squares, triangles and stars.
            fine: whether there are rings, crosses, arrows and combs, small and of thin strokes.
            more: whether there are hexagons and bars.
            people: whether there are stick figures with the 17 keypoints of COCO.

        Raises:
            UserError: no kind of object, an unknown split, no images, or images too small.
        """
        if split not in SEEDS:
            raise UserError(f"synthetic: no split {split!r}; there are: {', '.join(SEEDS)}")
        if not (shapes or fine or more or people):
            raise UserError("synthetic: no shapes, fine shapes, more or people; ask for at least one")
        if min(side) < 64:
            raise UserError(
                f"synthetic: images of {side[0]} x {side[1]} are too small; take at least 64 x 64"
            )
        self.count = (1000 if split == "train" else 200) if count is None else count
        if self.count < 1:
            raise UserError(f"synthetic: count={self.count}; ask for at least one image")
        self.seed = SEEDS[split] if seed is None else seed
        self.side = side
        classes = SHAPES * shapes + FINE * fine + MORE * more + [PERSON] * people
        keypoints = coco_keypoints() if people else None
        self.info = DatasetInfo(f"synthetic {split}", classes, list(range(1, len(classes) + 1)), keypoints)
        self._latest: tuple[int, Scene] | None = None

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`."""
        height, width = self.side
        annotations = self._scene(index).annotations
        return LabelledImage(
            index + 1, f"synthetic-{self.seed}-{index:06d}.png", None, height, width, annotations
        )

    def pixels(self, index: int) -> np.ndarray:
        """The image at `index`: uint8 RGB (H, W, 3)."""
        return self._scene(index).pixels.copy()

    def _scene(self, index: int) -> Scene:
        """The scene at `index`; the latest is kept, because its labels and its pixels are asked for in
        turn.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name}: no image {index}, there are {self.count}")
        if self._latest is None or self._latest[0] != index:
            rng = np.random.default_rng([self.seed % 2**32, index])
            self._latest = (
                index,
                draw_scene(rng, self.side, self.classes, first_id=index * MOST_OBJECTS + 1),
            )
        return self._latest[1]


def draw_scene(rng: np.random.Generator, side: tuple[int, int], classes: list[str], first_id: int) -> Scene:
    """One to five objects of the given classes before a textured background, later ones in front."""
    pixels = _background(rng, side)
    front = np.full(side, -1, np.int16)  # the object seen at each pixel
    drawings: list[tuple[int, Drawing, int]] = []  # class, drawing, area before anything covered it
    wanted = int(rng.integers(1, MOST_OBJECTS + 1))
    for _ in range(4 * wanted):
        if len(drawings) == wanted:
            break
        label = int(rng.integers(len(classes)))
        drawing = _draw_object(rng, classes[label], side)
        trial = np.where(drawing.mask, np.int16(len(drawings)), front)
        seen = np.bincount(trial[trial >= 0], minlength=len(drawings))
        if any(seen[i] < LEAST_VISIBLE * area for i, (_, _, area) in enumerate(drawings)):
            continue
        front = trial
        _paint(rng, pixels, drawing)
        drawings.append((label, drawing, int(drawing.mask.sum())))
    annotations = []
    for i, (label, drawing, _) in enumerate(drawings):
        annotations.append(_annotate(front == i, label, drawing.keypoints, first_id + i))
    return Scene(pixels, annotations)


def _annotate(visible: np.ndarray, label: int, keypoints: np.ndarray | None, number: int) -> Annotation:
    """The label of an object of which `visible` (H, W) is seen; keypoints behind another object become
    hidden.
    """
    if keypoints is not None:
        keypoints = keypoints.copy()
        x, y = np.floor(keypoints[:, :2]).astype(int).T
        keypoints[:, 2] = np.where(visible[y, x], 2, 1)
    rle = bitmap_rle(visible)
    return Annotation(rle_box(rle), label, rle=rle, keypoints=keypoints, area=float(visible.sum()), id=number)


def _paint(rng: np.random.Generator, pixels: np.ndarray, drawing: Drawing) -> None:
    """Fill the object with a texture of its own, in place."""
    left, top, width, height = cv2.boundingRect(drawing.mask.view(np.uint8))
    window = (slice(top, top + height), slice(left, left + width))
    inside = drawing.mask[window]
    pixels[window][inside] = _fill(rng, (height, width))[inside]
    if drawing.ink is not None:
        pixels[drawing.ink] = INK


def _draw_object(rng: np.random.Generator, name: str, side: tuple[int, int]) -> Drawing:
    """An object of class `name`, wholly inside an image of `side`."""
    if name == PERSON:
        return draw_stick_figure(rng, side)
    if name in FINE:
        return Drawing(_strokes(rng, name, side), None, None)
    # 24 to 80 pixels across in the default image
    radius = rng.uniform(0.1, 0.31) * min(side)
    centre = np.array([rng.uniform(radius, side[1] - 1 - radius), rng.uniform(radius, side[0] - 1 - radius)])
    canvas = np.zeros(side, np.uint8)
    if name == "circle":
        cv2.circle(canvas, tuple(np.rint(centre).astype(int).tolist()), int(radius), 1, cv2.FILLED)
    else:
        corners = _corners(name, rng.uniform(0, 2 * np.pi)) * radius + centre
        cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], 1)
    return Drawing(canvas.astype(bool), None, None)


def _strokes(rng: np.random.Generator, name: str, side: tuple[int, int]) -> np.ndarray:
    """A fine object, bool (H, W): 14 to 36 pixels across in the default image, its strokes 2 or 3."""
    radius = rng.uniform(0.055, 0.14) * min(side)
    margin = radius + 2
    centre = np.array([rng.uniform(margin, side[1] - margin), rng.uniform(margin, side[0] - margin)])
    canvas, thickness = np.zeros(side, np.uint8), int(rng.integers(2, 4))
    if name == "ring":
        cv2.circle(canvas, tuple(np.rint(centre).astype(int).tolist()), int(radius), 1, thickness)
        return canvas.astype(bool)
    lines: list[tuple[float, ...]] = [(-1, 0, 1, 0), (0, -1, 0, 1)]  # a cross
    if name == "arrow":
        lines = [(-1, 0, 1, 0), (1, 0, 0.3, 0.6), (1, 0, 0.3, -0.6)]
    elif name == "comb":
        lines = [(-1, -0.5, 1, -0.5), *((x, -0.5, x, 0.6) for x in (-1, -0.33, 0.33, 1))]
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for line in lines:  # the far corners of a comb lie outside the unit circle
        ends = np.reshape(line, (2, 2)) @ turn.T * (radius * 0.85) + centre
        start, end = np.rint(ends).astype(int).tolist()
        cv2.line(canvas, start, end, 1, thickness)
    return canvas.astype(bool)


def _corners(name: str, angle: float) -> np.ndarray:
    """(n, 2) corners of a shape on the unit circle, turned by `angle`."""
    if name == "bar":  # four times as long as wide
        turns = angle + np.arctan2([1, 1, -1, -1], [4, -4, -4, 4])
        return np.stack([np.cos(turns), np.sin(turns)], axis=1)
    count = {"square": 4, "triangle": 3, "hexagon": 6, "star": 10}[name]
    turns = angle + np.arange(count) * 2 * np.pi / count
    # every other corner of a star lies further in
    radii = np.where(np.arange(count) % 2, 0.42, 1.0) if name == "star" else np.ones(count)
    return np.stack([radii * np.cos(turns), radii * np.sin(turns)], axis=1)


def _background(rng: np.random.Generator, side: tuple[int, int]) -> np.ndarray:
    """Dull coarse patches with fine noise: uint8 (H, W, 3)."""
    coarse = rng.normal(rng.uniform(70, 180), 25, (5, 6, 1)) + rng.normal(0, 8, (5, 6, 3))
    smooth = cv2.resize(coarse.astype(np.float32), side[::-1], interpolation=cv2.INTER_CUBIC)
    return _with_noise(rng, smooth, 10)


def _fill(rng: np.random.Generator, side: tuple[int, int]) -> np.ndarray:
    """A vivid colour with stripes and noise: uint8 (H, W, 3)."""
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.6, 1), rng.uniform(0.55, 1)]]], np.float32)
    colour = 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 15)
    x, y = np.arange(side[1], dtype=np.float32), np.arange(side[0], dtype=np.float32)
    phase = (x * np.float32(np.cos(angle)) + y[:, None] * np.float32(np.sin(angle))) * np.float32(
        2 * np.pi / period
    )
    stripes = np.sin(phase) * np.float32(rng.uniform(0, 25))
    return _with_noise(rng, colour + stripes[..., None], 12)


def _with_noise(rng: np.random.Generator, image: np.ndarray, deviation: float) -> np.ndarray:
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(deviation)
    return np.clip(image + noise, 0, 255).astype(np.uint8)
