"""Keypoints as one-hot S x S heatmaps over a RoI (He et al. 2017, section 5): targets from points, points from logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def encode(keypoints: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The heatmap cell of each keypoint.

    Args:
        keypoints: (N, K, 3) x, y in pixels, visibility.
        boxes: (N, 4) xyxy in pixels.
        side: cells per side of the heatmap.

    Returns:
        cell (N, K) int64 in 0 .. side*side-1, and (N, K) bool: labelled and inside the box.
    """
    origin, extent = boxes[:, None, :2], (boxes[:, None, 2:] - boxes[:, None, :2]).clamp(min=1e-6)
    offset = keypoints[..., :2] - origin
    place = torch.floor(offset / extent * side)
    # a keypoint on the far border belongs to the last cell
    place = torch.where(keypoints[..., :2] == boxes[:, None, 2:], torch.full_like(place, side - 1), place)
    inside = ((place >= 0) & (place < side)).all(-1) & (keypoints[..., 2] > 0)
    place = place.clamp(0, side - 1).long()
    return torch.where(inside, place[..., 1] * side + place[..., 0], 0), inside


def decode_subpixel(logits: Tensor, boxes: Tensor) -> Tensor:
    """Keypoints of fixed shape: the best cell, moved towards its better neighbour by a parabola through the logits.

    Args:
        logits: (N, K, S, S).
        boxes: (N, 4) xyxy in pixels.

    Returns:
        (N, K, 3) x, y in pixels and the probability that the softmax gives to the best cell and the eight around it.
    """
    n, k, side = logits.shape[0], logits.shape[1], logits.shape[-1]
    flat = logits.flatten(2).float()
    best = flat.argmax(-1)
    y, x = best // side, best % side

    def at(row: Tensor, col: Tensor) -> Tensor:
        index = row.clamp(0, side - 1) * side + col.clamp(0, side - 1)
        return flat.gather(-1, index.unsqueeze(-1)).squeeze(-1)

    def shift(place: Tensor, before: Tensor, here: Tensor, after: Tensor) -> Tensor:
        curvature = (2 * here - before - after).clamp(min=1e-6)
        # a peak on the border has no neighbour there to lean on
        inner = (place > 0) & (place < side - 1)
        return ((after - before) / (2 * curvature)).clamp(-0.5, 0.5) * inner

    peak = at(y, x)
    place_x = x + 0.5 + shift(x, at(y, x - 1), peak, at(y, x + 1))
    place_y = y + 0.5 + shift(y, at(y - 1, x), peak, at(y + 1, x))
    width, height = (boxes[:, None, 2] - boxes[:, None, 0]), (boxes[:, None, 3] - boxes[:, None, 1])
    probability = flat.softmax(-1).view(n, k, side, side)
    near = F.avg_pool2d(probability, 3, 1, 1) * 9
    score = near.flatten(2).gather(-1, best.unsqueeze(-1)).squeeze(-1).clamp(max=1)
    return torch.stack(
        [boxes[:, None, 0] + place_x / side * width, boxes[:, None, 1] + place_y / side * height, score], -1
    )


def decode_resize(logits: Tensor, boxes: Tensor) -> Tensor:
    """Keypoints as the peers find them: the heatmap resized (bicubic) to the box's own pixels, then the best pixel.

    The size of every resized map depends on its box, so this runs after the network, box by box.

    Args:
        logits: (N, K, S, S).
        boxes: (N, 4) xyxy in pixels.

    Returns:
        (N, K, 4): x, y in pixels, the logit there, and its share of the unresized map's softmax (detectron2's score;
        torchvision's is the logit).
    """
    n, k, side = logits.shape[:3]
    result = logits.new_zeros(n, k, 4)
    for i in range(n):
        x1, y1, x2, y2 = boxes[i].tolist()
        width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
        columns, rows = -int(-width // 1), -int(-height // 1)
        resized = F.interpolate(logits[i][None], (rows, columns), mode="bicubic", align_corners=False)[0]
        value, best = resized.flatten(1).max(-1)
        total = torch.exp(logits[i].flatten(1) - value.unsqueeze(-1)).sum(-1)
        result[i, :, 0] = x1 + (best % columns + 0.5) * (width / columns)
        result[i, :, 1] = y1 + (best // columns + 0.5) * (height / rows)
        result[i, :, 2] = value
        result[i, :, 3] = 1.0 / total
    return result
