"""The few shapes that batches are padded to where the network is compiled: for each there is a graph, which
takes a GPU minutes to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from maskrcnn.images.batch import round_up


@dataclass(frozen=True)
class Shapes:
    """Heights and widths of batches."""

    sides: tuple[tuple[int, int], ...]  # the smallest area first

    @classmethod
    def of(cls, sides: set[tuple[int, int]], divisor: int) -> Self:
        """Those sides, rounded up."""
        padded = {(round_up(height, divisor), round_up(width, divisor)) for height, width in sides}
        return cls(tuple(sorted(padded, key=lambda side: (side[0] * side[1], side))))

    def holding(self, height: int, width: int) -> tuple[int, int]:
        """The smallest of the shapes that an image of that size fits into.

        Raises:
            ValueError: there is none.
        """
        for sides in self.sides:
            if sides[0] >= height and sides[1] >= width:
                return sides
        raise ValueError(f"{height} x {width} pixels fit into none of {self}")

    def __str__(self) -> str:
        return ", ".join(f"{height} x {width}" for height, width in self.sides)


def scaled_sides(short: int, long: int) -> set[tuple[int, int]]:
    """Heights and widths for images that keep their proportions: one side is `short`, and the other that,
    `long`, or half-way between them.
    """
    others = (short, (short + long) // 2, long)
    return {(short, other) for other in others} | {(other, short) for other in others}
