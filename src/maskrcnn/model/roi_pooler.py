"""Pools every RoI from the pyramid level that fits its size (Lin et al. 2017, equation 1), by the configured
operator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from maskrcnn.config.model import RoiConfig
from maskrcnn.ops.boxes import area
from maskrcnn.ops.roi_align import roi_align
from maskrcnn.ops.roi_pool import roi_pool, round_to_cells


class RoiPooler:
    """Boxes and feature levels in, (N, C, size, size) out; holds no weights.

    Args:
        strides: of the levels that RoIs are pooled from.
    """

    def __init__(self, config: RoiConfig, strides: list[int]) -> None:
        self.config, self.strides = config, strides

    def __call__(self, features: list[Tensor], boxes: Tensor, image: Tensor, size: int) -> Tensor:
        """Features of `boxes` (N, 4) in the images `image` (N,); `features` per level (B, C, H, W)."""
        features = features[: len(self.strides)]
        level = self.level(boxes)
        config = self.config
        if config.op == "pool":
            return roi_pool(features, self.strides, boxes, image, level, size=size)
        if config.op == "warp":
            boxes = round_to_cells(boxes, boxes.new_tensor(self.strides)[level])
        return roi_align(
            features,
            self.strides,
            boxes,
            image,
            level,
            size=size,
            sampling_ratio=config.sampling_ratio,
            aligned=config.aligned,
            reduce=config.reduce,
        )

    def level(self, boxes: Tensor) -> Tensor:
        """(N,) index of each box's level: k = k0 + log2(sqrt(area) / 224), within those that exist."""
        if len(self.strides) == 1:
            return torch.zeros(boxes.shape[0], dtype=torch.int64, device=boxes.device)
        side = area(boxes).sqrt()
        k = torch.floor(self.config.canonical_level + torch.log2(side / self.config.canonical_size + 1e-8))
        finest = int(math.log2(self.strides[0]))
        return (k - finest).clamp(0, len(self.strides) - 1).long()
