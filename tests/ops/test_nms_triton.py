"""NMS's Triton kernel against the plain way: on a GPU where there is one, else in Triton's interpreter, which
`test_roi_align_triton.py` starts."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch
from torch import Tensor

from maskrcnn.ops.nms import nms

GPU = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if GPU and not INTERPRETED else "cpu"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or not (GPU or INTERPRETED), reason="no GPU, no interpreter"
)


def clusters(sets: int, count: int, seed: int) -> Tensor:
    """Boxes (S, N, 4) of which many overlap."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(sets, count, 2, generator=generator) * 40
    return torch.cat([corner, corner + 5 + 25 * torch.rand(sets, count, 2, generator=generator)], 2)


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("sets", "count", "iou"), [(3, 37, 0.5), (2, 64, 0.0), (1, 1, 0.7), (2, 40, 0.9)])
def test_equals_the_plain_way(sets: int, count: int, iou: float, grouped: bool) -> None:
    from maskrcnn.ops.nms_kernel import nms_triton

    boxes = clusters(sets, count, count)
    boxes[:, ::7] = boxes[:, ::7].flip(-1)  # inside out
    boxes[:, 5:6] = boxes[:, 3:4]  # the same again
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand(sets, count, generator=generator) < 0.8
    groups = torch.randint(0, 3, (sets, count), generator=generator) if grouped else None
    on_device = None if groups is None else groups.to(DEVICE)
    kept = nms_triton(boxes.to(DEVICE), valid.to(DEVICE), on_device, iou)
    assert torch.equal(kept.cpu(), nms(boxes, valid, iou, groups))


def test_a_chain_and_what_is_not_valid() -> None:
    """Each box overlaps the next only, so every other one stays; one that is not valid takes out none."""
    from maskrcnn.ops.nms_kernel import nms_triton

    start = torch.arange(30.0)[:, None] * 4
    boxes = torch.cat([start, torch.zeros(30, 1), start + 6, torch.ones(30, 1)], 1)[None].to(DEVICE)
    valid = torch.ones(1, 30, dtype=torch.bool, device=DEVICE)
    assert nms_triton(boxes, valid, None, 0.1)[0].tolist() == [True, False] * 15
    boxes[0, 0, 2], valid[0, 0] = float("nan"), False
    assert nms_triton(boxes, valid, None, 0.1)[0].tolist() == [False, *[True, False] * 14, True]


def test_no_boxes() -> None:
    from maskrcnn.ops.nms_kernel import nms_triton

    for shape in ((0, 4), (3, 0)):
        valid = torch.ones(shape, dtype=torch.bool, device=DEVICE)
        assert nms_triton(torch.zeros(*shape, 4, device=DEVICE), valid, None, 0.5).shape == shape


@pytest.mark.skipif(DEVICE != "cuda", reason="on a CPU nothing is sent to the kernel")
@pytest.mark.parametrize("count", [2000, 6000])
def test_as_many_boxes_as_a_level_has(count: int) -> None:
    boxes = 20 * clusters(10, count, 0)
    boxes[..., 2:] = boxes[..., :2] + (boxes[..., 2:] - boxes[..., :2]) / 10
    valid = torch.ones(10, count, dtype=torch.bool)
    assert torch.equal(nms(boxes.cuda(), valid.cuda(), 0.7).cpu(), nms(boxes, valid, 0.7))
