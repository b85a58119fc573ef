"""RoIAlign against a slow loop that follows the paper's figure, and against what is known without one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from maskrcnn.ops import roi_align as module
from maskrcnn.ops.roi_align import roi_align, roi_align_bitmaps


def bilinear(feature: Tensor, y: float, x: float) -> Tensor | None:
    """The value (C,) of `feature` (C, H, W) at a point; None more than one cell outside."""
    height, width = feature.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return None
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    y0, x0 = math.floor(y), math.floor(x)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    top = feature[:, y0, x0] * (x0 + 1 - x) + feature[:, y0, x1] * (x - x0)
    bottom = feature[:, y1, x0] * (x0 + 1 - x) + feature[:, y1, x1] * (x - x0)
    return top * (y0 + 1 - y) + bottom * (y - y0)


def reference(
    feature: Tensor, stride: float, box: list[float], size: int, ratio: int, aligned: bool, reduce: str
) -> Tensor:
    """(C, size, size) of one box on one image's level."""
    x1, y1, x2, y2 = (v / stride - (0.5 if aligned else 0) for v in box)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1.0), max(height, 1.0)
    across, down = ratio or math.ceil(width / size), ratio or math.ceil(height / size)
    result = feature.new_zeros(feature.shape[0], size, size)
    for i in range(size):
        for j in range(size):
            samples = [
                bilinear(
                    feature,
                    y1 + (i + (r + 0.5) / down) * height / size,
                    x1 + (j + (s + 0.5) / across) * width / size,
                )
                for r in range(down)
                for s in range(across)
            ]
            there = [s for s in samples if s is not None]
            if there:
                stacked = torch.stack(there)
                result[:, i, j] = stacked.amax(0) if reduce == "max" else stacked.sum(0) / len(samples)
    return result


STRIDES = [4, 8]
BOXES = torch.tensor(
    [
        [3.1, 2.7, 41.3, 30.9],
        [-9.0, -7.5, 20.2, 18.4],  # beyond the upper left corner
        [30.3, 20.1, 70.7, 60.3],  # beyond the lower right corner
        [10.2, 11.3, 11.1, 12.9],  # smaller than a cell
        [0.0, 0.0, 48.0, 32.0],
        [5.6, 1.2, 9.8, 31.7],  # tall
    ],
    dtype=torch.float64,
)
IMAGE = torch.tensor([0, 1, 0, 1, 1, 0])
LEVEL = torch.tensor([0, 1, 1, 0, 0, 1])


def levels(seed: int = 0, channels: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, channels, 32 // s, 48 // s) for s in STRIDES]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("reduce", ["average", "max"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 3])
def test_equals_the_loop(size: int, ratio: int, aligned: bool, reduce: str) -> None:
    features = levels()
    pooled = roi_align(
        features,
        STRIDES,
        BOXES,
        IMAGE,
        LEVEL,
        size=size,
        sampling_ratio=ratio,
        aligned=aligned,
        reduce=reduce,
    )
    expected = torch.stack(
        [
            reference(features[lvl][p], STRIDES[lvl], box, size, ratio, aligned, reduce)
            for box, p, lvl in zip(BOXES.tolist(), IMAGE.tolist(), LEVEL.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(pooled, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("reduce", ["average", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_gradient(ratio: int, reduce: str) -> None:
    features = [f.requires_grad_() for f in levels(seed=1, channels=1)]
    few = slice(0, 4)

    def pooled(*maps: Tensor) -> Tensor:
        return roi_align(
            list(maps),
            STRIDES,
            BOXES[few],
            IMAGE[few],
            LEVEL[few],
            size=2,
            sampling_ratio=ratio,
            reduce=reduce,
        )

    assert torch.autograd.gradcheck(pooled, features)


@pytest.mark.parametrize("reduce", ["average", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_the_budget_of_lookups_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, ratio: int, reduce: str
) -> None:
    def pooled() -> Tensor:
        return roi_align(levels(), STRIDES, BOXES, IMAGE, LEVEL, size=3, sampling_ratio=ratio, reduce=reduce)

    whole = pooled()
    monkeypatch.setattr(module, "_LOOKUPS", 1)
    torch.testing.assert_close(pooled(), whole, atol=1e-14, rtol=0)


def test_memory_format_of_the_features_does_not_matter() -> None:
    plain = levels()
    channels_last = [f.contiguous(memory_format=torch.channels_last) for f in plain]
    one, other = (roi_align(f, STRIDES, BOXES, IMAGE, LEVEL, size=3) for f in (plain, channels_last))
    assert torch.equal(one, other)
    assert one.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("ratio", [0, 2, 3])
def test_a_ramp_gives_the_centres_of_the_bins(ratio: int) -> None:
    stride, side, size = 4, 24, 5
    centre = (torch.arange(side, dtype=torch.float64) + 0.5) * stride  # pixel at the centre of each cell
    ramp = torch.stack([centre.expand(side, side), centre[:, None].expand(side, side)])[None]
    box = torch.tensor([[11.3, 17.9, 61.2, 70.4]], dtype=torch.float64)
    pooled = roi_align(
        [ramp], [stride], box, torch.tensor([0]), torch.tensor([0]), size=size, sampling_ratio=ratio
    )[0]
    x1, y1, x2, y2 = box[0].tolist()
    step = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    torch.testing.assert_close(pooled[0], (x1 + step * (x2 - x1)).expand(size, size))
    torch.testing.assert_close(pooled[1], (y1 + step * (y2 - y1))[:, None].expand(size, size))


@pytest.mark.parametrize("reduce", ["average", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_a_box_outside_the_image_is_zero(ratio: int, reduce: str) -> None:
    boxes = torch.tensor([[200.0, 200, 240, 240], [-90, -90, -40, -40]], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.int64)
    pooled = roi_align(levels(), STRIDES, boxes, zero, zero, size=2, sampling_ratio=ratio, reduce=reduce)
    assert torch.equal(pooled, torch.zeros_like(pooled))


@pytest.mark.parametrize("ratio", [0, 2])
def test_a_box_without_extent_is_finite(ratio: int) -> None:
    boxes, zero = torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    for reduce in ("average", "max"):
        pooled = roi_align(levels(), STRIDES, boxes, zero, zero, size=2, sampling_ratio=ratio, reduce=reduce)
        assert torch.isfinite(pooled).all()


@pytest.mark.parametrize("reduce", ["average", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_no_boxes(ratio: int, reduce: str) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    features = [f.requires_grad_() for f in levels()]
    pooled = roi_align(features, STRIDES, BOXES[:0], none, none, size=7, sampling_ratio=ratio, reduce=reduce)
    assert pooled.shape == (0, 3, 7, 7)


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="'median'"):
        roi_align(levels(), STRIDES, BOXES, IMAGE, LEVEL, size=2, reduce="median")


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_bitmaps_equal_the_general_operator(ratio: int, aligned: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    bitmaps = torch.rand(6, 20, 16, generator=generator, dtype=torch.float64)
    boxes = BOXES / 2.5
    pooled = roi_align_bitmaps(bitmaps, boxes, size=7, sampling_ratio=ratio, aligned=aligned)
    expected = roi_align(
        [bitmaps[:, None]],
        [1],
        boxes,
        torch.arange(6),
        torch.zeros(6, dtype=torch.int64),
        size=7,
        sampling_ratio=ratio,
        aligned=aligned,
    )
    torch.testing.assert_close(pooled, expected[:, 0], atol=1e-12, rtol=0)


def test_no_bitmaps() -> None:
    assert roi_align_bitmaps(torch.zeros(0, 8, 8), torch.zeros(0, 4), size=7, sampling_ratio=0).shape == (
        0,
        7,
        7,
    )
