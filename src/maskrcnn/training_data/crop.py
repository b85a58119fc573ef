"""The part of a labelled object that a window of its image shows: masks clipped, boxes tightened to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maskrcnn.images.tiles import Box, Window
from maskrcnn.labels.types import Annotation
from maskrcnn.masks.polygons import clip_ring, contains
from maskrcnn.masks.rle import MIN_POINTS, crop_rle, mask_box, polygons_rle, rle_area, rle_box

NEAR = 1e-6  # pixels


def extent(annotation: Annotation) -> Box:
    """The box (xyxy) around an object's mask or, where it has none, its box."""
    return mask_box(annotation.polygons, annotation.rle) or annotation.box


def crop_annotation(annotation: Annotation, window: Window) -> tuple[Annotation, float] | None:
    """What `window` shows of an object, in the window's pixels, and which share of it that is.

    The share is of the mask's area or, for an object without a mask, of its box's. An object that lies wholly
    inside keeps its own box; of one that is cut the box becomes that of what remains. Keypoints outside
    become unlabelled.

    Returns:
        None where the window shows nothing of it.
    """
    if annotation.rle is not None and (whole := rle_area(annotation.rle)):
        rle = crop_rle(annotation.rle, window.left, window.top, window.width, window.height)
        area = rle_area(rle)
        if not area:
            return None
        box = rle_box(rle) if area < whole else _clipped(annotation.box, window)
        return _placed(annotation, window, box, area / whole, area=float(area), rle=rle), area / whole
    rings = _rings(annotation)
    if rings:
        return _crop_rings(annotation, rings, window)
    box = _clipped(annotation.box, window)
    share = _box_area(box) / max(_box_area(annotation.box), 1e-9)
    if share <= 0:
        return None
    return _placed(annotation, window, box, share, polygons=None, rle=None), share


def _crop_rings(
    annotation: Annotation, rings: list[np.ndarray], window: Window
) -> tuple[Annotation, float] | None:
    """`crop_annotation` of an object whose mask is polygons."""
    if all(_within(ring, window) for ring in rings):
        moved = [ring - (window.left, window.top) for ring in annotation.polygons or []]
        return _placed(annotation, window, _clipped(annotation.box, window), 1.0, polygons=moved), 1.0
    parts, boxes = [], []
    for ring in rings:
        part = ring if _within(ring, window) else clip_ring(ring, window.box)
        seen = _visible_extent(ring, part, window) if len(part) >= MIN_POINTS else None
        if seen is not None:
            parts.append(part)
            boxes.append(seen)
    if not parts:
        return None
    box = (*np.min(boxes, axis=0)[:2].tolist(), *np.max(boxes, axis=0)[2:].tolist())
    # as drawn: rings may cross themselves and one another
    whole, area = _drawn_area(rings), _drawn_area(parts)
    share = min(area / whole, 1.0) if whole else _box_area(box) / max(_box_area(extent(annotation)), 1e-9)
    moved = [part - (window.left, window.top) for part in parts]
    return _placed(annotation, window, _clipped(box, window), share, polygons=moved), share


def _visible_extent(ring: np.ndarray, part: np.ndarray, window: Window) -> Box | None:
    """The box around what `window` shows of a ring, xyxy in the image's pixels; None where that is nothing.

    Clipping joins the parts of a ring that is not convex along the window's edges, where they enclose
    nothing: such points do not count. What does: points where an edge of the ring itself begins or ends, and
    corners of the window inside the ring.
    """
    x0, y0, x1, y1 = window.box
    on_edge = np.stack([part[:, 0] == x0, part[:, 0] == x1, part[:, 1] == y0, part[:, 1] == y1], axis=1)
    along = (on_edge & np.roll(on_edge, -1, axis=0)).any(axis=1)  # the edge from this point to the next
    points = part[~(along & np.roll(along, 1))]
    corners = np.array([(x, y) for x in (x0, x1) for y in (y0, y1)], np.float64)
    # a little further in, since a ring may run along the window's edge itself
    inwards = np.array([(x, y) for x in (NEAR, -NEAR) for y in (NEAR, -NEAR)])
    points = np.concatenate([points, corners[contains(ring, corners + inwards)]])
    return _around(points) if len(points) else None


def _placed(annotation: Annotation, window: Window, box: Box, share: float, **changes: object) -> Annotation:
    """A copy with a box of the window, the area that remains and keypoints in the window's pixels."""
    keypoints = annotation.keypoints
    if keypoints is not None:
        keypoints = keypoints.copy()
        keypoints[:, :2] -= (window.left, window.top)
        inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] <= (window.width, window.height))).all(axis=1)
        keypoints[~inside | (keypoints[:, 2] <= 0)] = 0
    fields = {"area": annotation.area * share, **changes}
    return replace(annotation, box=box, keypoints=keypoints, **fields)  # type: ignore[arg-type]


def _rings(annotation: Annotation) -> list[np.ndarray]:
    """The rings of an object's mask that may enclose anything."""
    return [ring for ring in annotation.polygons or [] if len(ring) >= MIN_POINTS]


def _drawn_area(rings: list[np.ndarray]) -> int:
    """Pixels of the union of rings, as COCO draws them."""
    x0, y0, x1, y1 = _around(np.concatenate(rings))
    corner = np.floor((x0, y0))
    drawn = polygons_rle([ring - corner for ring in rings], int(y1 - corner[1]) + 2, int(x1 - corner[0]) + 2)
    return 0 if drawn is None else rle_area(drawn)


def _around(points: np.ndarray) -> Box:
    low, high = points.min(axis=0), points.max(axis=0)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _within(ring: np.ndarray, window: Window) -> bool:
    low, high = ring.min(axis=0), ring.max(axis=0)
    return bool((low >= window.box[:2]).all() and (high <= window.box[2:]).all())


def _clipped(box: Box, window: Window) -> Box:
    """The part of a box inside the window, in the window's pixels."""
    x0, x1 = (min(max(x - window.left, 0.0), float(window.width)) for x in (box[0], box[2]))
    y0, y1 = (min(max(y - window.top, 0.0), float(window.height)) for y in (box[1], box[3]))
    return (x0, y0, x1, y1)


def _box_area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
