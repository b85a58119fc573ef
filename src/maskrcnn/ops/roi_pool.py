"""RoIPool (Girshick 2015), to compare with RoIAlign: the box is rounded to the grid, each bin is the maximum
of its cells; and its rounding, for RoIWarp.

The paper's Tables 2c, 2d and 6 measure what the rounding costs. For comparison only, so simple rather than
fast.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GATHERED = 1 << 22  # feature values gathered at a time


def roi_pool(
    features: list[Tensor],
    strides: list[int] | list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    *,
    size: int,
) -> Tensor:
    """Pools each box from its own level of its own image; arguments and result as in `roi_align`.

    A bin that holds no cell is 0. Outside a compiled graph it asks once per axis for the widest bin.
    """
    channels, count = features[0].shape[1], boxes.shape[0]
    device = boxes.device
    table = torch.cat([f.permute(0, 2, 3, 1).reshape(-1, channels) for f in features])
    cells = [f.shape[0] * f.shape[2] * f.shape[3] for f in features]
    start = torch.tensor([sum(cells[:i]) for i in range(len(cells))], device=device)[level]
    height = torch.tensor([f.shape[2] for f in features], device=device)[level]
    width = torch.tensor([f.shape[3] for f in features], device=device)[level]
    scale = boxes.new_tensor([1.0 / s for s in strides])[level].unsqueeze(-1)

    rows, row_used = _cells(boxes[:, 1::2] * scale, height, max(f.shape[2] for f in features), size)
    cols, col_used = _cells(boxes[:, 0::2] * scale, width, max(f.shape[3] for f in features), size)
    rows = (start + image * height * width)[:, None, None] + rows * width[:, None, None]
    step = max(1, _GATHERED // (size * size * rows.shape[2] * cols.shape[2] * channels))
    parts = []
    for i in range(0, count, step):
        here = slice(i, i + step)
        index = rows[here][:, :, None, :, None] + cols[here][:, None, :, None, :]
        used = row_used[here][:, :, None, :, None] & col_used[here][:, None, :, None, :]
        index, used = index.flatten(3), used.flatten(3)
        with torch.no_grad():  # only the cells that are the maximum are kept for the gradient
            found = table[index].masked_fill_(~used.unsqueeze(-1), -math.inf)
            slot = torch.arange(index.shape[3], dtype=torch.int32, device=device).unsqueeze(-1)
            slot = torch.where(found < found.amax(3, keepdim=True), index.shape[3], slot)
            best = slot.amin(3).long()  # argmax would take four times as long on a CPU
        largest = table.gather(0, index.gather(3, best).reshape(-1, channels)).view(best.shape)
        parts.append(torch.where(used.any(3, keepdim=True), largest, torch.zeros_like(largest)))
    pooled = torch.cat(parts) if parts else table.new_zeros(0, size, size, channels)
    return pooled.permute(0, 3, 1, 2)


def round_to_cells(boxes: Tensor, stride: Tensor) -> Tensor:
    """`boxes` (N, 4) xyxy as RoIPool rounds them: whole cells of `stride` (N,) pixels, the last included.

    RoIAlign of them is RoIWarp (Dai et al. 2016; He et al. 2017, section 3 and Table 2c): bilinear samples,
    but of a box that has been moved.
    """
    cells = _round(boxes / stride[:, None])
    return torch.cat([cells[:, :2], torch.maximum(cells[:, 2:], cells[:, :2]) + 1], 1) * stride[:, None]


def _round(values: Tensor) -> Tensor:
    """To whole numbers, halves away from zero, as C's round()."""
    return torch.sign(values) * torch.floor(values.abs() + 0.5)


def _cells(ends: Tensor, length: Tensor, longest: int, size: int) -> tuple[Tensor, Tensor]:
    """Cells (N, size, S) of each bin along one axis and which of the S slots are used."""
    rounded = _round(ends)
    extent = (rounded[:, 1] - rounded[:, 0] + 1).clamp(min=1)
    bins = extent / size
    index = torch.arange(size, device=ends.device, dtype=ends.dtype)
    limit = length.to(ends.dtype)[:, None]
    first = torch.minimum((torch.floor(index * bins[:, None]) + rounded[:, :1]).clamp(min=0), limit)
    last = torch.minimum((torch.ceil((index + 1) * bins[:, None]) + rounded[:, :1]).clamp(min=0), limit)
    bound = min(longest, math.ceil(longest / size) + 2)
    if not torch.compiler.is_compiling():
        bound = max(1, int((last - first).max())) if ends.shape[0] else 1
    slot = torch.arange(bound, device=ends.device)
    cells = first.long()[:, :, None] + slot
    used = cells < last.long()[:, :, None]
    return torch.minimum(cells, (length - 1)[:, None, None]), used
