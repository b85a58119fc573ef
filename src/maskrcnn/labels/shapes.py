"""Shapes that COCO lacks, as what it has: ellipses and turned boxes as outlines, outlines with holes and row
runs as RLEs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from maskrcnn.images.tiles import Box
from maskrcnn.masks.rle import MIN_POINTS, Rle, bitmap_rle, polygons_rle, rle_bitmap, union_rle

# pycocotools walks an outline in fifths of a pixel and holds every step: some 300 MB at this length, and it
# does not notice when memory ends. No real outline comes near
LONGEST_OUTLINE = 4_000_000
ELLIPSE_ERROR = 0.05  # pixels between an ellipse and its outline
CURVE = np.linspace(0, 1, 9)[1:, None]  # where a Bezier curve is drawn


def drawable(ring: np.ndarray) -> bool:
    """Whether an outline (n, 2) is short enough to be drawn; one that is not finite is left to others to
    refuse.
    """
    if len(ring) and 2 * len(ring) * float(np.abs(ring).max()) <= LONGEST_OUTLINE:
        return True  # quickly, as nearly every outline: no side is longer than twice its furthest coordinate
    if len(ring) == 0 or not np.isfinite(ring).all():
        return True
    with np.errstate(over="ignore"):
        steps = np.abs(ring - np.roll(ring, 1, axis=0)).max(axis=1).sum()
        return bool(max(steps, np.abs(ring).max()) <= LONGEST_OUTLINE)


def sound(ring: np.ndarray) -> bool:
    """Whether an outline (n, 2) encloses something that can be drawn."""
    return len(ring) >= MIN_POINTS and bool(np.isfinite(ring).all()) and drawable(ring)


def holed_rle(outline: np.ndarray, holes: Sequence[np.ndarray], height: int, width: int) -> Rle:
    """The mask inside a sound outline (n, 2) and outside its holes."""
    outer = polygons_rle([outline], height, width)
    assert outer is not None, "a sound outline has three points"
    inner = polygons_rle([hole for hole in holes if sound(hole)], height, width)
    if inner is None:
        return outer
    return bitmap_rle(rle_bitmap(outer) & ~rle_bitmap(inner))


def joined_rle(rles: Sequence[Rle], rings: Sequence[np.ndarray], height: int, width: int) -> Rle:
    """The union of masks, of which there is one at least, and of what is inside sound outlines (n, 2)."""
    drawn = polygons_rle([ring for ring in rings if sound(ring)], height, width)
    return union_rle(rles if drawn is None else [*rles, drawn])


def placed_rle(bitmap: np.ndarray, left: int, top: int, height: int, width: int) -> Rle:
    """The mask of a bitmap (h, w) whose upper left pixel is (left, top) of the image; what is outside is cut
    off.
    """
    full = np.zeros((height, width), dtype=np.uint8)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + bitmap.shape[1], width), min(top + bitmap.shape[0], height)
    if x0 < x1 and y0 < y1:
        full[y0:y1, x0:x1] = bitmap[y0 - top : y1 - top, x0 - left : x1 - left] != 0
    return bitmap_rle(full)


def turned_box(box: Sequence[float], degrees: float, pivot: tuple[float, float]) -> np.ndarray:
    """The corners (4, 2) of a box xyxy after a clockwise turn (y points down) about `pivot`."""
    x0, y0, x1, y1 = box
    return _turned(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), degrees, pivot)


def box_around_turned(box: Sequence[float], degrees: float) -> list[float]:
    """The box xyxy around a box xyxy after a clockwise turn about its centre."""
    x0, y0, x1, y1 = box
    return box_around(turned_box(box, degrees, ((x0 + x1) / 2, (y0 + y1) / 2)))


def ellipse_ring(x: float, y: float, rx: float, ry: float, degrees: float) -> np.ndarray:
    """The outline (n, 2) of an ellipse about (x, y) after a clockwise turn about its centre."""
    radius = max(abs(rx), abs(ry))
    count = 16
    if math.isfinite(radius):
        count = int(min(max(math.pi * math.sqrt(radius / (2 * ELLIPSE_ERROR)), 16), 720))
    angles = np.linspace(0.0, 2 * math.pi, count, endpoint=False)
    with np.errstate(over="ignore", invalid="ignore"):
        ring = np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)
        return _turned(ring, degrees, (x, y))


def curve(control: np.ndarray) -> np.ndarray:
    """Points (8, 2) along a Bezier curve of control points (n, 2), its end but not its start among them."""
    points = np.repeat(control[None], len(CURVE), axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        while points.shape[1] > 1:  # de Casteljau
            points = points[:, :-1] * (1 - CURVE[:, None]) + points[:, 1:] * CURVE[:, None]
    return points[:, 0]


def closed_spline(nodes: np.ndarray) -> np.ndarray:
    """Points (8 n, 2) along the periodic cubic spline through nodes (n, 2), as ImageJ fits one."""
    count = len(nodes)
    wave = 2 * np.cos(2 * np.pi * np.fft.fftfreq(count))[:, None]
    # the second derivatives solve a cyclic system of 1, 4, 1: in Fourier space a division
    after, before = np.roll(nodes, -1, axis=0), np.roll(nodes, 1, axis=0)
    bend = np.fft.ifft(np.fft.fft(6 * (after - 2 * nodes + before), axis=0) / (4 + wave), axis=0).real
    t = (np.arange(8) / 8)[None, :, None]
    next_bend = np.roll(bend, -1, axis=0)[:, None]
    straight = nodes[:, None] * (1 - t) + after[:, None] * t
    found: np.ndarray = straight + ((1 - t) ** 3 - (1 - t)) * bend[:, None] / 6 + (t**3 - t) * next_bend / 6
    return found.reshape(-1, 2)


def _turned(ring: np.ndarray, degrees: float, pivot: tuple[float, float]) -> np.ndarray:
    if not math.isfinite(degrees):
        return np.full_like(ring, math.nan)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    with np.errstate(over="ignore", invalid="ignore"):
        offsets = ring - pivot
        turned: np.ndarray = np.stack(
            [offsets[:, 0] * cos - offsets[:, 1] * sin, offsets[:, 0] * sin + offsets[:, 1] * cos], axis=1
        )
        return turned + pivot


def box_around(points: np.ndarray) -> list[float]:
    """The box xyxy around points (n, 2)."""
    return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]


def box_iou(a: Box, b: Box) -> float:
    """Overlap of two boxes xyxy over their union."""
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / total if total > 0 else 0.0


def fits_swapped(inside: Box, box: Box) -> bool:
    """Whether a box, xyxy, is the one around its object, `inside`, with x and y swapped."""
    return box_iou(inside, box) < 0.2 < 0.5 < box_iou(inside, (box[1], box[0], box[3], box[2]))
