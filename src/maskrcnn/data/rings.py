"""Masks as rings of points along the edges of their pixels, for formats that know polygons only."""

from __future__ import annotations

import cv2
import numpy as np

from maskrcnn.data.dataset import Annotation, Picture
from maskrcnn.data.masks import annotation_rle, rle_bitmap


def object_rings(annotation: Annotation, picture: Picture) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Each part of an object as its outer ring and its holes, (n, 2) of x, y in pixels; empty without a mask.

    Polygons stay what they are. An RLE's rings run along pixel edges, so that drawing them gives the mask again.
    """
    if annotation.polygons is not None:
        return [(np.asarray(ring, np.float64), []) for ring in annotation.polygons]
    rle = annotation_rle(annotation, picture.height, picture.width)
    return [] if rle is None else bitmap_rings(rle_bitmap(rle))


def bitmap_rings(bitmap: np.ndarray) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """The parts of a mask (H, W), largest first."""
    # contours run through points; on a grid of 2n+1 points a pixel is the 3 x 3 points of its corners and edges
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
    return sorted((part for part in parts.values() if len(part[0]) >= 3), key=lambda part: -_area(part[0]))


def one_ring(parts: list[tuple[np.ndarray, list[np.ndarray]]]) -> np.ndarray:
    """All parts and holes as one ring: there and back along a line of no width between each two, as YOLO's files do it."""
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
    x, y = ring.T
    return bool((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0)


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2
