"""Large images as overlapping tiles, the same in training and in prediction."""

from __future__ import annotations

from dataclasses import dataclass

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

    As few as neighbours that share at least `overlap` pixels allow, at even distances. The core of each tile
    ends in the middle of what it shares with its neighbours: cores cover the image without overlap.
    """

    tops: list[int]  # of each row of tiles
    lefts: list[int]  # of each column
    height: int  # of a tile
    width: int
    size: tuple[int, int]  # height and width of the image

    def row(self, number: int) -> list[tuple[Window, Window]]:
        """The window and the core of each tile of a row, left to right."""
        top = self.tops[number]
        y0, y1 = _core(self.tops, number, self.height, self.size[0])
        tiles = []
        for column, left in enumerate(self.lefts):
            x0, x1 = _core(self.lefts, column, self.width, self.size[1])
            window = Window(left, top, self.width, self.height)
            tiles.append((window, Window(x0, y0, x1 - x0, y1 - y0)))
        return tiles

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)


def tile_grid(height: int, width: int, side: int, overlap: int) -> Grid:
    """The tiles of an image of this size, pixels."""
    tops, lefts = _starts(height, side, overlap), _starts(width, side, overlap)
    return Grid(tops, lefts, min(side, height), min(side, width), (height, width))


def tile_windows(height: int, width: int, side: int, overlap: int) -> list[Window]:
    """The windows of all tiles, row by row."""
    grid = tile_grid(height, width, side, overlap)
    return [window for number in range(len(grid.tops)) for window, _ in grid.row(number)]


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where the tiles along a side of an image begin."""
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [i * (length - side) // (count - 1) for i in range(count)]


def _core(starts: list[int], place: int, side: int, length: int) -> tuple[int, int]:
    """Begin and end of the core of the tile at `place` along a side of an image."""
    begin = (starts[place - 1] + side + starts[place]) // 2 if place else 0
    end = (starts[place] + side + starts[place + 1]) // 2 if place + 1 < len(starts) else length
    return begin, end
