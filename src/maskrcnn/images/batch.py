"""What goes into the network: images padded to one shape and, for training, what is in them.

Every tensor has a fixed shape and a `valid` beside it (design, section 3), so images with no object, one or a
thousand take the same path. B images, G object slots, m bitmap side, K keypoints. Boxes are xyxy in the pixels of the
padded images, continuous and half-open: a box over the whole image is (0, 0, width, height).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass
class Batch:
    """Images of one shape."""

    images: Tensor  # (B, C, H, W) uint8 or float, RGB, 0 to 255, padded right and below with anything
    sizes: Tensor  # (B, 2) int64: height and width of the image inside its padding
    scales: Tensor  # (B, 2) float: model pixels per original pixel, x then y
    originals: Tensor  # (B, 2) int64: height and width of the original image

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


@dataclass
class Targets:
    """The objects in a Batch. Slots whose `valid` is false hold zeros; a slot is never both valid and ignored."""

    boxes: Tensor  # (B, G, 4) float xyxy
    labels: Tensor  # (B, G) int64, 0 .. classes-1
    valid: Tensor  # (B, G) bool: an object to be found
    ignore: Tensor  # (B, G) bool: a crowd region; what lies in it is neither object nor background
    masks: Tensor  # (B, G, m, m) uint8 0/1; m = 0 where there are no masks
    mask_boxes: Tensor  # (B, G, 4) float xyxy: the box that each bitmap covers, not always the object's box
    has_mask: Tensor  # (B, G) bool: false where the label gives only a box
    keypoints: Tensor  # (B, G, K, 3) float: x, y, visibility (0 unlabelled, 1 hidden, 2 visible); K = 0 where none
    seeds: Tensor  # (B,) int64: what the random choices about this image derive from

    def to(self, device: torch.device | str) -> Targets:
        return Targets(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


def empty_targets(images: int, slots: int, mask_side: int, keypoints: int) -> Targets:
    """Targets of `images` with no object in them, to be filled in place."""
    return Targets(
        boxes=torch.zeros(images, slots, 4),
        labels=torch.zeros(images, slots, dtype=torch.int64),
        valid=torch.zeros(images, slots, dtype=torch.bool),
        ignore=torch.zeros(images, slots, dtype=torch.bool),
        masks=torch.zeros(images, slots, mask_side, mask_side, dtype=torch.uint8),
        mask_boxes=torch.zeros(images, slots, 4),
        has_mask=torch.zeros(images, slots, dtype=torch.bool),
        keypoints=torch.zeros(images, slots, keypoints, 3),
        seeds=torch.zeros(images, dtype=torch.int64),
    )
