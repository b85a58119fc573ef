"""Losses against values worked out by hand, and that a batch's loss is the mean of its images'."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskrcnn.model.losses import (
    box_loss,
    class_loss,
    keypoint_loss,
    mask_loss,
    objectness_loss,
    per_image_mean,
    smooth_l1,
    softmax_mask_loss,
)
from maskrcnn.model.mask_head import own_class


def close(found: Tensor, expected: float) -> None:
    assert found.shape == ()
    torch.testing.assert_close(found, torch.tensor(float(expected)), atol=1e-6, rtol=1e-5)


def test_per_image_mean_by_hand() -> None:
    values, weights = torch.tensor([[1.0, 2, 4], [8, 16, 32]]), torch.tensor([[1.0, 1, 0], [0, 0, 1]])
    close(per_image_mean(values, weights, torch.tensor([2, 1])), (1.5 + 32) / 2)
    close(per_image_mean(values, weights, 4.0), (0.75 + 8) / 2)
    close(per_image_mean(values, weights * 0, torch.tensor([0, 0])), 0)


def test_smooth_l1_by_hand() -> None:
    x = torch.tensor([-2.0, -0.5, 0, 0.25, 1])
    torch.testing.assert_close(smooth_l1(x, 0), x.abs())
    torch.testing.assert_close(smooth_l1(x, 1.0), torch.tensor([1.5, 0.125, 0, 0.03125, 0.5]))
    torch.testing.assert_close(smooth_l1(x, 0.5), torch.tensor([1.75, 0.25, 0, 0.0625, 0.75]))


def test_objectness_by_hand() -> None:
    logits = torch.tensor([[0.0, 0, 2, 90], [-1, 0, 0, 0]])
    positive = torch.tensor([[True, False, True, False], [False] * 4])
    valid = torch.tensor([[True, True, True, False], [True, False, False, False]])
    first = 2 * math.log(2) + math.log1p(math.exp(-2))
    second = math.log1p(math.exp(-1))
    close(objectness_loss(logits, positive, valid, valid.sum(1)), (first / 3 + second) / 2)
    close(objectness_loss(logits, positive, valid, 256.0), (first + second) / 256 / 2)


def test_box_by_hand() -> None:
    deltas = torch.zeros(1, 3, 4)
    targets = torch.tensor([[[1.0, -2, 0.5, 0], [0, 0, 0, 3], [9, 9, 9, 9]]])
    positive = torch.tensor([[True, True, False]])
    close(box_loss(deltas, targets, positive, torch.tensor([3]), beta=0), 6.5 / 3)
    close(box_loss(deltas, targets, positive, torch.tensor([3]), beta=1), (0.5 + 1.5 + 0.125 + 2.5) / 3)


def test_targets_of_negatives_may_be_infinite() -> None:
    deltas = torch.ones(1, 2, 4, requires_grad=True)
    targets = torch.zeros(1, 2, 4)
    targets[0, 1] = torch.tensor([math.inf, -math.inf, math.nan, 1])
    loss = box_loss(deltas, targets, torch.tensor([[True, False]]), torch.tensor([2]), beta=0.1)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(deltas.grad).all()
    assert not deltas.grad[0, 1].any() and deltas.grad[0, 0].all()


def test_class_by_hand() -> None:
    logits = torch.tensor([[[0.0, 0, 0], [math.log(2), 0, 0], [50, 0, 0]]])
    labels, valid = torch.tensor([[2, 0, 1]]), torch.tensor([[True, True, False]])
    close(class_loss(logits, labels, valid), (math.log(3) + math.log(2)) / 2)


def test_mask_by_hand() -> None:
    logits = torch.tensor([[[0.0, 2], [0, -2]], [[1, 1], [1, 1]], [[70, 70], [70, 70]]])
    targets = torch.tensor([[[1.0, 1], [0, 1]], [[1, 1], [1, 0]], [[0, 0], [0, 0]]])
    weights, image = torch.tensor([1.0, 1, 0]), torch.tensor([0, 1, 1])
    first = (2 * math.log(2) + math.log1p(math.exp(-2)) + math.log1p(math.exp(2))) / 4
    second = (3 * math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 4
    # the third image has no rows and counts as 0
    close(mask_loss(logits, targets, weights, image, 3), (first + second) / 3)


def softmax_masks(rows: int, classes: int, side: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, binary targets and labels, drawn anew for other numbers."""
    generator = torch.Generator().manual_seed(rows * 31 + classes)
    logits = torch.randn(rows, classes + 1, side, side, generator=generator, dtype=torch.float64)
    targets = (torch.rand(rows, side, side, generator=generator) < 0.5).float()
    return logits, targets, torch.randint(classes, (rows,), generator=generator)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 5), classes=st.integers(1, 4))
def test_the_softmax_of_masks_equals_the_loop(rows: int, classes: int) -> None:
    logits, targets, labels = softmax_masks(rows, classes)
    weights, image = torch.ones(rows), torch.arange(rows) % 2
    means = [0.0, 0.0]
    for image_number in range(2):
        own = [row for row in range(rows) if int(image[row]) == image_number]
        total = 0.0
        for row in own:
            for y in range(3):
                for x in range(3):
                    wanted = int(labels[row]) if targets[row, y, x] else classes
                    values = [math.exp(v) for v in logits[row, :, y, x].tolist()]
                    total -= math.log(values[wanted] / sum(values)) / 9
        means[image_number] = total / max(len(own), 1)
    close(softmax_mask_loss(logits, targets, labels, weights, image, 2), sum(means) / 2)


def test_gradient_of_the_softmax_of_masks() -> None:
    logits, targets, labels = softmax_masks(3, 2)
    rest = targets, labels, torch.tensor([1.0, 0, 1]), torch.tensor([0, 0, 1]), 2

    def loss(x: Tensor) -> Tensor:
        # the loss itself sums in float32, too coarse for differences of 1e-6
        return softmax_mask_loss(x, *rest)

    logits.requires_grad_()
    assert torch.autograd.gradcheck(loss, [logits], eps=1e-2, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 4), classes=st.integers(1, 4))
def test_a_pixel_is_its_class_where_no_other_is_likelier(rows: int, classes: int) -> None:
    logits, _, labels = softmax_masks(rows, classes)
    own = own_class(logits, labels, "softmax")
    assert torch.equal(own > 0, logits.argmax(1) == labels[:, None, None])
    if classes == 1:  # the softmax of two is a sigmoid
        torch.testing.assert_close(own.sigmoid(), logits.softmax(1)[:, 0])


def test_keypoint_by_hand() -> None:
    logits = torch.zeros(2, 2, 2, 2)
    logits[0, 1, 1, 0] = math.log(5)  # cell 2
    cells = torch.tensor([[3, 2], [0, 1]])
    weights = torch.tensor([[1.0, 1], [0, 1]])
    first, second = (math.log(4) + math.log(8 / 5)) / 2, math.log(4)
    close(keypoint_loss(logits, cells, weights, torch.tensor([0, 1]), 2), (first + second) / 2)
    # in one image it is the mean over keypoints, not over RoIs
    close(
        keypoint_loss(logits, cells, weights, torch.tensor([0, 0]), 1),
        (2 * math.log(4) + math.log(8 / 5)) / 3,
    )


@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_positive_is_zero_with_a_zero_gradient(rows: int) -> None:
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    none = torch.zeros(2, dtype=torch.int64)
    logits = torch.randn(2, 5, requires_grad=True)
    deltas = torch.randn(2, 5, 4, requires_grad=True)
    classes = torch.randn(2, 5, 3, requires_grad=True)
    masks = torch.randn(rows, 4, 4, requires_grad=True)
    heat = torch.randn(rows, 17, 4, 4, requires_grad=True)
    image = torch.zeros(rows, dtype=torch.int64)
    losses = [
        objectness_loss(logits, nothing, nothing, none),
        box_loss(deltas, torch.full((2, 5, 4), math.inf), nothing, none, beta=0.1),
        class_loss(classes, torch.zeros(2, 5, dtype=torch.int64), nothing),
        mask_loss(masks, torch.zeros(rows, 4, 4), torch.zeros(rows), image, 2),
        keypoint_loss(heat, torch.zeros(rows, 17, dtype=torch.int64), torch.zeros(rows, 17), image, 2),
    ]
    for loss, inputs in zip(losses, (logits, deltas, classes, masks, heat), strict=True):
        close(loss.detach(), 0)
        loss.backward()
        assert inputs.grad is not None and not inputs.grad.any()


def test_huge_logits_stay_finite() -> None:
    huge = torch.full((1, 2), 1e4)
    yes = torch.ones(1, 2, dtype=torch.bool)
    assert torch.isfinite(objectness_loss(huge, ~yes, yes, 2.0))
    assert torch.isfinite(
        mask_loss(huge.view(1, 1, 2), torch.zeros(1, 1, 2), torch.ones(1), torch.tensor([0]), 1)
    )


def test_half_precision_logits_are_summed_in_float32() -> None:
    valid = torch.ones(1, 4096, dtype=torch.bool)
    loss = objectness_loss(torch.zeros(1, 4096, dtype=torch.bfloat16), valid, valid, 4096.0)
    assert loss.dtype == torch.float32
    close(loss, math.log(2))


def test_a_batch_is_the_mean_of_its_images() -> None:
    """Images with many, one and no samples weigh alike: several processes follow the gradient of one."""
    generator = torch.Generator().manual_seed(0)
    images, slots, rows = 4, 6, 11

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    valid = torch.arange(slots) < torch.tensor([[6], [3], [1], [0]])
    positive = valid & (torch.arange(slots) < torch.tensor([[2], [3], [0], [0]]))
    logits, deltas, targets, classes = normal(4, 6), normal(4, 6, 4), normal(4, 6, 4), normal(4, 6, 3)
    labels = torch.randint(3, (4, 6), generator=generator)
    image = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2])
    weights = torch.tensor([1.0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0])
    masks, wanted = normal(rows, 4, 4), (normal(rows, 4, 4) > 0).float()
    heat, cells = normal(rows, 5, 4, 4), torch.randint(16, (rows, 5), generator=generator)
    seen = weights[:, None] * (normal(rows, 5) > 0)

    def losses(which: slice) -> Tensor:
        chosen = torch.arange(images)[which]
        mine = (image[:, None] == chosen).any(1)
        own, count = image[mine] - chosen[0], len(chosen)
        return torch.stack(
            [
                objectness_loss(logits[which], positive[which], valid[which], valid[which].sum(1)),
                objectness_loss(logits[which], positive[which], valid[which], 256.0),
                box_loss(deltas[which], targets[which], positive[which], valid[which].sum(1), 0.5),
                class_loss(classes[which], labels[which], valid[which]),
                mask_loss(masks[mine], wanted[mine], weights[mine], own, count),
                keypoint_loss(heat[mine], cells[mine], seen[mine], own, count),
            ]
        )

    whole = losses(slice(0, 4))
    assert (whole > 0).all()
    for size in (1, 2):
        parts = [losses(slice(start, start + size)) for start in range(0, images, size)]
        torch.testing.assert_close(torch.stack(parts).mean(0), whole)
