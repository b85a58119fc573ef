"""Matching against plain loops, at any memory budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskrcnn.model import matching
from maskrcnn.model.matching import match
from maskrcnn.ops.boxes import pairwise_ioa, pairwise_iou


def grid_boxes(draw: st.DrawFn, *shape: int) -> Tensor:
    """Boxes (*shape, 4) on a small integer grid, where ties and duplicates are common; some are empty."""
    count = 4 * int(torch.tensor(shape).prod())
    numbers = (
        torch.tensor(draw(st.lists(st.integers(0, 6), min_size=count, max_size=count)))
        .view(*shape, 4)
        .float()
    )
    return torch.cat([numbers[..., :2], numbers[..., :2] + numbers[..., 2:]], -1)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """boxes (B or 1, N, 4), objects (B, G, 4), valid (B, G), ignore (B, G)."""
    b, n, g = draw(st.integers(1, 3)), draw(st.integers(1, 8)), draw(st.integers(0, 7))
    boxes, objects = grid_boxes(draw, draw(st.sampled_from([1, b])), n), grid_boxes(draw, b, g)
    # 0 padding, 1 object, 2 crowd
    kind = torch.tensor(draw(st.lists(st.integers(0, 2), min_size=b * g, max_size=b * g)), dtype=torch.int64)
    kind = kind.view(b, g)
    return boxes, objects, kind == 1, kind == 2


def slow_match(
    boxes: Tensor, objects: Tensor, valid: Tensor, ignore: Tensor, limit: float | None
) -> tuple[list, ...]:
    best, index, ignored = [], [], []
    for i in range(objects.shape[0]):
        own = boxes[i if len(boxes) > 1 else 0]
        iou, ioa = pairwise_iou(own, objects[i]).tolist(), pairwise_ioa(objects[i], own).T.tolist()
        for n in range(len(own)):
            value, where = 0.0, 0
            for g in range(objects.shape[1]):
                if valid[i, g] and iou[n][g] > value:
                    value, where = iou[n][g], g
            best.append(value)
            index.append(where)
            crowds = [ioa[n][g] for g in range(objects.shape[1]) if ignore[i, g]]
            ignored.append(limit is not None and any(share > limit for share in crowds))
    return best, index, ignored


def slow_low_quality(boxes: Tensor, objects: Tensor, valid: Tensor, least: float) -> tuple[list, list]:
    chosen, index = [], []
    for i in range(objects.shape[0]):
        own = boxes[i if len(boxes) > 1 else 0]
        iou = pairwise_iou(own, objects[i])
        mine = [False] * len(own)
        slots = [0] * len(own)
        for g in range(objects.shape[1]):
            highest = iou[:, g].max()
            for n in range(len(own)):
                if valid[i, g] and highest > 0 and highest >= least and iou[n, g] == highest:
                    mine[n], slots[n] = True, g
        chosen += mine
        index += slots
    return chosen, index


@settings(max_examples=100, deadline=None)
@given(
    scenes(),
    st.sampled_from([None, 0.0, 0.5]),
    st.sampled_from([0.0, 0.25]),
    st.sampled_from([1, 20, 1 << 24]),
)
def test_equal_the_loops_at_any_budget(
    scene: tuple[Tensor, Tensor, Tensor, Tensor], limit: float | None, least: float, budget: int
) -> None:
    boxes, objects, valid, ignore = scene
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_OVERLAPS", budget)
        found = match(boxes, objects, valid, ignore, limit, least)
        assert not match(boxes, objects, valid, ignore, limit).rescued.any()
    shape = (objects.shape[0], boxes.shape[1])
    assert all(t.shape == shape for t in found)
    best, index, ignored = slow_match(boxes, objects, valid, ignore, limit)
    assert found.iou.flatten().tolist() == best
    assert found.index.flatten().tolist() == index
    assert found.ignored.flatten().tolist() == ignored
    low, low_index = slow_low_quality(boxes, objects, valid, least)
    assert found.rescued.flatten().tolist() == low
    assert found.rescuer.flatten().tolist() == low_index


def test_chunks_cover_the_objects_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_OVERLAPS", 100)
    cpu = torch.device("cpu")
    ranges = matching._chunks(2, 10, 23, cpu)
    assert [g for start, stop in ranges for g in range(start, stop)] == list(range(23))
    assert all((stop - start) * 20 <= 100 for start, stop in ranges)
    assert matching._chunks(5, 1000, 3, cpu) == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]  # one at a time where one is too many
    assert matching._chunks(2, 10, 0, cpu) == []


def test_no_objects_and_no_boxes() -> None:
    for n, g in [(4, 0), (0, 0)]:
        none = torch.zeros(2, g, dtype=torch.bool)
        found = match(torch.rand(2, n, 4), torch.zeros(2, g, 4), none, none, 0.5, 0.0)
        assert found.iou.shape == (2, n)
        assert not found.iou.any() and not found.ignored.any() and not found.rescued.any()


def test_low_quality_by_hand() -> None:
    anchors = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]]])
    objects = torch.tensor([[[0.0, 0, 4, 5], [58, 58, 70, 70], [200, 200, 210, 210], [0, 0, 10, 10]]])
    valid = torch.tensor([[True, True, True, False]])
    found = match(anchors, objects, valid, ~valid, None, 0.0)
    # both anchors that tie for the first object; nothing for the object that no anchor touches
    assert found.rescued.tolist() == [[True, True, True, False]]
    assert found.rescuer.tolist() == [[0, 0, 1, 0]]
    found = match(anchors, objects, valid, ~valid, None, 0.1)
    assert found.rescued.tolist() == [[True, True, False, False]]


def test_a_box_in_a_crowd_is_ignored_but_keeps_its_object() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 4], [40, 40, 50, 50]]])
    objects = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 100, 5]]])
    valid, ignore = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    found = match(boxes, objects, valid, ignore, 0.5)
    assert found.ignored.tolist() == [[False, True, False]]  # exactly half is not more than half
    torch.testing.assert_close(found.iou, torch.tensor([[1.0, 0.4, 0]]))
    assert not match(boxes, objects, valid, ignore, None).ignored.any()
