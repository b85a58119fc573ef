"""Masks as rings of points along the edges of their pixels, for formats that know polygons only."""

from __future__ import annotations

from numbers import Real

import cv2
import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.masks.rle import polygons_rle, rle_bitmap

# of a tolerance, what smoothing may use: measured on nuclei, more spoils corners, less leaves more points
SMOOTHED = 0.3
LEAST_IOU = 0.98  # of an outline at a tolerance of up to FINE pixels
FINE, FINEST, FINER = 0.5, 0.1, 0.8
MOST_TOLERANCE = 1e6  # pixels; OpenCV takes no such number as 1e300


def check_tolerance(name: str, tolerance: float) -> None:
    """
    Args:
        name: of the argument, in the message.

    Raises:
        UserError: no number of pixels: below 0, NaN, no number, or larger than any image.
    """
    if not (isinstance(tolerance, Real) and 0 <= tolerance <= MOST_TOLERANCE):
        raise UserError(f"{name}={tolerance!r:.40}: give pixels, 0 to {MOST_TOLERANCE:,.0f}")


def bitmap_rings(bitmap: np.ndarray) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """The parts of a mask (H, W), largest first."""
    # contours run through points: of 2n+1 a side, a pixel is the 3 x 3 points of its corners and edges
    grid = np.zeros([2 * side + 1 for side in bitmap.shape], np.uint8)
    for y in range(3):
        for x in range(3):
            window = grid[y : y + 2 * bitmap.shape[0] - 1 : 2, x : x + 2 * bitmap.shape[1] - 1 : 2]
            np.maximum(window, bitmap, out=window, casting="unsafe")
    contours, levels = cv2.findContours(grid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, tuple[np.ndarray, list[np.ndarray]]] = {}
    for number, contour in enumerate(contours):
        if levels[0][number][3] < 0:
            parts[number] = (contour[:, 0] / 2, [])
    for number, contour in enumerate(contours):
        if levels[0][number][3] >= 0 and len(contour) >= 3:
            parts[int(levels[0][number][3])][1].append(contour[:, 0] / 2)
    return sorted(
        (part for part in parts.values() if len(part[0]) >= 3), key=lambda part: -abs(signed_area(part[0]))
    )


def window_rings(
    x0: int, y0: int, bitmap: np.ndarray, tolerance: float = 0.0
) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """`bitmap_rings` of a mask whose first pixel is at (x0, y0), each with `simplified_ring`.

    A tolerance of up to half a pixel is made finer where the rings would have an IoU of 0.98 or less with the
    mask: of an object of 100 pixels two are too many.
    """
    parts = bitmap_rings(bitmap) if bitmap.any() else []
    if tolerance:
        parts = [
            (simplified_ring(outer, tolerance), [simplified_ring(hole, tolerance) for hole in holes])
            for outer, holes in parts
        ]
        if tolerance <= FINE and parts and _iou(parts, bitmap) <= LEAST_IOU:
            return window_rings(x0, y0, bitmap, FINER * tolerance if tolerance > FINEST else 0.0)
    return [(outer + (x0, y0), [hole + (x0, y0) for hole in holes]) for outer, holes in parts]


def _iou(parts: list[tuple[np.ndarray, list[np.ndarray]]], bitmap: np.ndarray) -> float:
    """Of the pixels inside some rings, as readers of polygons draw them, and those of a mask (H, W)."""
    mask = np.pad(bitmap, 1)  # rings may reach beyond it
    drawn = np.zeros_like(mask)
    for ring in (ring for outer, holes in parts for ring in (outer, *holes)):
        rle = polygons_rle([ring + 1], *mask.shape)
        drawn ^= False if rle is None else rle_bitmap(rle) > 0
    return float(np.count_nonzero(drawn & mask) / np.count_nonzero(drawn | mask))


def simplified_ring(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """A ring of `bitmap_rings` with fewer points, all of it within `tolerance` pixels of the pixels' edges.

    The ring's staircase is taken as the middles of the pixels' edges, each moved towards the mean of itself
    and its neighbours by at most 0.3 of the tolerance; points are then left out (Douglas and Peucker 1973)
    that lie within the other 0.7. At 0.5 pixels about a quarter of the points are left.

    Args:
        ring: float (n, 2) x, y in pixels, multiples of 0.5.
        tolerance: pixels; at 0 the ring stays as it is.

    Returns:
        float64 (m, 2), at least three points: a ring that would lose its inside or no point is left as it is.
    """
    middles = _edge_middles(np.asarray(ring, np.float64))
    towards = (np.roll(middles, 1, axis=0) + np.roll(middles, -1, axis=0) - 2 * middles) / 3
    length = np.hypot(*towards.T)[:, None]
    smooth = middles + towards * np.minimum(1, SMOOTHED * tolerance / np.maximum(length, 1e-9))
    smooth = smooth.astype(np.float32)
    keys = smooth.view(np.int64)[:, 0]  # both coordinates of a point as one number
    reach = (1 - SMOOTHED) * tolerance
    while reach > 0.1 * tolerance:
        chosen = cv2.approxPolyDP(smooth[:, None], reach, True)[:, 0]
        kept = np.flatnonzero(np.isin(keys, np.ascontiguousarray(chosen).view(np.int64)[:, 0]))
        left = smooth[kept].astype(np.float64)
        if len(left) >= len(ring):
            break
        if len(left) >= 3 and signed_area(left) and _farthest(middles, left, kept) <= tolerance:
            return left
        reach *= 0.8  # OpenCV measures to a line, which goes on beyond its two points
    return ring


def _farthest(points: np.ndarray, ring: np.ndarray, kept: np.ndarray) -> float:
    """How far any of `points` (n, 2) is from its side of a ring, whose points stand for those at `kept`."""
    side = np.searchsorted(kept, np.arange(len(points)), side="right") - 1
    start, way = ring[side], np.roll(ring, -1, axis=0)[side] - ring[side]
    along = ((points - start) * way).sum(1) / np.maximum((way**2).sum(1), 1e-12)
    off = points - start - along.clip(0, 1)[:, None] * way
    return float(np.hypot(*off.T).max())


def _edge_middles(ring: np.ndarray) -> np.ndarray:
    """The middle of each pixel's edge along a ring of `bitmap_rings`: one coordinate is whole there."""
    way = np.roll(ring, -1, axis=0) - ring
    steps = np.rint(2 * np.abs(way).max(axis=1)).astype(np.int64)
    owner = np.repeat(np.arange(len(ring)), steps)
    step = np.arange(len(owner)) - (np.cumsum(steps) - steps)[owner]
    points = ring[owner] + way[owner] * (step / steps[owner])[:, None]
    middles: np.ndarray = points[(points % 1 != 0).sum(axis=1) == 1]
    return middles


def one_ring(parts: list[tuple[np.ndarray, list[np.ndarray]]]) -> np.ndarray:
    """All parts and holes as one ring, joined by lines of no width there and back, as in YOLO's files."""
    whole, *others = [_with_holes(outer, holes) for outer, holes in parts]
    for other in others:
        whole = _bridge(whole, other)
    return whole


def _with_holes(outer: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """The outer ring with each hole cut in, run through the other way round."""
    ring = outer
    for hole in holes:
        ring = _bridge(ring, hole if _turn(hole) != _turn(outer) else hole[::-1])
    return ring


def _bridge(ring: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`ring` with a detour at its point nearest to `other`: across, round `other`, and back."""
    distance = ((ring[:, None] - other[None]) ** 2).sum(2)
    i, j = np.unravel_index(int(distance.argmin()), distance.shape)
    return np.concatenate([ring[: i + 1], other[j:], other[: j + 1], ring[i:]])


def _turn(ring: np.ndarray) -> bool:
    """Which way round a ring goes."""
    return signed_area(ring) > 0


def clip_ring(ring: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The part of a ring (n, 2) inside `box`, xyxy (Sutherland and Hodgman 1974).

    Parts of a ring that is not convex stay joined along the box's edge, where they enclose nothing.
    """
    for axis, limit, sign in ((0, box[0], 1), (0, box[2], -1), (1, box[1], 1), (1, box[3], -1)):
        if not len(ring):
            break
        ahead = np.roll(ring, -1, axis=0)
        here, there = sign * (ring[:, axis] - limit), sign * (ahead[:, axis] - limit)
        crosses = (here >= 0) != (there >= 0)
        share = np.divide(here, here - there, out=np.zeros(len(ring)), where=crosses)
        crossing = ring + share[:, None] * (ahead - ring)
        crossing[:, axis] = limit  # exactly, so that what lies on an edge can be told
        # each corner is followed by the point where its edge crosses the limit
        ring = np.stack([ring, crossing], axis=1)[np.stack([here >= 0, crosses], axis=1)]
    return ring


def contains(ring: np.ndarray, points: np.ndarray) -> np.ndarray:
    """bool (m,): which of `points` (m, 2) lie inside a ring (n, 2), by the even-odd rule."""
    x, y = points[:, None, 0], points[:, None, 1]
    ahead = np.roll(ring, -1, axis=0)
    crosses = (ring[:, 1] > y) != (ahead[:, 1] > y)
    slope = np.divide(
        ahead[:, 0] - ring[:, 0], ahead[:, 1] - ring[:, 1], out=np.zeros(len(ring)), where=crosses.any(0)
    )
    inside: np.ndarray = (crosses & (x < ring[:, 0] + (y - ring[:, 1]) * slope)).sum(axis=1) % 2 == 1
    return inside


def signed_area(ring: np.ndarray) -> float:
    """What a ring (n, 2) encloses; the sign tells which way round it goes."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
