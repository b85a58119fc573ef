"""Objects of an image that is predicted in overlapping tiles, each of them once.

Tiles overlap; their cores do not, and cover the image. What neighbouring tiles found in the strip that they
share is compared there, mask by mask: what is alike is one object, which may go on over many tiles. Of an
object that some tile shows whole, that tile's view is kept; one that no tile shows whole gets from each tile
the part in its core. What no other tile found belongs to the tile whose core holds its centre.

Tiles come row by row. An object that does not reach the next row's tiles is given out and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from maskrcnn.images.tiles import Window
from maskrcnn.instances import PER_OBJECT, Instances, Masks

ALIKE = 0.5  # IoU in the shared strip from which two views are one object
CLOSE = 0.1  # of an object's side: what is nearer to a tile's border may go on beyond it

Bitmap = tuple[int, int, np.ndarray]  # x0, y0, bool (h, w): pixels of the image


@dataclass
class TileView:
    """What the network found in one tile: N objects, in pixels of the image."""

    window: Window
    core: Window
    found: Instances
    bitmaps: list[Bitmap]  # N, each without empty rows and columns around the object
    extents: np.ndarray  # (N, 4) int64 xyxy around the pixels of each object
    cut: np.ndarray  # (N,) bool: close to a border of the tile that is not the image's
    owned: np.ndarray  # (N,) bool: the centre lies in the tile's core
    groups: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,): equal for one object

    def only(self, rows: np.ndarray, groups: np.ndarray) -> TileView:
        """The objects in some rows, which are of these groups."""
        bitmaps = [self.bitmaps[row] for row in rows.tolist()]
        found, extents = self.found[rows], self.extents[rows]
        return TileView(
            self.window, self.core, found, bitmaps, extents, self.cut[rows], self.owned[rows], groups
        )


def view_tile(window: Window, core: Window, found: Instances, size: tuple[int, int]) -> TileView:
    """The view of a tile of an image of this height and width; `found` is in the tile's own pixels."""
    if found.masks is None:
        drawn = [_drawn_box(box) for box in found.boxes]
    else:
        drawn = [_cropped(bitmap) for bitmap in found.masks.windows()]
    bitmaps = [(x + window.left, y + window.top, bitmap) for x, y, bitmap in drawn]
    extents = np.array([(x, y, x + b.shape[1], y + b.shape[0]) for x, y, b in bitmaps], np.int64)
    extents = extents.reshape(-1, 4)
    starts, ends = extents[:, :2], extents[:, 2:]
    first, last = np.array(window.box[:2]), np.array(window.box[2:])
    # a network is not exact to the pixel; an object that is taken for cut is joined all the same
    margin = 1 + CLOSE * (ends - starts)
    cut: np.ndarray = (starts < first + margin) & (first > 0)
    cut |= (ends > last - margin) & (last < np.array(size[::-1]))
    middles = (starts + ends) / 2
    owned: np.ndarray = (middles >= core.box[:2]) & (middles < core.box[2:])
    moved = _moved(found, window, size)
    return TileView(window, core, moved, bitmaps, extents, np.any(cut, axis=1), np.all(owned, axis=1))


class TileJoiner:
    """Joins the objects of tiles that come row by row; holds those that a later row may still change."""

    def __init__(self) -> None:
        self._open: list[TileView] = []

    def add(self, row: Sequence[TileView], below: int | None) -> Instances:
        """The objects that are complete now, best first.

        Args:
            row: the views of all tiles of the next row, left to right.
            below: y of the tops of the tiles in the row after it; None: it is the last.
        """
        views = [*self._open, *row]
        groups = _groups(views, len(self._open))
        bottoms = np.concatenate([view.extents[:, 3] for view in views])
        reaching = bottoms > below if below is not None else np.zeros(len(bottoms), bool)
        held = np.isin(groups, groups[reaching])
        complete = _chosen(views, groups, np.flatnonzero(~held))
        self._open, start = [], 0
        for view in views:
            end = start + len(view.found)
            rows = np.flatnonzero(held[start:end])
            if len(rows):
                self._open.append(view.only(rows, groups[start:end][rows]))
            start = end
        return complete

    def reaches_above(self, y: int) -> bool:
        """Whether an object that is held has pixels above `y`."""
        return any(bool((view.extents[:, 1] < y).any()) for view in self._open)


def merge(parts: Sequence[Instances]) -> Instances:
    """The objects of several parts (at least one) of an image, in its pixels and in their order."""
    fields: dict[str, np.ndarray | Masks | None] = {}
    for name in PER_OBJECT:
        values = [getattr(part, name) for part in parts]
        if any(value is None for value in values):
            fields[name] = None
        else:
            fields[name] = _merge_masks(values) if name == "masks" else np.concatenate(values)
    names = [name for part in parts for name in part.names]
    return replace(parts[0], **fields, names=names, path=None, pixels=None)  # type: ignore[arg-type]


def best_first(found: Instances) -> Instances:
    """The same objects by falling score."""
    return found[np.argsort(-found.scores, kind="stable")]


def _merge_masks(masks: list[Masks]) -> Masks:
    known, start = dict[int, Bitmap](), 0
    for one in masks:
        known |= {start + row: bitmap for row, bitmap in one.known.items()}
        start += len(one)
    probabilities = np.concatenate([one.probabilities for one in masks])
    boxes = np.concatenate([one.boxes for one in masks])
    return Masks(probabilities, boxes, masks[0].size, masks[0].threshold, known)


def _groups(views: list[TileView], first_new: int) -> np.ndarray:
    """A number for each object of all views in turn, equal for the views of one object, by union-find.

    Args:
        first_new: views before it were compared with each other before, and have groups.
    """
    starts = np.cumsum([0, *(len(view.found) for view in views)]).tolist()
    parent = list(range(starts[-1]))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first_of: dict[int, int] = {}
    for start, view in zip(starts, views[:first_new], strict=False):
        for row, group in enumerate(view.groups.tolist()):
            parent[start + row] = first_of.setdefault(group, start + row)
    for a, b in _neighbours(views, first_new):
        for row_a, row_b in _alike(views[a], views[b]):
            parent[root(starts[b] + row_b)] = root(starts[a] + row_a)
    return np.array([root(place) for place in range(len(parent))], np.int64)


def _neighbours(views: list[TileView], first_new: int) -> Iterator[tuple[int, int]]:
    """Pairs of tiles that share pixels, of which one at least is new."""
    boxes = np.array([view.window.box for view in views])
    for b in range(first_new, len(views)):
        for a in np.flatnonzero(_share_pixels(boxes[b : b + 1], boxes[:b])).tolist():
            yield a, b


def _alike(one: TileView, other: TileView) -> list[tuple[int, int]]:
    """Rows of the same object in two tiles: the most alike first and each once, then those that a tile cuts
    and that lie on an object of the other tile.
    """
    pairs: list[tuple[float, int, int]] = []
    inside_rows: list[tuple[float, int, int]] = []  # cut, and half of it or more on that of the column
    inside_columns: list[tuple[float, int, int]] = []
    for row, column, shared, area_row, area_column in _overlaps(one, other):
        if shared >= ALIKE * (area_row + area_column - shared):
            pairs.append((shared / (area_row + area_column - shared), row, column))
            continue
        if shared >= ALIKE * area_row and one.cut[row]:
            inside_rows.append((shared / area_row, row, column))
        if shared >= ALIKE * area_column and other.cut[column]:
            inside_columns.append((shared / area_column, row, column))
    taken_rows, taken_columns, chosen = set[int](), set[int](), []
    for _, row, column in sorted(pairs, key=lambda pair: -pair[0]):
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            chosen.append((row, column))
    for _, row, column in sorted(inside_rows, key=lambda pair: -pair[0]):
        if row not in taken_rows:
            taken_rows.add(row)
            chosen.append((row, column))
    for _, row, column in sorted(inside_columns, key=lambda pair: -pair[0]):
        if column not in taken_columns:
            taken_columns.add(column)
            chosen.append((row, column))
    return chosen


def _overlaps(one: TileView, other: TileView) -> Iterator[tuple[int, int, int, int, int]]:
    """Objects of two tiles that share pixels in the strip that both show: a row of each, the pixels that they
    share, and those that each has in the strip.
    """
    (left, top), (right, bottom) = one.window.box[:2], one.window.box[2:]
    strip = max(left, other.window.left), max(top, other.window.top), *(
        min(end, limit) for end, limit in zip((right, bottom), other.window.box[2:], strict=True)
    )  # fmt: skip
    around = np.array([strip])
    rows = np.flatnonzero(_share_pixels(around, one.extents))
    columns = np.flatnonzero(_share_pixels(around, other.extents))
    near_rows, near_columns = _near(one.extents[rows], other.extents[columns], strip)
    near_rows, near_columns = rows[near_rows], columns[near_columns]
    alike = one.found.labels[near_rows] == other.found.labels[near_columns]
    areas: tuple[dict[int, int], dict[int, int]] = {}, {}
    for row, column in zip(near_rows[alike].tolist(), near_columns[alike].tolist(), strict=True):
        a, b = one.bitmaps[row], other.bitmaps[column]
        shared = _shared(a, b, strip)
        if not shared:
            continue
        if row not in areas[0]:
            areas[0][row] = int(np.count_nonzero(_inside(a, strip)))
        if column not in areas[1]:
            areas[1][column] = int(np.count_nonzero(_inside(b, strip)))
        yield row, column, shared, areas[0][row], areas[1][column]


def _near(some: np.ndarray, others: np.ndarray, strip: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The places of all pairs of boxes, (N, 4) and (M, 4) xyxy, that share pixels; by the first, then the
    second.
    """
    if not len(some) or not len(others):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    axis = int(strip[3] - strip[1] > strip[2] - strip[0])  # along which fewer lie beside each other
    order = np.argsort(others[:, axis], kind="stable")
    starts, widest = others[order, axis], int((others[:, axis + 2] - others[:, axis]).max())
    first = np.searchsorted(starts, some[:, axis] - widest, "right")
    counts = np.maximum(np.searchsorted(starts, some[:, axis + 2], "left") - first, 0)
    one = np.repeat(np.arange(len(some)), counts)
    within = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
    other = order[np.repeat(first, counts) + within]
    shared = _share_pixels(some[one], others[other])
    one, other = one[shared], other[shared]
    by_both = np.lexsort((other, one))
    return one[by_both], other[by_both]


def _share_pixels(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) bool: whether two boxes (N, 4) xyxy share pixels; either may be one for all."""
    shared: np.ndarray = np.minimum(some[:, 2:], others[:, 2:]) > np.maximum(some[:, :2], others[:, :2])
    return np.all(shared, axis=1)


def _shared(a: Bitmap, b: Bitmap, strip: tuple[int, ...]) -> int:
    """Pixels inside `strip` (xyxy) that are of both objects."""
    x0, y0 = max(a[0], b[0], strip[0]), max(a[1], b[1], strip[1])
    x1 = min(a[0] + a[2].shape[1], b[0] + b[2].shape[1], strip[2])
    y1 = min(a[1] + a[2].shape[0], b[1] + b[2].shape[0], strip[3])
    if x1 <= x0 or y1 <= y0:
        return 0
    one = a[2][y0 - a[1] : y1 - a[1], x0 - a[0] : x1 - a[0]]
    return int(np.count_nonzero(one & b[2][y0 - b[1] : y1 - b[1], x0 - b[0] : x1 - b[0]]))


def _inside(bitmap: Bitmap, box: tuple[int, ...]) -> np.ndarray:
    """An object's pixels in `box` (xyxy), without the part of the box that the object does not reach."""
    x0, y0, pixels = bitmap
    return pixels[max(box[1] - y0, 0) : max(box[3] - y0, 0), max(box[0] - x0, 0) : max(box[2] - x0, 0)]


def _chosen(views: list[TileView], groups: np.ndarray, places: np.ndarray) -> Instances:
    """What is given out of the groups at `places`, which hold all of their members: one object or none of
    each, best first; a bitmap takes the place of the mask and box of an object that no tile shows whole.
    """
    places = places[np.argsort(groups[places], kind="stable")]
    bounds = [0, *(np.flatnonzero(np.diff(groups[places])) + 1).tolist(), len(places)]
    members = places.tolist()
    scores = np.concatenate([view.found.scores for view in views]).tolist()
    cut = np.concatenate([view.cut for view in views]).tolist()
    owned = np.concatenate([view.owned for view in views]).tolist()
    kept: list[int] = []
    best_scores: list[float] = []
    bitmaps: dict[int, Bitmap] = {}
    for begin, end in zip(bounds, bounds[1:], strict=False):
        group = members[begin:end]
        if len(group) == 1 and owned[group[0]]:
            kept.append(group[0])
            best_scores.append(scores[group[0]])
        elif len(group) > 1:
            whole = [place for place in group if not cut[place]]
            if not whole:
                bitmaps[len(kept)] = _stitched(views, group)
            among = [place for place in whole if owned[place]] or whole or group
            kept.append(max(among, key=scores.__getitem__))
            best_scores.append(max(scores[place] for place in group))
    order = np.argsort(-np.array(best_scores), kind="stable")
    found = _taken(views, np.array(kept, np.int64)[order])
    found.scores = np.array(best_scores, found.scores.dtype)[order]
    new_rows = np.argsort(order).tolist()
    for row, (x0, y0, pixels) in ((new_rows[row], bitmap) for row, bitmap in bitmaps.items()):
        found.boxes[row] = x0, y0, x0 + pixels.shape[1], y0 + pixels.shape[0]
        if found.masks is not None:
            found.masks.probabilities[row] = 0
            found.masks.known[row] = x0, y0, pixels
    return found


def _taken(views: list[TileView], places: np.ndarray) -> Instances:
    """The objects at some places among those of all views, in this order."""
    starts = np.cumsum([0, *(len(view.found) for view in views)])
    by_view = np.argsort(places, kind="stable")
    bounds = np.searchsorted(places[by_view], starts)
    parts = [views[0].found[:0]]
    for view, start, begin, end in zip(views, starts, bounds, bounds[1:], strict=False):
        if end > begin:
            parts.append(view.found[places[by_view[begin:end]] - start])
    return merge(parts)[np.argsort(by_view)]


def _stitched(views: list[TileView], group: list[int]) -> Bitmap:
    """Of each tile the part of an object in its core; in the cores of other tiles what any of them shows.

    Args:
        group: the object's places among the objects of all views.
    """
    starts = np.cumsum([0, *(len(view.found) for view in views)])
    tiles = np.searchsorted(starts, group, side="right") - 1
    shown = [(views[tile], views[tile].bitmaps[place - starts[tile]]) for tile, place in zip(tiles, group)]  # noqa: B905
    extents = np.array([(x, y, x + b.shape[1], y + b.shape[0]) for _, (x, y, b) in shown])
    (x0, y0), (x1, y1) = extents[:, :2].min(axis=0).tolist(), extents[:, 2:].max(axis=0).tolist()
    pixels, decided = np.zeros((y1 - y0, x1 - x0), bool), np.zeros((y1 - y0, x1 - x0), bool)
    for view, bitmap in shown:
        left, top, right, bottom = view.core.box
        part = _inside(bitmap, view.core.box)
        x, y = max(left, bitmap[0]) - x0, max(top, bitmap[1]) - y0
        pixels[y : y + part.shape[0], x : x + part.shape[1]] |= part
        decided[max(top - y0, 0) : max(bottom - y0, 0), max(left - x0, 0) : max(right - x0, 0)] = True
    for _, (x, y, bitmap) in shown:
        here = slice(y - y0, y - y0 + bitmap.shape[0]), slice(x - x0, x - x0 + bitmap.shape[1])
        pixels[here] |= bitmap & ~decided[here]
    return _cropped((x0, y0, pixels))


def _moved(found: Instances, window: Window, size: tuple[int, int]) -> Instances:
    """A tile's objects in the pixels of an image of this size."""
    corner = np.array([window.left, window.top], np.float32)
    masks = found.masks
    if masks is not None:
        known = {row: (x + window.left, y + window.top, b) for row, (x, y, b) in masks.known.items()}
        masks = replace(masks, boxes=masks.boxes + np.tile(corner, 2), size=size, known=known)
    keypoints = None if found.keypoints is None else found.keypoints + np.append(corner, np.float32(0))
    boxes = found.boxes + np.tile(corner, 2)
    return replace(found, boxes=boxes, masks=masks, keypoints=keypoints, size=size, path=None, pixels=None)


def _drawn_box(box: np.ndarray) -> Bitmap:
    """The pixels that a box covers, for a network without masks."""
    x0, y0 = np.floor(box[:2]).astype(int).tolist()
    x1, y1 = np.ceil(box[2:]).astype(int).tolist()
    return x0, y0, np.ones((y1 - y0, x1 - x0), bool)


def _cropped(bitmap: Bitmap) -> Bitmap:
    """The same without the empty rows and columns around the object."""
    x0, y0, pixels = bitmap
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return x0, y0, pixels[:0, :0]
    top, left = int(rows[0]), int(columns[0])
    return x0 + left, y0 + top, pixels[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
