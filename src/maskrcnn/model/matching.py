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
    rescued: Tensor  # (B, N) bool: no box overlaps some object more, so it stands for it however little
    rescuer: Tensor  # (B, N) int64: the last such object's slot


def match(
    boxes: Tensor,
    objects: Tensor,
    valid: Tensor,
    ignore: Tensor,
    ignore_iou: float | None,
    low_quality: float | None = None,
) -> Match:
    """The best object of every box and, if asked, the best boxes of every object, of which several may tie.

    Args:
        boxes: (B, N, 4), or (1, N, 4) for the same boxes in every image.
        objects: (B, G, 4) with `valid` (B, G) and `ignore` (B, G).
        ignore_iou: a box is ignored when more than this share of it lies in one ignore region; None: never.
        low_quality: an object whose best overlap is 0 or below this rescues no box; None: none does.
    """
    images, count = objects.shape[0], boxes.shape[1]
    best = boxes.new_zeros(images, count)
    index = torch.zeros(images, count, dtype=torch.int64, device=boxes.device)
    ignored = torch.zeros(images, count, dtype=torch.bool, device=boxes.device)
    rescued, rescuer = torch.zeros_like(ignored), torch.zeros_like(index)
    # an empty box at the corner overlaps nothing
    regions, objects = objects * ignore.unsqueeze(-1), objects * valid.unsqueeze(-1)
    for start, stop in _chunks(images, count, objects.shape[1], boxes.device):
        # objects first, boxes last: each step then runs along memory
        iou = pairwise_iou(objects[:, start:stop], boxes)
        value, where = iou.max(1)
        better = value > best
        best, index = torch.where(better, value, best), torch.where(better, where + start, index)
        if ignore_iou is not None:
            ignored = ignored | (pairwise_ioa(regions[:, start:stop], boxes).amax(1) > ignore_iou)
        if low_quality is not None:
            most = iou.amax(2, keepdim=True)
            most = torch.where((most > 0) & (most >= low_quality), most, torch.full_like(most, 2.0))
            value, where = (iou == most).flip(1).max(1)  # of several such objects the last
            rescued, rescuer = rescued | value, torch.where(value, stop - 1 - where, rescuer)
    return Match(best, index, ignored, rescued, rescuer)


def _chunks(images: int, count: int, objects: int, device: torch.device) -> list[tuple[int, int]]:
    """Ranges of object slots whose overlaps stay within the budget."""
    budget = _OVERLAPS if device.type == "cpu" else _OVERLAPS_OF_ACCELERATOR
    step = max(1, budget // max(1, images * count))
    return [(start, min(start + step, objects)) for start in range(0, objects, step)]
