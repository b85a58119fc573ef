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


def tile_windows(height: int, width: int, side: int, overlap: int) -> list[Window]:
    """Windows of `side` x `side` (less where the image is smaller) that cover an image, row by row.

    As few as neighbours that share at least `overlap` pixels allow, at even distances.
    """
    return [
        Window(left, top, min(side, width), min(side, height))
        for top in _starts(height, side, overlap)
        for left in _starts(width, side, overlap)
    ]


def tile_cores(height: int, width: int, side: int, overlap: int) -> list[Window]:
    """The core of each of the `tile_windows`: borders run through the middle of what neighbours share.

    Cores cover the image without overlap.
    """
    rows = _cores(_starts(height, side, overlap), min(side, height), height)
    columns = _cores(_starts(width, side, overlap), min(side, width), width)
    return [Window(x0, y0, x1 - x0, y1 - y0) for y0, y1 in rows for x0, x1 in columns]


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where the tiles along a side of an image begin."""
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [i * (length - side) // (count - 1) for i in range(count)]


def _cores(starts: list[int], side: int, length: int) -> list[tuple[int, int]]:
    """Begin and end of the core of each tile along a side of an image."""
    borders = [(before + side + after) // 2 for before, after in zip(starts, starts[1:], strict=False)]
    return list(zip([0, *borders], [*borders, length], strict=True))
