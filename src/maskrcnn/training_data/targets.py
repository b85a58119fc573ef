"""An image's labels as training targets: the objects that a view shows, masks as small bitmaps.

A mask is never drawn at the image's size: polygons are drawn straight into an m x m bitmap over the object's
box, an RLE is read at that bitmap's sampling points. How a bitmap becomes a mask target is the mask head's
business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch

from maskrcnn.config.model import KeypointSchema
from maskrcnn.images.batch import Targets, empty_targets, round_up
from maskrcnn.images.view import View, transform_boxes, transform_keypoints
from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.polygons import clip_ring
from maskrcnn.masks.rle import MIN_POINTS, Rle, polygons_rle, rle_bitmap, string_runs
from maskrcnn.training_data.shapes import slots_holding

SMALLEST_SIDE = 1.0  # pixels; an object of which the view shows less is left out
SLOT_MULTIPLE = 8  # object slots are padded to this, so that few shapes exist


@dataclass
class ObjectTargets:
    """The n objects of one image; fields as in `maskrcnn.images.batch.Targets`, without padding."""

    boxes: np.ndarray  # (n, 4) float32 xyxy
    labels: np.ndarray  # (n,) int64
    ignore: np.ndarray  # (n,) bool
    masks: np.ndarray  # (n, m, m) uint8 0/1
    mask_boxes: np.ndarray  # (n, 4) float32 xyxy
    has_mask: np.ndarray  # (n,) bool
    keypoints: np.ndarray  # (n, K, 3) float32
    seed: int

    @classmethod
    def joined(cls, parts: Sequence[ObjectTargets], seed: int) -> ObjectTargets:
        """The objects of all parts."""
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
        return cls(**arrays, seed=seed)


ARRAYS = tuple(field.name for field in fields(ObjectTargets) if field.name != "seed")


def make_targets(
    image: LabelledImage,
    labels: list[int],
    view: View,
    mask_side: int,
    keypoints: KeypointSchema | None,
    seed: int,
) -> ObjectTargets:
    """The objects of `image` that `view` shows.

    Left out are objects of which less than a pixel in width or height remains, or that the view cuts so that
    no mask pixel remains. Crowds become regions to ignore, by their box.

    Args:
        labels: the model's class index for each class of the data set.
        mask_side: side of the mask bitmaps; 0 for none.
        keypoints: None for none.
        seed: what the random choices about this image derive from.
    """
    annotations = image.annotations
    whole = _boxes(annotations, view)
    boxes = np.clip(whole, 0, (view.width, view.height, view.width, view.height))
    large = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(axis=1)
    cut = (np.abs(boxes - whole) > 1e-6).any(axis=1)
    mask_boxes = boxes.copy()
    masks = np.zeros((len(annotations), mask_side, mask_side), np.uint8)
    has_mask = np.zeros(len(annotations), bool)
    for i in np.flatnonzero(large):
        annotation = annotations[i]
        if mask_side == 0 or annotation.crowd or not annotation.has_mask:
            continue
        masks[i] = mask_bitmap(annotation, view, mask_boxes[i], (mask_side, mask_side))
        has_mask[i] = masks[i].any()
        if not cut[i]:
            continue
        if has_mask[i]:
            boxes[i] = extent(masks[i], mask_boxes[i])
        large[i] = has_mask[i] and (boxes[i, 2:] - boxes[i, :2] >= SMALLEST_SIDE).all()
    return ObjectTargets(
        boxes=boxes[large].astype(np.float32),
        labels=np.array([labels[a.label] for a in annotations], np.int64)[large],
        ignore=np.array([a.crowd for a in annotations], bool)[large],
        masks=masks if large.all() else masks[large],
        mask_boxes=mask_boxes[large].astype(np.float32),
        has_mask=has_mask[large],
        keypoints=_keypoints(annotations, view, keypoints)[large],
        seed=seed,
    )


def mask_bitmap(annotation: Annotation, view: View, box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The object's mask inside `box`, sampled at the centres of the bitmap's pixels.

    Args:
        box: (4,) xyxy in the view's pixels.
        shape: height and width of the bitmap.

    Returns:
        uint8 (height, width) 0/1.
    """
    zoom = np.array(shape[::-1]) / (box[2:] - box[:2])
    linear = zoom[:, None] * view.matrix[:, :2]  # original pixels to bitmap pixels
    shift = zoom * (view.matrix[:, 2] - box[:2])
    if annotation.polygons is not None:
        return _draw_polygons([ring @ linear.T + shift for ring in annotation.polygons], shape)
    if annotation.rle is not None:
        rows, columns = np.indices(shape)
        centres = np.stack([columns + 0.5, rows + 0.5], axis=-1)
        return _sample_rle(annotation.rle, (centres - shift) @ np.linalg.inv(linear).T)
    return np.zeros(shape, np.uint8)


def collate_targets(objects: list[ObjectTargets], few_shapes: bool = False) -> Targets:
    """The targets of a batch, padded to a common number of slots: a multiple of 8, at least 8; or one of the
    `few_shapes` that there are graphs for.
    """
    most = max(len(o.boxes) for o in objects)
    slots = slots_holding(most) if few_shapes else round_up(max(1, most), SLOT_MULTIPLE)
    targets = empty_targets(len(objects), slots, objects[0].masks.shape[-1], objects[0].keypoints.shape[1])
    for b, each in enumerate(objects):
        n = len(each.boxes)
        for name in ARRAYS:
            getattr(targets, name)[b, :n] = torch.from_numpy(getattr(each, name))
        targets.valid[b, :n] = torch.from_numpy(~each.ignore)
        targets.seeds[b] = each.seed
    return targets


def _draw_polygons(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The union of rings given in bitmap pixels, as COCO draws them."""
    near = []
    reach = max(shape)
    for ring in rings:
        # pycocotools walks every fifth of a pixel of the outline, also far outside of the bitmap
        if ring.size and (ring.min() < -reach or ring.max() > 2 * reach):
            ring = clip_ring(ring, (-2.0, -2.0, reach + 2.0, reach + 2.0))
        if len(ring) >= MIN_POINTS:
            near.append(ring)
    drawn = polygons_rle(near, *shape)
    return np.zeros(shape, np.uint8) if drawn is None else rle_bitmap(drawn)


def _sample_rle(rle: Rle, points: np.ndarray) -> np.ndarray:
    """The mask at points (h, w, 2) of x, y in the original's pixels: uint8 (h, w); 0 outside of the image."""
    height, width = rle["size"]
    full = rle_bitmap(rle)
    columns, rows = np.floor(points).astype(np.intp).transpose(2, 0, 1)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return np.where(inside, full[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)], 0)


def _boxes(annotations: list[Annotation], view: View) -> np.ndarray:
    """(n, 4) float64 xyxy in the view's pixels, not clipped to it; in a view that tilts, around the mask if
    there is one."""
    boxes = transform_boxes(np.array([a.box for a in annotations], np.float64).reshape(-1, 4), view)
    if not view.upright:
        for box, annotation in zip(boxes, annotations, strict=True):
            corners = (
                np.concatenate(annotation.polygons) if annotation.polygons else _rle_corners(annotation.rle)
            )
            if len(corners):
                corners = view.points(corners)
                box[:] = [*corners.min(axis=0), *corners.max(axis=0)]
    return boxes


def _rle_corners(rle: Rle | None) -> np.ndarray:
    """(k, 2) float64 x, y: corners of pixels of a mask, those of its hull among them; it is not decoded."""
    if rle is None:
        return np.zeros((0, 2))
    height = int(rle["size"][0])
    ends = np.cumsum(string_runs(rle["counts"]))
    first, last = ends[:-1:2], ends[1::2] - 1
    first, last = first[first <= last], last[first <= last]
    # a run that goes on in the next column has both ends of these columns too
    goes_on = first // height < last // height
    bottom, top = first[goes_on] // height * height + height - 1, last[goes_on] // height * height
    columns, rows = np.divmod(np.concatenate([first, last, bottom, bottom + 1, top, top - 1]), height)
    corners = [(columns + right, rows + below) for right in (0, 1) for below in (0, 1)]
    return np.concatenate([np.stack(corner, axis=1) for corner in corners]).astype(np.float64)


def extent(bitmap: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The smallest box (4,) around the set pixels of a bitmap that covers `box`."""
    left, top, width, height = cv2.boundingRect(bitmap)
    ends = np.array([left, top, left + width, top + height], np.float64)
    return np.tile(box[:2], 2) + ends * np.tile((box[2:] - box[:2]) / bitmap.shape[::-1], 2)


def _keypoints(annotations: list[Annotation], view: View, schema: KeypointSchema | None) -> np.ndarray:
    """(n, K, 3) float32 in the view's pixels; zeros for an object that has none."""
    count = len(schema.names) if schema else 0
    points = np.zeros((len(annotations), count, 3))
    if schema is None:
        return points.astype(np.float32)
    for i, annotation in enumerate(annotations):
        if annotation.keypoints is not None:
            points[i] = annotation.keypoints
    return transform_keypoints(points, view, schema.flip).astype(np.float32)
