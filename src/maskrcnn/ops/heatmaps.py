"""Keypoints as one-hot S x S heatmaps over a RoI (He et al. 2017, section 5): targets from points, points
from logits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

AREA_OF_BOX = 0.53  # an object's share of its box, where its mask is not known


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


def decode_oks(logits: Tensor, boxes: Tensor, sigmas: Tensor) -> Tensor:
    """Keypoints of fixed shape: where the OKS that can be expected is largest.

    A heatmap's softmax says how likely the keypoint is in each cell, and OKS (COCO's similarity of keypoints)
    what a point is worth at a distance from the true one: exp(-d^2 / (2 area (2 sigma)^2)). Its expectation
    over the cells is the softmax blurred by that bell, whose width is the keypoint's own tolerance: wide for
    a hip, narrow for an eye.

    Args:
        logits: (N, K, S, S).
        boxes: (N, 4) xyxy in pixels.
        sigmas: (K,) the tolerance of each keypoint.

    Returns:
        (N, K, 3) x, y in pixels and the OKS expected there, 0 to 1.
    """
    side = logits.shape[-1]
    extent = (boxes[:, 2:] - boxes[:, :2]).float().clamp(min=1e-6)
    probability = logits.flatten(2).float().softmax(-1).view(logits.shape)
    # the object's area is not known, and is that share of its box's in COCO's labels of people
    variance = (2 * sigmas.float()) ** 2 * AREA_OF_BOX * extent.prod(1, keepdim=True)  # (N, K)
    cells = torch.arange(side, dtype=torch.float32, device=logits.device)
    distance = ((cells[:, None] - cells) / side).square()  # (S, S) of the box's side

    def bell(length: Tensor) -> Tensor:
        """(N, K, S, S): what a point in a cell of a row or column is worth if the true one is in another."""
        return torch.exp(-distance * (length.square()[:, None] / (2 * variance))[..., None, None])

    expected = bell(extent[:, 1]) @ probability @ bell(extent[:, 0])
    # The logarithm of a bell is a parabola, of several nearly one: over a bell of a cell's width the step
    # between cells gains 0.004 of OKS on average, and now and then loses as much.
    x, y, best = _peak(expected.clamp(min=1e-20).log().flatten(2), side)
    score = expected.flatten(2).gather(-1, best.unsqueeze(-1)).squeeze(-1).clamp(max=1)
    return _in_pixels(x, y, score, boxes, side)


def decode_subpixel(logits: Tensor, boxes: Tensor) -> Tensor:
    """Keypoints of fixed shape: the best cell, moved towards its better neighbour by a parabola through the
    logits.

    Args:
        logits: (N, K, S, S).
        boxes: (N, 4) xyxy in pixels.

    Returns:
        (N, K, 3) x, y in pixels and the probability that the softmax gives to the best cell and the eight
        around it.
    """
    side = logits.shape[-1]
    flat = logits.flatten(2).float()
    x, y, best = _peak(flat, side)
    near = F.avg_pool2d(flat.softmax(-1).view(logits.shape), 3, 1, 1) * 9
    score = near.flatten(2).gather(-1, best.unsqueeze(-1)).squeeze(-1).clamp(max=1)
    return _in_pixels(x, y, score, boxes, side)


def _peak(flat: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where the largest of the values (N, K, S * S) is, in cells: x and y (N, K), and the cell's index.

    A parabola through the cell and its neighbours says where between them.
    """
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
    return place_x, place_y, best


def _in_pixels(x: Tensor, y: Tensor, score: Tensor, boxes: Tensor, side: int) -> Tensor:
    """(N, K, 3): places in cells of the boxes' heatmaps as pixels, and the scores."""
    width, height = (boxes[:, None, 2] - boxes[:, None, 0]), (boxes[:, None, 3] - boxes[:, None, 1])
    return torch.stack(
        [boxes[:, None, 0] + x / side * width, boxes[:, None, 1] + y / side * height, score], -1
    )


def decode_resize(logits: Tensor, boxes: Tensor) -> Tensor:
    """Keypoints as the peers find them: the heatmap resized (bicubic) to the box's own pixels, then the best
    pixel.

    The size of every resized map depends on its box, so this runs after the network, box by box.

    Args:
        logits: (N, K, S, S).
        boxes: (N, 4) xyxy in pixels.

    Returns:
        (N, K, 4): x, y in pixels, the logit there, and its share of the unresized map's softmax (detectron2's
        score; torchvision's is the logit).
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
