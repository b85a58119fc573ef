"""Box arithmetic against hand-computed values and plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from maskrcnn.ops import boxes as box_ops

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(*shape: int, seed: int = 0, side: float = 100) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * side
    return torch.cat([corner, corner + 1 + torch.rand(*shape, 2, generator=generator) * side / 2], -1)


def test_area_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 3], [1.5, 1.5, 2.0, 2.5], [3, 3, 3, 9], [5, 5, 1, 9], [5, 5, 1, 1]])
    assert box_ops.area(boxes).tolist() == [12, 0.5, 0, 0, 0]


def test_iou_and_ioa_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 0, 0]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4]])
    assert box_ops.intersection(a, b).tolist() == [[100, 50, 0, 4], [0] * 4, [0] * 4]
    torch.testing.assert_close(
        box_ops.pairwise_iou(a, b), torch.tensor([[1, 50 / 150, 0, 0.04], [0, 0, 0, 0], [0, 0, 0, 0]])
    )
    torch.testing.assert_close(box_ops.pairwise_ioa(a, b)[0], torch.tensor([1, 0.5, 0, 1]))


def test_iou_of_empty_boxes_is_zero_and_finite() -> None:
    empty = torch.tensor([[3.0, 3, 3, 3], [4, 4, 2, 2]])
    for function in (box_ops.pairwise_iou, box_ops.pairwise_ioa):
        assert function(empty, empty).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("n, m", [(0, 3), (3, 0), (0, 0)])
def test_pairwise_of_none(n: int, m: int) -> None:
    assert box_ops.pairwise_iou(torch.zeros(2, n, 4), torch.zeros(2, m, 4)).shape == (2, n, m)


def test_pairwise_broadcasts_over_images_and_leaves_its_arguments() -> None:
    a, b = random_boxes(1, 5), random_boxes(3, 4, seed=1)
    before = a.clone(), b.clone()
    together = box_ops.pairwise_iou(a, b)
    assert together.shape == (3, 5, 4)
    for i in range(3):
        assert torch.equal(together[i], box_ops.pairwise_iou(a[0], b[i]))
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])


def test_clip_to_each_images_own_size() -> None:
    boxes = torch.tensor([[-5.0, -6, 500, 600]]).repeat(2, 1, 1)
    sizes = torch.tensor([[40, 30], [50, 70]])  # height, width
    assert box_ops.clip(boxes, sizes).tolist() == [[[0, 0, 30, 40]], [[0, 0, 70, 50]]]


def test_encode_by_hand() -> None:
    reference, box = torch.tensor([0.0, 0, 10, 20]), torch.tensor([5.0, 10, 25, 20])
    # centres (5, 10) and (15, 15); sides 10 x 20 and 20 x 10
    expected = torch.tensor([10.0, 10 * 5 / 20, 5 * math.log(2), -5 * math.log(2)])
    torch.testing.assert_close(box_ops.encode(box, reference, WEIGHTS), expected)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), WEIGHTS])
def test_decode_inverts_encode(weights: tuple[float, float, float, float]) -> None:
    boxes, references = random_boxes(2, 50), random_boxes(2, 50, seed=1)
    again = box_ops.decode(box_ops.encode(boxes, references, weights), references, weights)
    torch.testing.assert_close(again, boxes, atol=1e-3, rtol=1e-5)


def test_decode_of_zero_is_the_reference_and_growth_is_bounded() -> None:
    reference = torch.tensor([[10.0, 10, 26, 42]])
    assert torch.equal(box_ops.decode(torch.zeros(1, 4), reference, WEIGHTS), reference)
    huge = box_ops.decode(torch.tensor([[0.0, 0, 1e6, 1e6]]), reference, WEIGHTS)
    torch.testing.assert_close(huge[0, 2] - huge[0, 0], torch.tensor(1000.0))
    torch.testing.assert_close(huge[0, 3] - huge[0, 1], torch.tensor(2000.0))


def test_encode_of_empty_boxes_is_finite() -> None:
    empty = torch.zeros(1, 4)
    assert torch.isfinite(box_ops.encode(empty, empty, WEIGHTS)).all()
    assert torch.isfinite(box_ops.encode(empty, random_boxes(1), WEIGHTS)).all()


def test_decode_answers_in_float32() -> None:
    assert box_ops.decode(torch.zeros(1, 4).bfloat16(), random_boxes(1), WEIGHTS).dtype == torch.float32
