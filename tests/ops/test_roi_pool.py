"""RoIPool against a slow loop over the cells of each bin."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from maskrcnn.ops import roi_pool as module
from maskrcnn.ops.roi_align import roi_align
from maskrcnn.ops.roi_pool import roi_pool, round_to_cells

STRIDES = [4, 8]
BOXES = torch.tensor(
    [
        [3.1, 2.7, 41.3, 30.9],
        [-9.0, -7.5, 20.2, 18.4],
        [30.3, 20.1, 70.7, 60.3],
        [10.2, 11.3, 11.1, 12.9],
        [0.0, 0.0, 48.0, 32.0],
        [2.0, 6.0, 10.0, 30.0],  # halves of a cell: rounded away from zero
        [-6.0, -2.0, 14.0, 18.0],
    ],
    dtype=torch.float64,
)
IMAGE = torch.tensor([0, 1, 0, 1, 1, 0, 1])
LEVEL = torch.tensor([0, 1, 1, 0, 0, 0, 0])


def levels(seed: int = 0, channels: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, channels, 32 // s, 48 // s) for s in STRIDES]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def nearest(value: float) -> int:
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def reference(feature: Tensor, stride: float, box: list[float], size: int) -> Tensor:
    """(C, size, size) of one box on one image's level."""
    channels, height, width = feature.shape
    x1, y1, x2, y2 = (nearest(v / stride) for v in box)
    across, down = max(x2 - x1 + 1, 1) / size, max(y2 - y1 + 1, 1) / size
    result = feature.new_zeros(channels, size, size)
    for i in range(size):
        for j in range(size):
            top, bottom = (
                min(max(v + y1, 0), height) for v in (math.floor(i * down), math.ceil((i + 1) * down))
            )
            left, right = (
                min(max(v + x1, 0), width) for v in (math.floor(j * across), math.ceil((j + 1) * across))
            )
            if bottom > top and right > left:
                result[:, i, j] = feature[:, top:bottom, left:right].amax((1, 2))
    return result


@pytest.mark.parametrize("size", [1, 3, 7])
def test_equals_the_loop(size: int) -> None:
    features = levels()
    pooled = roi_pool(features, STRIDES, BOXES, IMAGE, LEVEL, size=size)
    expected = torch.stack(
        [
            reference(features[lvl][p], STRIDES[lvl], box, size)
            for box, p, lvl in zip(BOXES.tolist(), IMAGE.tolist(), LEVEL.tolist(), strict=True)
        ]
    )
    assert torch.equal(pooled, expected)


def test_gradient() -> None:
    features = [f.requires_grad_() for f in levels(seed=1, channels=1)]
    few = slice(0, 4)
    assert torch.autograd.gradcheck(
        lambda *maps: roi_pool(list(maps), STRIDES, BOXES[few], IMAGE[few], LEVEL[few], size=2), features
    )


def test_the_gradient_goes_to_one_of_equal_cells() -> None:
    """As Girshick (2015), eq. 4, has it."""
    feature = torch.ones(1, 1, 8, 8, requires_grad=True)
    zero = torch.zeros(1, dtype=torch.long)
    roi_pool([feature], [1], torch.tensor([[0.0, 0.0, 7.0, 7.0]]), zero, zero, size=2).sum().backward()
    wanted = torch.zeros(8, 8)
    wanted[::4, ::4] = 1  # the first of each bin
    assert torch.equal(feature.grad[0, 0], wanted)  # type: ignore[index]


def test_the_budget_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = roi_pool(levels(), STRIDES, BOXES, IMAGE, LEVEL, size=3)
    monkeypatch.setattr(module, "_GATHERED", 1)
    assert torch.equal(roi_pool(levels(), STRIDES, BOXES, IMAGE, LEVEL, size=3), whole)


def test_a_box_outside_the_image_is_zero() -> None:
    boxes = torch.tensor([[200.0, 200, 240, 240], [-90, -90, -40, -40]], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.int64)
    assert not roi_pool(levels(), STRIDES, boxes, zero, zero, size=2).any()


def test_no_boxes() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert roi_pool(levels(), STRIDES, BOXES[:0], none, none, size=7).shape == (0, 3, 7, 7)


def warped(feature: Tensor, stride: float, box: list[float], size: int) -> Tensor:
    """(C, size, size) by RoIWarp: four bilinear samples in each bin of the rounded box."""
    channels, height, width = feature.shape
    x1, y1, x2, y2 = (nearest(v / stride) for v in box)
    across, down = max(x2 - x1 + 1, 1) / size, max(y2 - y1 + 1, 1) / size
    result = feature.new_zeros(channels, size, size)
    for i in range(size):
        for j in range(size):
            for part in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
                # the centre of a cell is half a cell behind its border
                y, x = y1 + (i + part[0]) * down - 0.5, x1 + (j + part[1]) * across - 0.5
                if -1 <= y <= height and -1 <= x <= width:
                    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
                    top, left = int(y), int(x)
                    low, right = min(top + 1, height - 1), min(left + 1, width - 1)
                    v, u = y - top, x - left
                    upper = feature[:, top, left] * (1 - u) + feature[:, top, right] * u
                    lower = feature[:, low, left] * (1 - u) + feature[:, low, right] * u
                    result[:, i, j] += (upper * (1 - v) + lower * v) / 4
    return result


@pytest.mark.parametrize("size", [1, 3, 7])
def test_roi_warp_equals_the_loop(size: int) -> None:
    features = levels()
    boxes = round_to_cells(BOXES, torch.tensor(STRIDES, dtype=torch.float64)[LEVEL])
    pooled = roi_align(features, STRIDES, boxes, IMAGE, LEVEL, size=size, sampling_ratio=2)
    expected = torch.stack(
        [
            warped(features[lvl][p], STRIDES[lvl], box, size)
            for box, p, lvl in zip(BOXES.tolist(), IMAGE.tolist(), LEVEL.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(pooled, expected, atol=1e-12, rtol=0)


def test_a_box_on_whole_cells_is_rounded_to_one_cell_more() -> None:
    boxes = torch.tensor([[16.0, 32.0, 48.0, 64.0], [17.0, 30.0, 18.0, 31.0]])
    rounded = round_to_cells(boxes, torch.tensor([16.0, 16.0]))
    assert rounded.tolist() == [[16, 32, 64, 80], [16, 32, 32, 48]]
