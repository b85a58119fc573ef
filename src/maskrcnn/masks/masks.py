"""The masks of one image's objects: small maps of probabilities until a form of them is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from maskrcnn.masks.paste import Window, paste_edges, paste_windows, window_edges
from maskrcnn.masks.polygons import check_tolerance, window_rings
from maskrcnn.masks.rle import Rle, edges_rle

Index = int | slice | list[int] | np.ndarray


@dataclass(eq=False)
class Masks:
    """N masks of one image."""

    probabilities: np.ndarray  # (N, m, m) float32
    boxes: np.ndarray  # (N, 4) float32 xyxy: what each map covers; may reach outside the image
    size: tuple[int, int]  # height and width of the image
    threshold: float = 0.5  # a pixel is the object's from this probability on
    # masks that are known by their pixels, by row: x0, y0, bool (h, w); their probabilities are not used
    known: dict[int, Window] = field(default_factory=dict)
    encoded: list[Rle] | None = field(default=None, repr=False)  # what `rle` gives, where it is made already

    def __len__(self) -> int:
        return len(self.probabilities)

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal; whether they are encoded does not count."""
        return isinstance(other, Masks) and same(
            vars(self) | {"encoded": None}, vars(other) | {"encoded": None}
        )

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Index) -> Masks:
        rows = chosen_rows(index)
        places = np.arange(len(self))[rows].tolist()
        known = {new: self.known[old] for new, old in enumerate(places) if old in self.known}
        return Masks(self.probabilities[rows], self.boxes[rows], self.size, self.threshold, known)

    def windows(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Each mask as (x0, y0, bool (h, w)): the part of the image that its box touches, and nothing outside
        it.

        One after the other, so that of any number of masks one window is in memory.
        """
        pasted = paste_windows(*self._maps(), *self.size, self.threshold)
        return (self.known[row] if row in self.known else next(pasted) for row in range(len(self)))

    def edges(self) -> Iterator[np.ndarray]:
        """Each mask as the places, column by column, where its runs of pixels begin and end in turn; see
        `paste_edges`.
        """
        pasted = paste_edges(*self._maps(), *self.size, self.threshold)
        for row in range(len(self)):
            yield window_edges(*self.known[row], self.size[0]) if row in self.known else next(pasted)

    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and boxes of the masks that are not known by their pixels."""
        if not self.known:
            return self.probabilities, self.boxes
        rows = [row for row in range(len(self)) if row not in self.known]
        return self.probabilities[rows], self.boxes[rows]

    def over(self, boxes: list[list[int]]) -> Iterator[np.ndarray]:
        """Each mask's part over a box of whole pixels, xyxy: bool (h, w)."""
        for (x0, y0, x1, y1), (left, top, bitmap) in zip(boxes, self.windows(), strict=True):
            inside = np.zeros((y1 - y0, x1 - x0), bool)
            # a mask's window may reach beyond the box, or less far than it
            part = bitmap[max(0, y0 - top) : max(0, y1 - top), max(0, x0 - left) : max(0, x1 - left)]
            down, right = max(0, top - y0), max(0, left - x0)
            inside[down : down + part.shape[0], right : right + part.shape[1]] = part
            yield inside

    def bitmaps(self) -> np.ndarray:
        """bool (N, H, W): N whole images in memory; for large images prefer `rle` or `windows`."""
        bitmaps = np.zeros((len(self), *self.size), dtype=bool)
        for bitmap, (x0, y0, window) in zip(bitmaps, self.windows(), strict=True):
            bitmap[y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] = window
        return bitmaps

    def rle(self) -> list[Rle]:
        """COCO's compressed form, one dict each: size [H, W] and counts as bytes."""
        if self.encoded is not None:
            return [dict(rle) for rle in self.encoded]
        return [edges_rle(edges, *self.size) for edges in self.edges()]

    def polygons(self, tolerance: float = 0.0) -> list[list[np.ndarray]]:
        """For each mask its outer rings, float32 (n, 2) of x, y along the edges of its pixels, largest first.

        A ring has at least three points; holes are not described, so an RLE says more than these.

        Args:
            tolerance: pixels that a ring may be off the edges, for fewer points (`window_rings`).

        Raises:
            UserError: a tolerance that is no number of pixels.
        """
        check_tolerance("polygons: tolerance", tolerance)
        parts = (window_rings(*window, tolerance) for window in self.windows())
        return [[outer.astype(np.float32) for outer, _ in rings] for rings in parts]

    def enlarged(self, factor: int) -> Masks:
        """The same masks in an image `factor` times as large."""
        size = (self.size[0] * factor, self.size[1] * factor)
        known = {
            row: (x0 * factor, y0 * factor, bitmap.repeat(factor, axis=0).repeat(factor, axis=1))
            for row, (x0, y0, bitmap) in self.known.items()
        }
        return replace(self, boxes=self.boxes * factor, size=size, known=known, encoded=None)

    def inside(self, height: int, width: int) -> Masks:
        """What there is of the masks in the first rows and columns of their image."""
        known = {
            row: (x0, y0, bitmap[: max(0, height - y0), : max(0, width - x0)])
            for row, (x0, y0, bitmap) in self.known.items()
        }
        return replace(self, size=(height, width), known=known, encoded=None)

    def expected_iou(self) -> np.ndarray:
        """float32 (N,): the IoU of each mask with the true one that its probabilities let expect, 0 to 1.

        Of the pixels that are taken for the object's, as many as their probabilities sum up to are in both;
        in either are all of them, and of the others as many as theirs sum up to. That is the ratio of the two
        expectations, over the map's cells.
        """
        chosen = self.probabilities >= self.threshold
        both = (self.probabilities * chosen).sum(axis=(1, 2))
        either = np.where(chosen, 1, self.probabilities).sum(axis=(1, 2))
        return (both / np.maximum(either, 1e-9)).astype(np.float32)

    def extents(self) -> np.ndarray:
        """float64 (N, 4) xyxy: the box around each mask to a fraction of a pixel, also outside the image; NaN
        where no cell reaches the threshold.

        Between cell centres, and towards the zeros around a map, probabilities are linear, as in `windows`.
        """
        maps, mirrored = self.probabilities, self.probabilities[:, ::-1, ::-1]
        begin = np.stack([_first(maps, self.threshold), _first(maps.swapaxes(1, 2), self.threshold)], 1)
        end = np.stack([_first(mirrored, self.threshold), _first(mirrored.swapaxes(1, 2), self.threshold)], 1)
        corners = self.boxes.astype(np.float64).reshape(-1, 2, 2)
        cells = (corners[:, 1] - corners[:, 0]) / (maps.shape[2], maps.shape[1])  # pixels, width and height
        return np.concatenate([corners[:, 0] + begin * cells, corners[:, 1] - end * cells], 1)

    def areas(self) -> np.ndarray:
        """int64 (N,): pixels of each mask."""
        return np.array([(edges[1::2] - edges[::2]).sum() for edges in self.edges()], dtype=np.int64)


def _first(maps: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) cells from the left side of each map (N, rows, columns) to where it reaches the threshold."""
    reached = maps.max(axis=1, initial=0) >= threshold
    column, row = reached.argmax(axis=1), np.arange(len(maps))
    here = maps[row, :, column]
    before = np.where(column[:, None] > 0, maps[row, :, column - 1], 0)
    share = np.where(here >= threshold, (threshold - before) / np.maximum(here - before, 1e-9), 1).min(axis=1)
    return np.where(reached.any(axis=1), column - 0.5 + share, np.nan)


def same(one: Any, other: Any) -> bool:
    """Whether two fields are equal; arrays may hold NaN."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        alike = isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.dtype == other.dtype
        return alike and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, dict | list | tuple) and type(one) is type(other) and len(one) == len(other):
        keys = one if isinstance(one, dict) else range(len(one))
        return all((not isinstance(one, dict) or key in other) and same(one[key], other[key]) for key in keys)
    return bool(one == other)


def chosen_rows(index: Index) -> slice | np.ndarray:
    """An index that keeps the first axis, whatever was asked for."""
    if isinstance(index, slice):
        return index
    rows = np.atleast_1d(np.asarray(index))
    return rows.astype(np.int64) if rows.size == 0 else rows
