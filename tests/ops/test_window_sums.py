"""Adaptive RoIAlign of boxes of many sizes together against each box alone, forward and backward."""

from __future__ import annotations

import pytest
import torch

from maskrcnn.ops import roi_align as module
from maskrcnn.ops.roi_align import roi_align

STRIDES = [4, 8]


def maps_and_boxes() -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two images' maps, and 60 boxes from less than a cell to beyond the image, flat and tall ones."""
    torch.manual_seed(5)
    features = [torch.randn(2, 3, 96 // s, 128 // s, dtype=torch.float64) for s in STRIDES]
    sides = torch.exp(torch.empty(60, 2, dtype=torch.float64).uniform_(0.7, 4.8))
    corner = torch.rand(60, 2, dtype=torch.float64) * torch.tensor([140.0, 110.0]) - 15
    boxes = torch.cat([corner, corner + sides], 1)
    boxes[7, :2], boxes[7, 2:] = corner[7] + sides[7], corner[7]  # inside out
    return features, boxes, torch.arange(60) % 2, torch.arange(60) // 2 % 2


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("most", [1 << 24, 3000])
@pytest.mark.parametrize("levels", [1, 2])
def test_boxes_together_are_as_each_alone(
    aligned: bool, most: int, levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOKUPS", most)
    features, boxes, image, level = maps_and_boxes()
    features, strides, level = features[:levels], STRIDES[:levels], level.clamp(max=levels - 1)
    for each in features:
        each.requires_grad_(True)
    together = roi_align(features, strides, boxes, image, level, size=3, sampling_ratio=0, aligned=aligned)
    weights = torch.randn_like(together)
    gradients = torch.autograd.grad((together * weights).sum(), features)
    parts, sums = [], [torch.zeros_like(each) for each in features]
    for place in range(len(boxes)):
        one = slice(place, place + 1)
        # with a gradient of the box asked for, the general way is taken
        asked = boxes[one].clone().requires_grad_(True)
        alone = roi_align(
            features, strides, asked, image[one], level[one], size=3, sampling_ratio=0, aligned=aligned
        )
        found = torch.autograd.grad((alone * weights[one]).sum(), features, allow_unused=True)
        sums = [total if part is None else total + part for total, part in zip(sums, found, strict=True)]
        parts.append(alone.detach())
    torch.testing.assert_close(together.detach(), torch.cat(parts))
    for gradient, total in zip(gradients, sums, strict=True):
        torch.testing.assert_close(gradient, total)
