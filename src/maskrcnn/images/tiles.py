"""Large images as overlapping tiles, the same in training and in prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

WELL_ABOVE = 2  # times the side of the images that a model is made for: longer ones are predicted in tiles

Box = tuple[float, float, float, float]  # xyxy


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """xyxy."""
        return (self.left, self.top, self.left + self.width, self.top + self.height)


@dataclass(frozen=True)
class Grid:
    """Windows of `side` x `side` (less where the image is smaller) that cover an image, in rows.

    As few as neighbours that share at least `overlap` pixels allow. The core of each tile ends in the middle
    of what it shares with its neighbours: cores cover the image without overlap.
    """

    tops: list[int]  # of each row of tiles
    lefts: list[int]  # of each column
    height: int  # of a tile
    width: int
    size: tuple[int, int]  # height and width of the image

    def tile(self, number: int) -> tuple[Window, Window]:
        """The window and the core of a tile; they are counted row by row, left to right."""
        row, column = divmod(number, len(self.lefts))
        y0, y1 = _core(self.tops, row, self.height, self.size[0])
        x0, x1 = _core(self.lefts, column, self.width, self.size[1])
        window = Window(self.lefts[column], self.tops[row], self.width, self.height)
        return window, Window(x0, y0, x1 - x0, y1 - y0)

    def windows(self, numbers: np.ndarray) -> np.ndarray:
        """(N, 4) int64 xyxy: the windows of some tiles."""
        rows, columns = np.divmod(numbers, len(self.lefts))
        corners = np.stack([np.array(self.lefts)[columns], np.array(self.tops)[rows]], axis=1)
        return np.concatenate([corners, corners + (self.width, self.height)], axis=1)

    def last(self, boxes: np.ndarray) -> np.ndarray:
        """(N,) int64: the number of the last tile that shows something of each box, (N, 4) whole pixels."""
        rows, columns = np.searchsorted(self.tops, boxes[:, 3]), np.searchsorted(self.lefts, boxes[:, 2])
        last: np.ndarray = (rows - 1) * len(self.lefts) + columns - 1
        return last

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)


def tile_grid(height: int, width: int, side: int, overlap: int, cell: Fraction | None = None) -> Grid:
    """The tiles of an image of this size, pixels.

    Args:
        cell: pixels; tiles begin at the pixel nearest to a multiple of it, and the last may reach beyond the
            image. None, or a cell that makes steps more than a fifth shorter: at even distances, all within
            the image.
    """
    tops, lefts = (_starts(length, side, overlap, cell) for length in (height, width))
    return Grid(tops, lefts, min(side, height), min(side, width), (height, width))


def tile_windows(height: int, width: int, side: int, overlap: int) -> list[Window]:
    """The windows of all tiles, row by row."""
    grid = tile_grid(height, width, side, overlap)
    return [grid.tile(number)[0] for number in range(len(grid))]


def _starts(length: int, side: int, overlap: int, cell: Fraction | None) -> list[int]:
    """Where the tiles along a side of an image begin."""
    if length <= side:
        return [0]
    step = 0 if cell is None else (side - overlap) // cell * cell
    if 5 * step >= 4 * (side - overlap):
        return [round(i * step) for i in range(math.ceil((length - side) / step) + 1)]
    count = -(-(length - overlap) // (side - overlap))
    return [i * (length - side) // (count - 1) for i in range(count)]


def _core(starts: list[int], place: int, side: int, length: int) -> tuple[int, int]:
    """Begin and end of the core of the tile at `place` along a side of an image."""
    begin = (starts[place - 1] + side + starts[place]) // 2 if place else 0
    end = (starts[place] + side + starts[place + 1]) // 2 if place + 1 < len(starts) else length
    return begin, end
