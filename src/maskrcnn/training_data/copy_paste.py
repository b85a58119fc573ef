"""Copy-paste: objects of one image pasted into another, whose own objects they hide (Ghiasi et al. 2021).

Pixels are copied inside the masks as they are: the paper found that blending does not matter.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from maskrcnn.images.view import View, transform_boxes
from maskrcnn.labels.types import Annotation
from maskrcnn.training_data.targets import ARRAYS, SMALLEST_SIDE, ObjectTargets, extent, mask_bitmap

TAKEN = 0.5  # share of an image's objects that are pasted
LEAST_LEFT = 0.1  # share of an object's mask; one of which less is left is neither object nor background
VISIBLE, HIDDEN = 2, 1  # visibilities of a keypoint in COCO


def draw_objects(annotations: list[Annotation], rng: np.random.Generator) -> list[Annotation]:
    """A random half of the objects that have a mask, at least one of them if there is one."""
    masked = [a for a in annotations if a.has_mask and not a.crowd]
    if not masked:
        return []
    chosen = rng.random(len(masked)) < TAKEN
    chosen[rng.integers(len(masked))] = True
    return [annotation for annotation, taken in zip(masked, chosen, strict=True) if taken]


def draw_stencil(annotations: list[Annotation], view: View) -> np.ndarray:
    """bool (view.height, view.width): the union of the objects' masks as the view shows them."""
    stencil = np.zeros((view.height, view.width), bool)
    limits = (view.width, view.height)
    for annotation in annotations:
        around = transform_boxes(np.array([annotation.box], np.float64), view)[0]
        if annotation.polygons:
            ring = view.points(np.concatenate(annotation.polygons))
            around = np.array([*ring.min(axis=0), *ring.max(axis=0)])
        x1, y1 = np.clip(np.floor(around[:2]), 0, limits).astype(int)
        x2, y2 = np.clip(np.ceil(around[2:]), 0, limits).astype(int)
        if x1 < x2 and y1 < y2:
            box = np.array([x1, y1, x2, y2], np.float64)
            stencil[y1:y2, x1:x2] |= mask_bitmap(annotation, view, box, (y2 - y1, x2 - x1)).astype(bool)
    return stencil


def paste_targets(below: ObjectTargets, above: ObjectTargets, stencil: np.ndarray) -> ObjectTargets:
    """The objects of both images, those `below` without what the stencil (H, W) hides.

    An object without a mask keeps its box. One that is hidden altogether is gone; one of which little is left
    becomes a region to ignore.
    """
    return ObjectTargets.joined([_hide(below, stencil), above], below.seed)


def _hide(objects: ObjectTargets, stencil: np.ndarray) -> ObjectTargets:
    boxes, masks, ignore = objects.boxes.copy(), objects.masks.copy(), objects.ignore.copy()
    kept = np.ones(len(boxes), bool)
    for i in np.flatnonzero(objects.has_mask):
        cover = objects.mask_boxes[i]
        before, around = int(masks[i].sum()), extent(masks[i], cover)
        masks[i] &= ~_under(stencil, cover, masks.shape[1])
        after = int(masks[i].sum())
        if after == before:
            continue
        kept[i] = after > 0
        if kept[i]:
            left = extent(masks[i], cover)
            boxes[i] = np.where(left == around, boxes[i], left)  # a side that is not hidden stays where it is
            kept[i] = bool((boxes[i, 2:] - boxes[i, :2] >= SMALLEST_SIDE).all())
            ignore[i] |= after < LEAST_LEFT * before
    result = dataclasses.replace(
        objects,
        boxes=boxes,
        masks=masks,
        ignore=ignore,
        keypoints=_hide_keypoints(objects.keypoints, stencil),
    )
    return ObjectTargets(**{name: getattr(result, name)[kept] for name in ARRAYS}, seed=objects.seed)


def _under(stencil: np.ndarray, cover: np.ndarray, side: int) -> np.ndarray:
    """uint8 (side, side): the stencil at the centres of the pixels of a bitmap that covers the box
    `cover`.
    """
    step = (cover[2:] - cover[:2]) / side
    columns, rows = (
        np.clip(
            (cover[axis] + (np.arange(side) + 0.5) * step[axis]).astype(int), 0, stencil.shape[1 - axis] - 1
        )
        for axis in (0, 1)
    )
    return stencil[np.ix_(rows, columns)].astype(np.uint8)


def _hide_keypoints(keypoints: np.ndarray, stencil: np.ndarray) -> np.ndarray:
    """Keypoints (n, K, 3) of which those under the stencil are labelled, but not visible."""
    columns = np.clip(keypoints[..., 0].astype(int), 0, stencil.shape[1] - 1)
    rows = np.clip(keypoints[..., 1].astype(int), 0, stencil.shape[0] - 1)
    hidden = stencil[rows, columns] & (keypoints[..., 2] == VISIBLE)
    result = keypoints.copy()
    result[..., 2][hidden] = HIDDEN
    return result
