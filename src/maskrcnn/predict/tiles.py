"""Objects of an image that is predicted in overlapping tiles, each of them once.

Tiles overlap; their cores do not, and cover the image. What neighbouring tiles found in the strip that they
share is compared there, mask by mask: what is alike is one object, which may go on over many tiles. Of an
object that some tile shows whole, that tile's view is kept; one that no tile shows whole gets from each tile
the part in its core; one that lies in the core of none of them is a remnant. What no other tile found belongs
to the tile whose core holds its centre.

Tiles come row by row. An object that no further tile shows anything of is given out and forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from maskrcnn.images.tiles import Grid
from maskrcnn.instances import PER_OBJECT, Instances, Masks
from maskrcnn.masks.packed import PackedMasks
from maskrcnn.masks.paste import Window as Bitmap

ALIKE = 0.5  # IoU in the shared strip from which two views are one object
CLOSE = 0.1  # of an object's side: what is nearer to a tile's border may go on beyond it


@dataclass
class TileViews:
    """What the network found in some tiles, in their order: N views of objects, in pixels of the image."""

    tiles: np.ndarray  # (N,) int64: the number of each one's tile
    found: Instances  # without masks
    maps: tuple[int, float] | None  # side and threshold of the network's masks; None: it has none
    masks: PackedMasks  # N, each without empty rows and columns around it; of a network without masks boxes
    cut: np.ndarray  # (N,) bool: close to a border of the tile that is not the image's
    owned: np.ndarray  # (N,) bool: the centre lies in the tile's core
    central: np.ndarray  # (N,) bool: a part at least does

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, rows: np.ndarray) -> TileViews:
        found, masks = self.found[rows], self.masks[rows]
        flags = self.cut[rows], self.owned[rows], self.central[rows]
        return TileViews(self.tiles[rows], found, self.maps, masks, *flags)

    def instances(self, rows: np.ndarray) -> Instances:
        """The views in some rows, with their masks."""
        found = self.found[rows]
        if self.maps is not None:
            side, threshold = self.maps
            maps, boxes = np.zeros((len(rows), side, side), np.float32), np.zeros((len(rows), 4), np.float32)
            found.masks = Masks(maps, boxes, found.size, threshold, dict(enumerate(self.masks.windows(rows))))
        return found


def view_tile(grid: Grid, number: int, found: Instances) -> TileViews:
    """The view of a tile; `found` is in the tile's own pixels."""
    window, core = grid.tile(number)
    if found.masks is None:
        maps, drawn = None, [_drawn_box(box) for box in found.boxes]
    else:
        maps = found.masks.probabilities.shape[-1], found.masks.threshold
        drawn = [_cropped(bitmap) for bitmap in found.masks.windows()]
    masks = PackedMasks.of([(x + window.left, y + window.top, bitmap) for x, y, bitmap in drawn])
    starts, ends = masks.boxes[:, :2], masks.boxes[:, 2:]
    first, last = np.array(window.box[:2]), np.array(window.box[2:])
    # a network is not exact to the pixel; an object that is taken for cut is joined all the same
    margin = 1 + CLOSE * (ends - starts)
    cut: np.ndarray = (starts < first + margin) & (first > 0)
    cut |= (ends > last - margin) & (last < np.array(grid.size[::-1]))
    middles = (starts + ends) / 2
    owned: np.ndarray = (middles >= core.box[:2]) & (middles < core.box[2:])
    keypoints = found.keypoints
    if keypoints is not None:
        keypoints = keypoints + np.array([window.left, window.top, 0], np.float32)
    boxes = found.boxes + np.array([window.left, window.top] * 2, np.float32)
    moved = replace(
        found, boxes=boxes, keypoints=keypoints, masks=None, size=grid.size, path=None, pixels=None
    )
    tiles = np.full(len(found), number)
    central = _share_pixels(masks.boxes, np.array([core.box]))
    return TileViews(tiles, moved, maps, masks, np.any(cut, axis=1), np.all(owned, axis=1), central)


class TileJoiner:
    """Joins the objects of tiles that come in turn; holds those that a further tile may still change."""

    def __init__(self, grid: Grid, first: int = 0) -> None:
        """
        Args:
            first: number of the first tile that comes.
        """
        self._grid, self._next = grid, first
        self._open: list[TileViews] = []  # one at most
        self._groups = np.zeros(0, np.int64)  # of each that is open, the first row of the same object

    def add(self, tiles: Sequence[TileViews]) -> Instances:
        """The objects that are complete now, best first.

        Args:
            tiles: the next ones, at least one.
        """
        views, before = _together([*self._open, *tiles]), len(self._groups)
        self._next += len(tiles)
        groups = np.append(self._groups, np.arange(before, len(views)))
        groups = _united(groups, *self._same_objects(views, before))
        last = np.full(len(views), -1)  # by group, the last tile that shows something of it
        np.maximum.at(last, groups, self._grid.last(views.masks.boxes))
        held = last[groups] >= self._next
        rows, still = np.flatnonzero(~held), np.flatnonzero(held)
        complete = self._chosen(views, rows, groups[rows])
        _, first, group = np.unique(groups[still], return_index=True, return_inverse=True)
        self._open, self._groups = [views[still]], first[group]
        return complete

    def reaches_above(self, y: int) -> bool:
        """Whether an object that is held has pixels above `y`."""
        return any(bool((views.masks.boxes[:, 1] < y).any()) for views in self._open)

    def _same_objects(self, views: TileViews, before: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of rows that show the same object in two tiles.

        Args:
            before: rows before it were compared with each other before.
        """
        boxes, labels = views.masks.boxes, views.found.labels
        pairs = [np.zeros((2, 0), np.int64)]
        for number in np.unique(views.tiles[before:]).tolist():
            begin, end = np.searchsorted(views.tiles, [number, number + 1])
            near = np.flatnonzero(_share_pixels(self._grid.windows(np.array([number])), boxes[:begin]))
            some, others = _near(boxes[near], boxes[begin:end])
            pairs.append(np.stack([near[some], begin + others]))
        one, other = np.concatenate(pairs, axis=1)
        one, other = one[labels[one] == labels[other]], other[labels[one] == labels[other]]
        alike = _alike(views, one, other, self._grid)
        return one[alike], other[alike]

    def _chosen(self, views: TileViews, rows: np.ndarray, groups: np.ndarray) -> Instances:
        """What is given out of the groups of some rows, which hold all of their members: one object or none
        of each, best first; what the tiles show together is the mask and box of an object that none shows
        whole.
        """
        if not len(rows):
            return views.instances(rows)
        owned, scores, whole = views.owned[rows], views.found.scores[rows], ~views.cut[rows]
        rank = whole.astype(int) + (whole & owned)
        order = np.lexsort((-scores, -rank, groups))  # group by group, the best of each first
        begins = np.flatnonzero(np.diff(groups[order], prepend=-1))
        sizes, best = np.diff(begins, append=len(order)), order[begins]
        # what is found at the ends of tiles only, and by none of those that see beyond them, is a remnant
        seen = np.logical_or.reduceat((whole | views.central[rows])[order], begins)
        kept = np.flatnonzero((sizes > 1) & seen | owned[best])
        best_scores = np.maximum.reduceat(scores[order], begins)
        kept = kept[np.argsort(-best_scores[kept], kind="stable")]
        found = views.instances(rows[best[kept]])
        found.scores = best_scores[kept]
        for row in np.flatnonzero((sizes[kept] > 1) & (rank[best[kept]] == 0)).tolist():
            begin = begins[kept[row]]
            members = rows[order[begin : begin + sizes[kept[row]]]]
            x0, y0, pixels = _stitched(views, members, self._grid)
            found.boxes[row] = x0, y0, x0 + pixels.shape[1], y0 + pixels.shape[0]
            if found.masks is not None:
                found.masks.known[row] = x0, y0, pixels
        return found


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


def _together(parts: Sequence[TileViews]) -> TileViews:
    tiles, *flags = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("tiles", "cut", "owned", "central")
    )
    masks = PackedMasks.joined([part.masks for part in parts])
    return TileViews(tiles, merge([part.found for part in parts]), parts[0].maps, masks, *flags)


def _united(groups: np.ndarray, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each of N rows the first of its group, where the pairs of `some` and `others` are in one.

    Args:
        groups: (N,) int64, the same before these pairs.
    """
    groups = groups.copy()
    while (apart := np.flatnonzero(groups[some] != groups[others])).size:
        ends = groups[some[apart]], groups[others[apart]]
        np.minimum.at(groups, np.maximum(*ends), np.minimum(*ends))
        while not np.array_equal(groups, above := groups[groups]):
            groups = above
    return groups


def _alike(views: TileViews, one: np.ndarray, other: np.ndarray, grid: Grid) -> list[int]:
    """The numbers of those pairs of rows that show one object: of two tiles the most alike first and each
    once, then those that a tile cuts and that lie on an object of the other tile.
    """
    windows = grid.windows(views.tiles[one]), grid.windows(views.tiles[other])
    strips = np.concatenate(
        [
            np.maximum(*(window[:, :2] for window in windows)),
            np.minimum(*(window[:, 2:] for window in windows)),
        ],
        axis=1,
    )
    shared = views.masks.shared(one, other, strips)
    pairs = np.flatnonzero(shared)
    pairs = pairs[np.lexsort((other[pairs], one[pairs]))]
    shared, one, other, strips = shared[pairs], one[pairs], other[pairs], strips[pairs]
    area_one, area_other = views.masks.shared(one, one, strips), views.masks.shared(other, other, strips)
    iou = shared / (area_one + area_other - shared)
    # a row may be once in each of the other tiles
    once_one, once_other = one * len(grid) + views.tiles[other], other * len(grid) + views.tiles[one]
    inside_one = (shared >= ALIKE * area_one) & views.cut[one]
    inside_other = (shared >= ALIKE * area_other) & views.cut[other]
    taken, chosen = set[int](), list[int]()
    for which, likeness, once in (
        (iou >= ALIKE, iou, [once_one, once_other]),
        (inside_one, shared / area_one, [once_one]),
        (inside_other, shared / area_other, [once_other]),
    ):
        places = np.flatnonzero(which)
        places = places[np.argsort(-likeness[places], kind="stable")]
        for place, *keys in zip(places.tolist(), *(key[places].tolist() for key in once), strict=True):
            if taken.isdisjoint(keys):
                taken.update(keys)
                chosen.append(place)
    return pairs[chosen].tolist()


def _near(some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places of all pairs of boxes, (N, 4) and (M, 4) xyxy, that share pixels."""
    if not len(some) or not len(others):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    ways = []
    for axis in (0, 1):
        order = np.argsort(others[:, axis], kind="stable")
        starts, widest = others[order, axis], int((others[:, axis + 2] - others[:, axis]).max())
        first = np.searchsorted(starts, some[:, axis] - widest, "right")
        counts = np.maximum(np.searchsorted(starts, some[:, axis + 2], "left") - first, 0)
        ways.append((int(counts.sum()), axis, order, first, counts))
    _, _, order, first, counts = min(ways)  # the axis along which fewer lie beside each other
    one = np.repeat(np.arange(len(some)), counts)
    within = np.arange(len(one)) - np.repeat(np.cumsum(counts) - counts, counts)
    other = order[np.repeat(first, counts) + within]
    shared = _share_pixels(some[one], others[other])
    return one[shared], other[shared]


def _share_pixels(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) bool: whether two boxes (N, 4) xyxy share pixels; either may be one for all."""
    shared: np.ndarray = np.minimum(some[:, 2:], others[:, 2:]) > np.maximum(some[:, :2], others[:, :2])
    return np.all(shared, axis=1)


def _stitched(views: TileViews, members: np.ndarray, grid: Grid) -> Bitmap:
    """Of each tile the part of an object in its core; in the cores of other tiles what any of them shows.

    Args:
        members: the object's rows in the views.
    """
    boxes = views.masks.boxes[members]
    (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    pixels, decided = np.zeros((y1 - y0, x1 - x0), bool), np.zeros((y1 - y0, x1 - x0), bool)
    for tile, (x, y, bitmap) in zip(views.tiles[members].tolist(), views.masks.windows(members), strict=True):
        left, top, right, bottom = grid.tile(tile)[1].box
        part = bitmap[max(top - y, 0) : max(bottom - y, 0), max(left - x, 0) : max(right - x, 0)]
        down, across = max(top, y) - y0, max(left, x) - x0
        pixels[down : down + part.shape[0], across : across + part.shape[1]] |= part
        decided[max(top - y0, 0) : max(bottom - y0, 0), max(left - x0, 0) : max(right - x0, 0)] = True
    for x, y, bitmap in views.masks.windows(members):
        here = slice(y - y0, y - y0 + bitmap.shape[0]), slice(x - x0, x - x0 + bitmap.shape[1])
        pixels[here] |= bitmap & ~decided[here]
    return _cropped((x0, y0, pixels))


def _drawn_box(box: np.ndarray) -> Bitmap:
    """The pixels that a box covers, for a network without masks."""
    x0, y0 = np.floor(box[:2]).astype(int).tolist()
    x1, y1 = np.ceil(box[2:]).astype(int).tolist()
    return x0, y0, np.ones((y1 - y0, x1 - x0), bool)


def _cropped(bitmap: Bitmap) -> Bitmap:
    """The same without the empty rows and columns around the object."""
    x0, y0, pixels = bitmap
    left, top, width, height = cv2.boundingRect(pixels.view(np.uint8))
    return x0 + left, y0 + top, pixels[top : top + height, left : left + width]
