"""The tests' reference for `maskrcnn.predict.tiles`: the same rules, all tiles of an image at once.

Tiles overlap; their cores do not, and cover the image. What neighbouring tiles found in the strip that they
share is compared there, mask by mask: what is alike is one object, which may go on over many tiles. Of an
object that some tile shows whole, that tile's view is kept; one that no tile shows whole gets from each tile
the part in its core; one that lies in the core of none of them is a remnant. What no other tile found belongs
to the tile whose core holds its centre.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from maskrcnn.images.tiles import Window
from maskrcnn.instances import PER_OBJECT, Instances, Masks

ALIKE = 0.5  # IoU in the shared strip from which two views are one object
CLOSE = 0.1  # of an object's side: what is nearer to a tile's border may go on beyond it

Bitmap = tuple[int, int, np.ndarray]  # x0, y0, bool (h, w): pixels of the image
Member = tuple[int, int]  # number of a tile, row of an object in it


@dataclass
class TileView:
    """What the network found in one tile."""

    window: Window
    core: Window
    found: Instances  # in the tile's own pixels

    def __post_init__(self) -> None:
        boxes, left, top = self.found.boxes, self.window.left, self.window.top
        if self.found.masks is None:
            drawn = [_drawn_box(box) for box in boxes]
        else:
            drawn = [_cropped(window) for window in self.found.masks.windows()]
        self.bitmaps: list[Bitmap] = [(x + left, y + top, bitmap) for x, y, bitmap in drawn]
        # (N, 4) xyxy around the pixels of each object
        self.extents = np.array(
            [(x, y, x + b.shape[1], y + b.shape[0]) for x, y, b in self.bitmaps], np.int64
        ).reshape(-1, 4)

    def cut(self, row: int, image: tuple[int, int]) -> bool:
        """Whether an object comes close to a border of the tile that is not the image's."""
        (x0, y0, x1, y1), (left, top, right, bottom) = self.extents[row], self.window.box
        # a network is not exact to the pixel; an object that is taken for cut is joined all the same
        x, y = 1 + CLOSE * (x1 - x0), 1 + CLOSE * (y1 - y0)
        return bool(
            (x0 < left + x and left > 0)
            or (y0 < top + y and top > 0)
            or (x1 > right - x and right < image[1])
            or (y1 > bottom - y and bottom < image[0])
        )

    def owns(self, row: int) -> bool:
        """Whether the centre of an object lies in the tile's core."""
        x0, y0, x1, y1 = self.extents[row]
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        left, top, right, bottom = self.core.box
        return bool(left <= x < right and top <= y < bottom)

    def central(self, row: int) -> bool:
        """Whether a part of an object at least lies in the tile's core."""
        return bool(_overlap(np.array(self.core.box), self.extents[row : row + 1])[0])


def join_tiles(views: list[TileView], size: tuple[int, int]) -> Instances:
    """The objects of an image from what was found in its tiles, best first.

    Args:
        views: of all tiles, at least one.
        size: height and width of the image.
    """
    kept: list[tuple[Member, Bitmap | None, float]] = []
    for group in _groups(views, size):
        score = max(float(views[tile].found.scores[row]) for tile, row in group)
        whole = [(tile, row) for tile, row in group if not views[tile].cut(row, size)]
        owned = [(tile, row) for tile, row in whole if views[tile].owns(row)]
        if len(group) == 1:
            ((tile, row),) = group
            if views[tile].owns(row):
                kept.append(((tile, row), None, score))
        elif whole:
            kept.append((_best(views, owned or whole), None, score))
        elif any(views[tile].central(row) for tile, row in group):
            kept.append((_best(views, group), _stitched(views, group), score))
    kept.sort(key=lambda one: -one[2])
    return _gather(views, kept, size)


def _groups(views: list[TileView], size: tuple[int, int]) -> list[list[Member]]:
    """The views of each object: pairs that are alike, joined by union-find."""
    parent: dict[Member, Member] = {
        (tile, row): (tile, row) for tile, view in enumerate(views) for row in range(len(view.found))
    }

    def root(member: Member) -> Member:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for a, b in _neighbours(views):
        for row_a, row_b in _alike(views[a], views[b], size):
            parent[root((b, row_b))] = root((a, row_a))
    groups: dict[Member, list[Member]] = defaultdict(list)
    for member in parent:
        groups[root(member)].append(member)
    return list(groups.values())


def _neighbours(views: list[TileView]) -> Iterator[tuple[int, int]]:
    """Pairs of tiles that share pixels."""
    boxes = np.array([view.window.box for view in views])
    for a in range(len(views)):
        shared = _overlap(boxes[a], boxes[a + 1 :])
        for b in np.flatnonzero(shared):
            yield a, a + 1 + int(b)


def _alike(one: TileView, other: TileView, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows of the same object in two tiles: the most alike first and each once, then those that a tile cuts
    and that lie on an object of the other tile.
    """
    left, top = np.maximum(one.window.box[:2], other.window.box[:2])
    right, bottom = np.minimum(one.window.box[2:], other.window.box[2:])
    strip = np.array([left, top, right, bottom])
    rows = np.flatnonzero(_overlap(strip, one.extents)).tolist()
    columns = np.flatnonzero(_overlap(strip, other.extents))
    pairs: list[tuple[float, int, int]] = []
    inside_rows: list[tuple[float, int, int]] = []  # cut, and half of it or more on that of the column
    inside_columns: list[tuple[float, int, int]] = []
    for row in rows:
        near = columns[_overlap(one.extents[row], other.extents[columns]).astype(bool)]
        for column in near[one.found.labels[row] == other.found.labels[near]].tolist():
            shared, *areas = _shared_in(strip, one.bitmaps[row], other.bitmaps[column])
            if shared and shared >= ALIKE * (sum(areas) - shared):
                pairs.append((shared / (sum(areas) - shared), row, column))
            if shared and shared >= ALIKE * areas[0] and one.cut(row, size):
                inside_rows.append((shared / areas[0], row, column))
            if shared and shared >= ALIKE * areas[1] and other.cut(column, size):
                inside_columns.append((shared / areas[1], row, column))
    pairs.sort(key=lambda pair: -pair[0])
    taken_rows, taken_columns, chosen = set[int](), set[int](), []
    for _, row, column in pairs:
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


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) int64: pixels that `box` shares with each of `boxes`."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared: np.ndarray = sides.clip(min=0).prod(axis=1)
    return shared


def _shared_in(strip: np.ndarray, a: Bitmap, b: Bitmap) -> tuple[int, int, int]:
    """Pixels inside `strip` (xyxy) of two objects: of both at once, of the one and of the other."""
    x0, y0 = min(a[0], b[0]), min(a[1], b[1])
    x1 = max(a[0] + a[2].shape[1], b[0] + b[2].shape[1])
    y1 = max(a[1] + a[2].shape[0], b[1] + b[2].shape[0])
    around = max(x0, int(strip[0])), max(y0, int(strip[1])), min(x1, int(strip[2])), min(y1, int(strip[3]))
    one, other = _part(a, around), _part(b, around)
    return int((one & other).sum()), int(one.sum()), int(other.sum())


def _part(bitmap: Bitmap, box: tuple[int, int, int, int]) -> np.ndarray:
    """An object's pixels in `box` (xyxy)."""
    x0, y0, pixels = bitmap
    part = np.zeros((max(box[3] - box[1], 0), max(box[2] - box[0], 0)), bool)
    left, top = max(x0, box[0]), max(y0, box[1])
    right, bottom = min(x0 + pixels.shape[1], box[2]), min(y0 + pixels.shape[0], box[3])
    if right > left and bottom > top:
        part[top - box[1] : bottom - box[1], left - box[0] : right - box[0]] = pixels[
            top - y0 : bottom - y0, left - x0 : right - x0
        ]
    return part


def _best(views: list[TileView], members: list[Member]) -> Member:
    return max(members, key=lambda one: float(views[one[0]].found.scores[one[1]]))


def _stitched(views: list[TileView], group: list[Member]) -> Bitmap:
    """Of each tile the part of an object in its core; in the cores of other tiles what any of them shows."""
    extents = np.array([views[tile].extents[row] for tile, row in group])
    x0, y0 = extents[:, :2].min(axis=0).tolist()
    x1, y1 = extents[:, 2:].max(axis=0).tolist()
    pixels, decided = np.zeros((y1 - y0, x1 - x0), bool), np.zeros((y1 - y0, x1 - x0), bool)
    for tile, row in group:
        left, top, right, bottom = views[tile].core.box
        core = max(left, x0), max(top, y0), min(right, x1), min(bottom, y1)
        if core[2] > core[0] and core[3] > core[1]:
            place = slice(core[1] - y0, core[3] - y0), slice(core[0] - x0, core[2] - x0)
            pixels[place] |= _part(views[tile].bitmaps[row], core)
            decided[place] = True
    for tile, row in group:
        pixels |= _part(views[tile].bitmaps[row], (x0, y0, x1, y1)) & ~decided
    return x0, y0, pixels


def _gather(
    views: list[TileView], kept: list[tuple[Member, Bitmap | None, float]], size: tuple[int, int]
) -> Instances:
    """The chosen objects in the image's pixels; a bitmap takes the place of an object's mask and box."""
    members = [member for member, _, _ in kept]
    fields: dict[str, np.ndarray | Masks | None] = {}
    for name in PER_OBJECT:
        values = [getattr(view.found, name) for view in views]
        if any(value is None for value in values):
            fields[name] = None
        elif name == "masks":
            fields[name] = _gather_masks(views, kept, size)
        else:
            moved = [_moved(name, value, view.window) for value, view in zip(values, views, strict=True)]
            rows = [moved[tile][row] for tile, row in members]
            fields[name] = np.array(rows, moved[0].dtype).reshape(len(rows), *moved[0].shape[1:])
    boxes, scores = fields["boxes"], fields["scores"]
    assert isinstance(boxes, np.ndarray) and isinstance(scores, np.ndarray)
    for place, (_, bitmap, score) in enumerate(kept):
        scores[place] = score
        if bitmap is not None:
            x0, y0, pixels = _cropped(bitmap)
            boxes[place] = x0, y0, x0 + pixels.shape[1], y0 + pixels.shape[0]
    names = [views[tile].found.names[row] for tile, row in members]
    return replace(views[0].found, **fields, names=names, size=size, path=None, pixels=None)  # type: ignore[arg-type]


def _gather_masks(
    views: list[TileView], kept: list[tuple[Member, Bitmap | None, float]], size: tuple[int, int]
) -> Masks:
    masks = [view.found.masks for view in views]
    first = masks[0]
    assert first is not None
    probabilities = np.zeros((len(kept), *first.probabilities.shape[1:]), np.float32)
    boxes = np.zeros((len(kept), 4), np.float32)
    bitmaps = {}
    for place, ((tile, row), bitmap, _) in enumerate(kept):
        own = masks[tile]
        assert own is not None
        boxes[place] = _moved("boxes", own.boxes[row], views[tile].window)
        if bitmap is None and row in own.known:
            bitmap = views[tile].bitmaps[row]
        if bitmap is None:
            probabilities[place] = own.probabilities[row]
        else:
            bitmaps[place] = bitmap
    return Masks(probabilities, boxes, size, first.threshold, bitmaps)


def _moved(name: str, values: np.ndarray, window: Window) -> np.ndarray:
    """A field of a tile's objects in the image's pixels."""
    corner = np.array([window.left, window.top], np.float32)
    if name == "boxes":
        return values + np.tile(corner, 2)
    if name == "keypoints":
        return values + np.append(corner, np.float32(0))
    return values


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
