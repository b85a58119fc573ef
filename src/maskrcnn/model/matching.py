"""Which object each anchor or proposal stands for (Ren et al. 2015, section 3.1.2), in bounded memory.

Objects are taken a few at a time, so that the overlaps of 270,000 anchors with 2,000 objects never exist at
once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn.ops.boxes import pairwise_ioa, pairwise_iou

# overlaps held at a time: few enough to stay near a processor; an accelerator wants few and large steps,
# within its memory
_OVERLAPS, _OVERLAPS_OF_ACCELERATOR = 1 << 19, 1 << 26


class Match(NamedTuple):
    iou: Tensor  # (B, N) overlap with the best object; 0 where there is none
    index: Tensor  # type: ignore[assignment]  # (B, N) int64: that object's slot
    ignored: Tensor  # (B, N) bool: lies in a crowd region


def match(boxes: Tensor, objects: Tensor, valid: Tensor, ignore: Tensor, ignore_iou: float | None) -> Match:
    """The best object of every box.

    Args:
        boxes: (B, N, 4), or (1, N, 4) for the same boxes in every image.
        objects: (B, G, 4) with `valid` (B, G) and `ignore` (B, G).
        ignore_iou: a box is ignored when more than this share of it lies in one ignore region; None: never.
    """
    images, count = objects.shape[0], boxes.shape[1]
    best = boxes.new_zeros(images, count)
    index = torch.zeros(images, count, dtype=torch.int64, device=boxes.device)
    ignored = torch.zeros(images, count, dtype=torch.bool, device=boxes.device)
    # an empty box at the corner overlaps nothing
    regions, objects = objects * ignore.unsqueeze(-1), objects * valid.unsqueeze(-1)
    for start, stop in _chunks(images, count, objects.shape[1], boxes.device):
        # objects first, boxes last: each step then runs along memory
        value, where = pairwise_iou(objects[:, start:stop], boxes).max(1)
        better = value > best
        best, index = torch.where(better, value, best), torch.where(better, where + start, index)
        if ignore_iou is not None:
            ignored = ignored | (pairwise_ioa(regions[:, start:stop], boxes).amax(1) > ignore_iou)
    return Match(best, index, ignored)


def match_low_quality(boxes: Tensor, objects: Tensor, valid: Tensor, min_iou: float) -> tuple[Tensor, Tensor]:
    """The anchors that are the best, or tie for the best, of some object: they stand for it however little
    they overlap.

    Returns:
        (B, N) bool and (B, N) int64: the last such object's slot. Objects whose best overlap is 0 or below
        `min_iou` have none.
    """
    images, count = objects.shape[0], boxes.shape[1]
    chosen = torch.zeros(images, count, dtype=torch.bool, device=boxes.device)
    index = torch.zeros(images, count, dtype=torch.int64, device=boxes.device)
    objects = objects * valid.unsqueeze(-1)
    for start, stop in _chunks(images, count, objects.shape[1], boxes.device):
        iou = pairwise_iou(objects[:, start:stop], boxes)
        highest = iou.amax(2, keepdim=True)
        # an object that nothing overlaps enough has no best anchor
        highest = torch.where((highest > 0) & (highest >= min_iou), highest, torch.full_like(highest, 2.0))
        value, where = (iou == highest).flip(1).max(1)  # of several such objects the last
        chosen = chosen | value
        index = torch.where(value, stop - 1 - where, index)
    return chosen, index


def _chunks(images: int, count: int, objects: int, device: torch.device) -> list[tuple[int, int]]:
    """Ranges of object slots whose overlaps stay within the budget."""
    budget = _OVERLAPS if device.type == "cpu" else _OVERLAPS_OF_ACCELERATOR
    step = max(1, budget // max(1, images * count))
    return [(start, min(start + step, objects)) for start in range(0, objects, step)]
