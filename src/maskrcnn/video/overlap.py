"""How well objects of two frames fit one another: IoU of boxes, and of masks without pasting any.

Masks are compared as the small maps that the network made, and only where their boxes overlap: nothing has
the image's size, and a mask is moved by moving its box.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from maskrcnn.instances import Instances

SAMPLES = 24  # per side of what two boxes share: finer than most maps are there


@dataclass
class Shapes:
    """N objects by their outlines."""

    boxes: np.ndarray  # (N, 4) float64 xyxy
    # (N, m, m) bool, what of the box is the object; None: all of it
    cells: np.ndarray | None

    def __getitem__(self, rows: np.ndarray) -> Shapes:
        return Shapes(self.boxes[rows], None if self.cells is None else self.cells[rows])

    def followed_by(self, other: Shapes) -> Shapes:
        """The objects of both, which have cells or have none alike."""
        boxes = np.concatenate([self.boxes, other.boxes])
        if self.cells is None or other.cells is None:
            return Shapes(boxes, None)
        return Shapes(boxes, np.concatenate([self.cells, other.cells]))

    def moved(self, by: np.ndarray) -> Shapes:
        """Each moved by x and y, (N, 2)."""
        return Shapes(self.boxes + np.tile(by, 2), self.cells)


def shapes(found: Instances, with_masks: bool = True) -> Shapes:
    """The outlines of what was found: its masks, or its boxes where there are none or `with_masks` is
    false."""
    masks = found.masks
    if masks is None or not with_masks:
        return Shapes(found.boxes.astype(np.float64), None)
    cells, boxes = masks.probabilities >= masks.threshold, masks.boxes.astype(np.float64)
    for row, (x0, y0, bitmap) in masks.known.items():
        if bitmap.size:
            share = cv2.resize(bitmap.astype(np.float32), cells.shape[:0:-1], interpolation=cv2.INTER_AREA)
            cells[row], boxes[row] = share >= 0.5, (x0, y0, x0 + bitmap.shape[1], y0 + bitmap.shape[0])
    return Shapes(boxes, cells)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 (A, B): IoU of boxes (A, 4) and (B, 4) xyxy."""
    shared = shared_areas(Shapes(a, None), Shapes(b, None))
    return _ratio(shared, areas(Shapes(a, None))[:, None] + areas(Shapes(b, None)) - shared)


def visible_iou(before: Shapes, now: Shapes) -> np.ndarray:
    """float64 (A, B): IoU of masks, where those of `now` hide what is behind them.

    What the other objects of `now` cover of a mask of `before` cannot be seen anyway, so it is not missed.
    """
    shared = shared_areas(before, now)
    area = areas(before)[:, None]
    hidden = np.minimum(shared.sum(axis=1, keepdims=True) - shared, (area - shared).clip(min=0))
    return _ratio(shared, area - hidden + areas(now) - shared)


def shared_areas(a: Shapes, b: Shapes) -> np.ndarray:
    """float64 (A, B): how many pixels each of `a` shares with each of `b`."""
    low = np.maximum(a.boxes[:, None, :2], b.boxes[None, :, :2])
    sides = (np.minimum(a.boxes[:, None, 2:], b.boxes[None, :, 2:]) - low).clip(min=0)
    shared: np.ndarray = sides.prod(axis=2)
    if a.cells is not None and b.cells is not None:
        row_a, row_b = np.nonzero(shared)
        # x and y (P, samples, 2) of the grid over what the boxes of each pair share
        steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
        grid = low[row_a, row_b][:, None] + steps[:, None] * sides[row_a, row_b][:, None]
        both = _looked_up(a, row_a, grid) & _looked_up(b, row_b, grid)
        shared[row_a, row_b] *= np.count_nonzero(both, axis=(1, 2)) / SAMPLES**2
    return shared


def areas(shapes: Shapes) -> np.ndarray:
    """float64 (N,): pixels of each."""
    area: np.ndarray = (shapes.boxes[:, 2:] - shapes.boxes[:, :2]).clip(min=0).prod(axis=1)
    return area if shapes.cells is None else area * shapes.cells.mean(axis=(1, 2))


def _looked_up(shapes: Shapes, rows: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """bool (P, samples, samples): whether the places of each grid lie on the object at each of `rows`."""
    assert shapes.cells is not None
    boxes, side = shapes.boxes[rows], shapes.cells.shape[1:][::-1]
    cell = (grid - boxes[:, None, :2]) / (boxes[:, 2:] - boxes[:, :2])[:, None] * side
    cell = np.clip(cell.astype(np.int64), 0, np.array(side) - 1)
    place = (rows[:, None] * side[1] + cell[:, :, 1]) * side[0]
    return shapes.cells.reshape(-1).take(place[:, :, None] + cell[:, None, :, 0])


def _ratio(shared: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
