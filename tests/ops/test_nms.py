"""NMS against a greedy loop of ten lines."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.ops.nms import nms


def greedy(boxes: list, valid: list, iou: float, groups: list) -> list[bool]:
    """The definition, for one set sorted by falling score."""
    keep: list[bool] = []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        keep.append(valid[i])
        for j in range(i):
            a1, b1, a2, b2 = boxes[j]
            both = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
            union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - both
            if keep[j] and groups[i] == groups[j] and both > iou * union:
                keep[i] = False
    return keep


@st.composite
def sets(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes (S, N, 4) on a small integer grid, where duplicates, ties and exact overlaps are common."""
    s, n = draw(st.integers(1, 3)), draw(st.integers(0, 24))
    numbers = st.integers(0, 8)
    corner = torch.tensor(draw(st.lists(numbers, min_size=s * n * 2, max_size=s * n * 2))).view(s, n, 2)
    extent = torch.tensor(draw(st.lists(numbers, min_size=s * n * 2, max_size=s * n * 2))).view(s, n, 2)
    valid = torch.tensor(draw(st.lists(st.booleans(), min_size=s * n, max_size=s * n)), dtype=torch.bool)
    groups = torch.tensor(
        draw(st.lists(st.integers(0, 2), min_size=s * n, max_size=s * n)), dtype=torch.int64
    )
    return torch.cat([corner, corner + extent], -1).float(), valid.view(s, n), groups.view(s, n)


# thresholds that float32 holds exactly, so that the reference and the operator round alike at an exact tie
@settings(max_examples=150, deadline=None)
@given(
    sets(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.sampled_from([1, 2, 5, 8, 256]), st.booleans()
)
def test_equals_the_greedy_loop(
    case: tuple[torch.Tensor, torch.Tensor, torch.Tensor], iou: float, block: int, grouped: bool
) -> None:
    boxes, valid, groups = case
    if not grouped:
        groups = torch.zeros_like(groups)
    kept = nms(boxes, valid, iou, groups if grouped else None, block=block)
    expected = [
        greedy(b, v, iou, g) for b, v, g in zip(boxes.tolist(), valid.tolist(), groups.tolist(), strict=True)
    ]
    assert kept.dtype == torch.bool and kept.shape == valid.shape
    assert kept.tolist() == expected


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("block", [16, 100, 256, 1000])
def test_many_random_boxes_at_any_block(iou: float, block: int) -> None:
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(1, 300, 2, generator=generator, dtype=torch.float64) * 60
    boxes = torch.cat(
        [corner, corner + 5 + torch.rand(1, 300, 2, generator=generator, dtype=torch.float64) * 40], -1
    )
    valid = torch.rand(1, 300, generator=generator) > 0.1
    expected = greedy(boxes[0].tolist(), valid[0].tolist(), iou, [0] * 300)
    assert nms(boxes, valid, iou, block=block)[0].tolist() == expected


def test_a_chain_of_suppressions_alternates() -> None:
    # each box overlaps only its neighbours, so the answer takes as many rounds as there are boxes
    start = torch.arange(40.0)
    boxes = torch.stack([start, torch.zeros(40), start + 1.5, torch.ones(40)], -1)[None]
    kept = nms(boxes, torch.ones(1, 40, dtype=torch.bool), 0.1)
    assert kept[0].tolist() == [i % 2 == 0 for i in range(40)]


def test_overlap_equal_to_the_threshold_survives() -> None:
    boxes = torch.tensor([[[0.0, 0, 2, 1], [0, 0, 1, 1]]])  # IoU exactly 0.5
    assert nms(boxes, torch.ones(1, 2, dtype=torch.bool), 0.5).all()


def test_an_invalid_box_neither_survives_nor_suppresses() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(1, 3, 1)
    assert nms(boxes, torch.tensor([[False, True, True]]), 0.5).tolist() == [[False, True, False]]


def test_no_boxes() -> None:
    assert nms(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), 0.5).shape == (2, 0)
    assert not nms(torch.zeros(2, 5, 4), torch.zeros(2, 5, dtype=torch.bool), 0.5).any()
