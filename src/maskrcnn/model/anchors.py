"""Anchors: the boxes of fixed sizes and shapes, centred on every feature cell, that the RPN scores and
moves.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cell_anchors(sizes: list[float], ratios: list[float], rounded: bool) -> Tensor:
    """(sizes * ratios, 4) xyxy around the origin, for each size every ratio (height / width) at that area."""
    boxes = []
    for size in sizes:
        for ratio in ratios:
            width = (size * size / ratio) ** 0.5
            height = ratio * width
            boxes.append([-width / 2, -height / 2, width / 2, height / 2])
    anchors = torch.tensor(boxes, dtype=torch.float32)  # whatever PyTorch's default is
    return anchors.round() if rounded else anchors


def grid_anchors(
    shapes: list[tuple[int, int]], strides: list[int], cells: list[Tensor], of_image: bool = False
) -> list[Tensor]:
    """Per level (H * W * a, 4), in the order in which the RPN head's output is flattened.

    Args:
        shapes: (H, W) of each level.
        strides: pixels per cell; the centre of cell (0, 0) is at pixel (0, 0), as in the original.
        cells: (a, 4) anchors around the origin, per level.
        of_image: convention: torchvision takes the side of the padded image over the number of cells, rounded
            down. Where a side is no multiple of the coarsest stride, as 800 of 64, that is less.
    """
    levels = []
    sides = [side * strides[0] for side in shapes[0]]  # the finest level divides them
    for (height, width), stride, cell in zip(shapes, strides, cells, strict=True):
        down, across = (sides[0] // height, sides[1] // width) if of_image else (stride, stride)
        y = torch.arange(height, device=cell.device, dtype=cell.dtype) * down
        x = torch.arange(width, device=cell.device, dtype=cell.dtype) * across
        centre = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).reshape(
            -1, 1, 2
        )
        levels.append((torch.cat([centre, centre], -1) + cell).reshape(-1, 4))
    return levels
