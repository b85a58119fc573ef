"""From an m x m mask over a box to the image's own pixels, inside the box only.

A pixel takes the bilinear value of the mask at the pixel's centre, with nothing outside the mask
(detectron2's convention). Down a column of pixels that value is a chain of straight lines between the mask's
cells, so where it crosses the threshold is computed, not searched for: the work grows with the columns and
the mask's cells, and neither the pixels of the window nor a float of the image's size ever exist.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Window = tuple[int, int, np.ndarray]
COLUMNS = 4096  # of pixels that are computed together: their values fit a core's cache
# rounding must not take a value that is the threshold below it
TOLERANCE = 1e-9


def paste_edges(
    probabilities: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float = 0.5
) -> Iterator[np.ndarray]:
    """Each mask as the places in the image, read column by column, where the object begins and ends in turn.

    Args:
        probabilities: (N, m, m) float, 0 to 1.
        boxes: (N, 4) xyxy in pixels of the image; may reach outside it.
        height, width: of the image; masks are cut at its borders.
        threshold: a pixel belongs to the object from this probability on.

    Yields:
        per mask int64 (2 R,), strictly increasing: of the R runs, run r begins at edges[2 r] and ends before
        edges[2 r + 1]. The pixel at (x, y) has the place x * height + y.
    """
    starts, extents, first, last = _windows_of(
        boxes, (probabilities.shape[2], probabilities.shape[1]), height, width
    )
    columns = last[:, 0] - first[:, 0]
    for part in _shares(columns):
        yield from _edges(
            probabilities[part],
            starts[part],
            extents[part],
            first[part],
            last[part],
            height,
            threshold - TOLERANCE,
        )


def paste_windows(
    probabilities: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float = 0.5
) -> Iterator[Window]:
    """Each mask as the window of the image that its box touches; the arguments are those of `paste_edges`.

    Yields:
        per mask (x0, y0, window): the window's first column and row, and its pixels (h, w) bool, possibly
        empty. One after the other, so that of any number of masks one window is in memory.
    """
    _, _, first, last = _windows_of(boxes, (probabilities.shape[2], probabilities.shape[1]), height, width)
    every = paste_edges(probabilities, boxes, height, width, threshold)
    for edges, (x0, y0), (x1, y1) in zip(every, first.tolist(), last.tolist(), strict=True):
        rows = y1 - y0
        # an end is found from its run's last pixel: the place after it may be in the next column
        ends = np.arange(len(edges)) % 2
        x, y = np.divmod(edges - ends, height)
        places = (x - x0) * rows + y - y0 + ends
        lengths = np.diff(places, prepend=0, append=(x1 - x0) * rows)
        # column after column in memory, as the runs are
        yield x0, y0, np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(x1 - x0, rows).T


def integer_boxes(boxes: np.ndarray, side: int) -> np.ndarray:
    """What masks of `side` cells cover where torchvision pastes them.

    It puts a frame of zeros, one cell wide, around the mask; grows the box about its centre by as much, drops
    the fractions of its corners, and resizes the framed mask bilinearly to the pixels from corner to corner,
    both included. The cells within the frame then cover these boxes.

    Args:
        boxes: (N, 4) xyxy in pixels of the image, finite.

    Returns:
        float64 (N, 4) xyxy, for `paste_edges` and `paste_windows`.
    """
    boxes = boxes.astype(np.float64)
    centres, halves = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * (side + 2) / side
    first, last = np.trunc(centres - halves), np.trunc(centres + halves)
    cells = np.maximum(last + 1 - first, 1) / (side + 2)
    return np.concatenate([first + cells, first + cells * (side + 1)], axis=1)


def window_edges(x0: int, y0: int, bitmap: np.ndarray, height: int) -> np.ndarray:
    """The edges, as of `paste_edges`, of a mask that is known by its pixels: bool (h, w) from (x0, y0) on."""
    rows, columns = bitmap.shape
    padded = np.zeros((columns, rows + 2), np.int8)
    padded[:, 1:-1] = bitmap.T
    column, row = np.nonzero(np.diff(padded, axis=1))
    edges = (x0 + column) * height + y0 + row
    # a run that ends at the foot of the image goes on at the head of the next column
    whole = np.flatnonzero(edges[1:-1:2] == edges[2::2])
    return np.delete(edges, np.concatenate([2 * whole + 1, 2 * whole + 2]))


def _windows_of(
    boxes: np.ndarray, sides: tuple[int, int], height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each box, x and y: where it starts, its extent, and its window's first and last + 1 pixel."""
    boxes = boxes.reshape(-1, 4).astype(np.float64)
    if not np.isfinite(boxes).all():
        raise ValueError(
            f"the box of mask {int(np.flatnonzero(~np.isfinite(boxes).all(1))[0])} is not finite"
        )
    starts, ends, limit = boxes[:, :2], boxes[:, 2:], np.array([width, height])
    extents = ends - starts
    # half a mask cell beyond the box still takes part of the border cell's value
    margin = 0.5 * extents / sides
    first = np.clip(np.floor(starts - margin), 0, limit).astype(np.int64)
    last = np.clip(np.ceil(ends + margin), first, limit).astype(np.int64)
    empty = (extents <= 0).any(1)
    last[empty] = first[empty]
    return starts, np.where(extents > 0, extents, 1), first, last


def _shares(columns: np.ndarray) -> Iterator[slice]:
    """Slices of masks that have about `COLUMNS` columns of pixels together, and at least one mask each."""
    begin, held = 0, 0
    for place, count in enumerate(columns.tolist()):
        if place > begin and held + count > COLUMNS:
            yield slice(begin, place)
            begin, held = place, 0
        held += count
    if len(columns):
        yield slice(begin, len(columns))


def _edges(
    probabilities: np.ndarray,
    starts: np.ndarray,
    extents: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    height: int,
    level: float,
) -> Iterator[np.ndarray]:
    """`paste_edges` of masks whose columns are computed together."""
    count, rows, _ = probabilities.shape
    columns = last[:, 0] - first[:, 0]
    before = np.cumsum(columns) - columns  # columns of the masks before this one
    owner = np.repeat(np.arange(count), columns)  # the mask that a column belongs to
    if level > 0:
        x = np.arange(len(owner)) + (first[:, 0] - before)[owner] + 0.5
        values = _column_values(probabilities, owner, (x - starts[owner, 0]) / extents[owner, 0])
        inside = values >= level
        # both ends of every column are 0, so there is no crossing from one column into the next
        flat = inside.ravel()
        crossing = np.flatnonzero(flat[1:] != flat[:-1])
        column, cell = np.divmod(crossing, rows + 2)
        above, below = values.ravel().take(crossing), values.ravel().take(crossing + 1)
        mask = owner[column]
        place = cell - 0.5 + (level - above) / (below - above)
        y = np.ceil(place * (extents[:, 1] / rows)[mask] + (starts[:, 1] - 0.5)[mask])
        y = np.clip(y, first[mask, 1], last[mask, 1]).astype(np.int64)
    else:  # then all of the window is the object's
        column = np.repeat(np.arange(len(owner)), 2)
        mask = owner[column]
        y = np.stack([first[owner, 1], last[owner, 1]], 1).ravel()
    # one empty column between masks, so that the end of one is not the beginning of the next
    keys = (column + mask) * height + y
    keys.sort()
    if (keys[1:] == keys[:-1]).any():
        # leave out empty runs, and join one that ends at a column's foot to one at the next one's head
        keys, times = np.unique(keys, return_counts=True)
        keys = keys[times % 2 == 1]
    base = (before + np.arange(count)) * height
    cuts = [*np.searchsorted(keys, base).tolist(), len(keys)]
    for number, shift in enumerate((base - first[:, 0] * height).tolist()):
        yield keys[cuts[number] : cuts[number + 1]] - shift


def _column_values(probabilities: np.ndarray, owner: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The values (C, m + 2) of C columns of pixels at the heights of their masks' cells, 0 beyond the ends.

    Args:
        owner: the mask of each column.
        place: where in the mask's width each column's centre lies, 0 to 1 inside.
    """
    count, rows, columns = probabilities.shape
    # a mask with a value that is no number has no pixel, as if all of it were 0
    known = np.isfinite(probabilities).all((1, 2), keepdims=True)
    # cells 0 and columns + 1 are the nothing outside the mask; columns + 2 takes the other half of it
    padded = np.zeros((count, columns + 3, rows + 2))
    padded[:, 1 : columns + 1, 1 : rows + 1] = np.where(known, probabilities, 0).transpose(0, 2, 1)
    centre = np.clip(place * columns + 0.5, 0, columns + 1)
    cell = centre.astype(np.int64)
    table, row = padded.reshape(-1, rows + 2), owner * (columns + 3) + cell
    values, other = table.take(row, 0), table.take(row + 1, 0)
    # this form keeps a value that is the same on both sides as it is
    other -= values
    other *= (centre - cell)[:, None]
    values += other
    return values
