"""Arithmetic of boxes: xyxy, continuous, half-open, so that width = x2 - x1. Shapes may carry any leading
dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# exp() of a larger predicted log-scale would make a box of more than 1000/16 its anchor (Fast R-CNN's
# release)
MAX_LOG_SCALE = math.log(1000.0 / 16)


def area(boxes: Tensor) -> Tensor:
    """Areas (...,) of boxes (..., 4) in square pixels; zero for reversed boxes."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise intersection areas (..., N, M) of boxes (..., N, 4) and (..., M, 4)."""
    # at millions of pairs the time goes into memory: each coordinate in a row of its own, and in place where
    # it can be
    ax1, ay1, ax2, ay2 = (side.contiguous().unsqueeze(-1) for side in a.unbind(-1))
    bx1, by1, bx2, by2 = (side.contiguous().unsqueeze(-2) for side in b.unbind(-1))
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).clamp_(min=0)
    return width.mul_(height)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise intersection over union (..., N, M); 0 where both boxes are empty."""
    both = intersection(a, b)
    union = (area(a).unsqueeze(-1) + area(b).unsqueeze(-2)).sub_(both).clamp_(min=1e-9)
    return both.div_(union)


def pairwise_ioa(regions: Tensor, boxes: Tensor) -> Tensor:
    """Pairwise share (..., N, M) of each of M boxes that lies inside each of N regions: how COCO measures
    crowds.
    """
    return intersection(regions, boxes).div_(area(boxes).unsqueeze(-2).clamp(min=1e-9))


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes (B, N, 4) cut to images of `sizes` (B, 2), height then width."""
    height, width = (sizes[:, i, None].to(boxes.dtype) for i in (0, 1))
    x1, y1, x2, y2 = boxes.unbind(-1)
    zero = torch.zeros_like(width)
    clipped = [x1.clamp(zero, width), y1.clamp(zero, height), x2.clamp(zero, width), y2.clamp(zero, height)]
    return torch.stack(clipped, -1)


def encode(boxes: Tensor, references: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Deltas (..., 4) that take `references` to `boxes` (R-CNN, appendix C), times `weights`."""
    w_ref = (references[..., 2] - references[..., 0]).clamp(min=1e-6)
    h_ref = (references[..., 3] - references[..., 1]).clamp(min=1e-6)
    w = (boxes[..., 2] - boxes[..., 0]).clamp(min=1e-6)
    h = (boxes[..., 3] - boxes[..., 1]).clamp(min=1e-6)
    dx = ((boxes[..., 0] + boxes[..., 2]) - (references[..., 0] + references[..., 2])) / 2 / w_ref
    dy = ((boxes[..., 1] + boxes[..., 3]) - (references[..., 1] + references[..., 3])) / 2 / h_ref
    deltas = (dx, dy, torch.log(w / w_ref), torch.log(h / h_ref))
    return torch.stack([delta * weight for delta, weight in zip(deltas, weights, strict=True)], -1)


def decode(deltas: Tensor, references: Tensor, weights: tuple[float, float, float, float]) -> Tensor:
    """Boxes (..., 4) that `deltas` (..., 4) make of `references` (..., 4): the inverse of `encode`, in
    float32.
    """
    deltas, references = deltas.float(), references.float()
    w_ref = references[..., 2] - references[..., 0]
    h_ref = references[..., 3] - references[..., 1]
    x = references[..., 0] + 0.5 * w_ref + deltas[..., 0] / weights[0] * w_ref
    y = references[..., 1] + 0.5 * h_ref + deltas[..., 1] / weights[1] * h_ref
    w = torch.exp((deltas[..., 2] / weights[2]).clamp(max=MAX_LOG_SCALE)) * w_ref
    h = torch.exp((deltas[..., 3] / weights[3]).clamp(max=MAX_LOG_SCALE)) * h_ref
    return torch.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], -1)
