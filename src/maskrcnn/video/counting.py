"""How many objects cross lines and are in areas, by their tracks.

An object that shakes on a line would cross it again and again. So crossings are summed, with their signs,
while it is near the line, and count once it is `hysteresis` pixels away from it: one that went back crossed
no line. Areas are entered and left in the same manner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskrcnn.instances import Instances
from maskrcnn.labels.writers.growing_file import GrowingFile
from maskrcnn.masks.polygons import contains
from maskrcnn.predict.table import table_line
from maskrcnn.video.zones import Zone

SHARE, LEAST = 0.05, 2  # of an object's longer side, and in pixels: the hysteresis where a zone has none
COLUMNS = ["time", "zone", "class", "in", "out", "inside"]


@dataclass(frozen=True)
class Row:
    """The counts of a zone and a class from a moment on."""

    seconds: float
    zone: str
    name: str  # of the class
    entered: int = 0  # or crossed to the line's right
    left: int = 0  # or crossed to its left
    inside: int | None = None  # now; None for a line


@dataclass
class Seen:
    """What a zone remembers of an object."""

    place: np.ndarray  # (2,) x and y
    name: str  # of its class
    crossed: int = 0  # a line, to its right less to its left, since it was last away from it
    inside: bool = False  # of a polygon


class Counter:
    """Counts in the zones of a video, frame by frame."""

    def __init__(self, zones: Iterable[Zone]) -> None:
        self._zones = [_ZoneCounter(zone) for zone in zones]
        self._before: Instances | None = None  # the frame before

    def update(
        self,
        found: Instances,
        ids: np.ndarray,
        seconds: float,
        remembered: np.ndarray,
        first_seen: np.ndarray | None = None,
    ) -> list[Row]:
        """The counts that a frame changed.

        Args:
            found: the frame's objects.
            ids: int64 (N,): their tracks, as of `Tracker.update`; objects without one (-1) are not counted.
            seconds: when the frame was.
            remembered: ids of tracks that may come back, as of `Tracker.remembered`: an object that is not
                seen for a moment stays where it was.
            first_seen: int64 (N,): as of `Tracker.first_seen`, so that what an object did until it had its
                id counts too; None: of none.
        """
        rows = np.flatnonzero(ids >= 0)
        before, self._before = self._before, found
        found, ids = found[rows], ids[rows]
        places = begins = anchors(found) if len(found) else {}
        late = np.zeros(0, int) if first_seen is None else np.flatnonzero(first_seen[rows] >= 0)
        if before is not None and first_seen is not None and len(late):
            first = anchors(before[first_seen[rows[late]]])
            begins = {name: where.copy() for name, where in places.items()}
            for name, where in begins.items():
                where[late] = first[name]
        changed = []
        for zone in self._zones:
            zone.forget(set(remembered.tolist()), seconds)
            if len(found):
                zone.see(found, ids, begins[zone.anchor], places[zone.anchor], seconds)
            changed += zone.changed()
        return changed

    @property
    def rows(self) -> list[Row]:
        """The counts now, by zone and class; a zone that nothing came to has one with an empty class."""
        return [row for zone in self._zones for row in zone.rows.values() or [zone.row("", 0)]]


class CountsWriter:
    """A CSV file with a row for each change of a count, whole at any moment.

    It begins with a row of no class for each zone, so that a zone that nothing comes to is in it too.
    """

    def __init__(self, path: Path, zones: Iterable[Zone]) -> None:
        """
        Raises:
            OSError: the file cannot be written.
        """
        self._file = GrowingFile(path, table_line(*COLUMNS), "", "")
        self.add(Counter(zones).rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Further rows, of one frame."""
        self._file.add(
            [
                table_line(
                    f"{row.seconds:.3f}",
                    row.zone,
                    row.name,
                    row.entered,
                    row.left,
                    "" if row.inside is None else row.inside,
                )
                for row in rows
            ]
        )

    def close(self) -> None:
        self._file.close()


def anchors(found: Instances) -> dict[str, np.ndarray]:
    """Where objects are: for "bottom" and "centre" float64 (N, 2) of x and y.

    "centre" is the centroid of a mask, "bottom" the place below it at the mask's lower edge: unlike the
    middle of the lowest row it does not jump from foot to foot. Without a mask, the same of the box.
    """
    x0, y0, x1, y1 = found.boxes.astype(np.float64).T
    centre = np.stack([(x0 + x1) / 2, (y0 + y1) / 2], axis=1)
    lowest = y1.copy()
    height = found.size[0]
    for row, edges in enumerate(found.masks.edges() if found.masks is not None else ()):
        if len(edges):
            starts, ends = edges[::2], edges[1::2]
            first, last = np.divmod(starts, height), np.divmod(ends - 1, height)
            # the middle of each run; one that goes over several columns is the same above and below
            middle = (np.array(first) + np.array(last) + 1) / 2
            centre[row] = np.average(middle, axis=1, weights=ends - starts)
            lowest[row] = height if (first[0] != last[0]).any() else last[1].max() + 1
    return {"centre": centre, "bottom": np.stack([centre[:, 0], lowest], axis=1)}


class _ZoneCounter:
    """The counts of one zone."""

    def __init__(self, zone: Zone) -> None:
        self.anchor = zone.anchor
        self.rows: dict[str, Row] = {}  # by class
        self._zone, self._closed = zone, zone.kind == "polygon"
        points = zone.points
        self._points = np.concatenate([points, points[:1]]) if self._closed else points
        # nobody comes further from the border of a narrow area than its middle
        self._most = _depth(self._points) / 2 if self._closed else np.inf
        self._seen: dict[int, Seen] = {}
        self._changed: dict[str, Row] = {}

    def row(self, name: str, seconds: float) -> Row:
        """The counts of a class, which are 0 at first."""
        return self.rows.get(name) or Row(seconds, self._zone.name, name, inside=0 if self._closed else None)

    def changed(self) -> list[Row]:
        """The counts that changed since the last call."""
        rows, self._changed = list(self._changed.values()), {}
        return rows

    def forget(self, remembered: set[int], seconds: float) -> None:
        """Objects whose tracks ended are nowhere."""
        for gone in self._seen.keys() - remembered:
            seen = self._seen.pop(gone)
            if seen.inside:
                self._count(seen.name, seconds, inside=-1)

    def see(
        self, found: Instances, ids: np.ndarray, begins: np.ndarray, places: np.ndarray, seconds: float
    ) -> None:
        """Objects (N,) at their places (N, 2), which new ones come to from where they began."""
        chosen = [row for row, name in enumerate(found.names) if name in (self._zone.classes or [name])]
        away = _distances(places, self._points) > self._hysteresis(found.boxes)
        outside = np.zeros(len(places), bool)
        inside, began_inside = (
            contains(self._points, where) if self._closed else outside for where in (places, begins)
        )
        tracks = ids.tolist()
        for row in chosen:
            if tracks[row] not in self._seen:
                seen = Seen(begins[row], found.names[row], inside=bool(began_inside[row]))
                self._begin(tracks[row], seen, seconds)
        before = np.array([self._seen[tracks[row]].place for row in chosen]).reshape(-1, 2)
        crossed = _crossings(before, places[chosen], self._points)
        for row, step in zip(chosen, crossed.tolist(), strict=True):
            seen = self._seen[tracks[row]]
            seen.place, seen.crossed = places[row], seen.crossed + step
            if away[row]:
                self._settle(seen, bool(inside[row]), seconds)

    def _begin(self, track: int, seen: Seen, seconds: float) -> None:
        self._seen[track] = seen
        if seen.inside:  # it came from nowhere, so it did not enter
            self._count(seen.name, seconds, inside=1)

    def _settle(self, seen: Seen, inside: bool, seconds: float) -> None:
        """Count what an object did that is away from the line or the border."""
        if self._closed:
            if inside != seen.inside:
                self._count(seen.name, seconds, entered=inside, left=not inside, inside=1 if inside else -1)
            seen.inside = inside
        elif seen.crossed:
            self._count(seen.name, seconds, entered=seen.crossed > 0, left=seen.crossed < 0)
        seen.crossed = 0

    def _count(self, name: str, seconds: float, entered: int = 0, left: int = 0, inside: int = 0) -> None:
        row = self.row(name, seconds)
        row = replace(
            row,
            seconds=seconds,
            entered=row.entered + entered,
            left=row.left + left,
            inside=None if row.inside is None else row.inside + inside,
        )
        self.rows[name] = self._changed[name] = row

    def _hysteresis(self, boxes: np.ndarray) -> np.ndarray:
        """Pixels (N,)."""
        if self._zone.hysteresis is not None:
            wanted = np.full(len(boxes), self._zone.hysteresis)
        else:
            wanted = np.maximum(LEAST, SHARE * (boxes[:, 2:] - boxes[:, :2]).max(axis=1))
        return np.minimum(wanted, self._most)


def _crossings(start: np.ndarray, end: np.ndarray, line: np.ndarray) -> np.ndarray:
    """int64 (N,): how often steps from `start` to `end`, both (N, 2), cross a line (P, 2) to its right, less
    how often to its left.

    A point on the line counts as right of it, so that no step and no corner counts twice.
    """
    a, b = line[:-1], line[1:]
    before, after = _right_of(a, b, start[:, None]), _right_of(a, b, end[:, None])
    ends = start[:, None], end[:, None]
    between = _right_of(*ends, a) != _right_of(*ends, b)
    signs = after.astype(np.int64) - before
    total: np.ndarray = np.where(between, signs, 0).sum(axis=1)
    return total


def _right_of(a: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Whether points lie to the right of who walks from `a` to `b`, with y downwards."""
    along, across = b - a, point - a
    right: np.ndarray = along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0] >= 0
    return right


def _distances(places: np.ndarray, line: np.ndarray) -> np.ndarray:
    """float64 (N,): of places (N, 2) to a line (P, 2)."""
    a, along = line[:-1], np.diff(line, axis=0)
    share = ((places[:, None] - a) * along).sum(axis=2) / (along**2).sum(axis=1)
    nearest = a + share.clip(0, 1)[..., None] * along
    distances: np.ndarray = np.hypot(*np.moveaxis(places[:, None] - nearest, 2, 0)).min(axis=1)
    return distances


def _depth(ring: np.ndarray) -> float:
    """About how far from its border the middle of a closed ring lies, in pixels."""
    low, high = ring.min(axis=0), ring.max(axis=0)
    steps = (np.arange(64) + 0.5) / 64
    grid = np.stack(np.meshgrid(*(low + steps[:, None] * (high - low)).T), axis=2).reshape(-1, 2)
    within = grid[contains(ring, grid)]
    return float(_distances(within, ring).max()) if len(within) else 0.0
