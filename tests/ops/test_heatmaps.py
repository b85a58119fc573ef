"""Keypoints to heatmap cells and back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskrcnn.ops.heatmaps import AREA_OF_BOX, decode_oks, decode_resize, decode_subpixel, encode

SIDE = 8
BOX = torch.tensor([[10.0, 20, 26, 52]])  # cells of 2 x 4 pixels


def peak(rows: list[int], columns: list[int], height: float = 12.0) -> Tensor:
    """(1, K, SIDE, SIDE) logits, zero but for one cell each."""
    logits = torch.zeros(1, len(rows), SIDE, SIDE)
    for k, (row, column) in enumerate(zip(rows, columns, strict=True)):
        logits[0, k, row, column] = height
    return logits


def test_encode_by_hand() -> None:
    points = [
        [10.0, 20, 2],  # the near corner: cell (0, 0)
        [13.0, 29, 1],  # column 1, row 2; hidden ones count
        [26.0, 52, 2],  # the far corner belongs to the last cell
        [26.0, 21, 2],
        [13.0, 29, 0],  # not labelled
        [9.9, 29, 2],  # left of the box
        [13.0, 52.1, 2],  # below it
        [0.0, 0, 0],
    ]
    cells, inside = encode(torch.tensor([points]), BOX, SIDE)
    assert cells.dtype == torch.int64
    assert inside.tolist() == [[True, True, True, True, False, False, False, False]]
    assert cells.tolist() == [[0, 17, 63, 7, 0, 0, 0, 0]]


def test_encode_of_none_and_of_an_empty_box() -> None:
    cells, inside = encode(torch.zeros(0, 17, 3), torch.zeros(0, 4), 56)
    assert cells.shape == inside.shape == (0, 17)
    cells, _ = encode(torch.tensor([[[5.0, 5, 2], [7, 7, 2]]]), torch.tensor([[5.0, 5, 5, 5]]), 56)
    assert ((cells >= 0) & (cells < 56 * 56)).all()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1, width=32),
    st.floats(0, 1, width=32),
    st.floats(4, 200, width=32),
    st.floats(4, 200, width=32),
)
def test_a_decoded_cell_holds_its_keypoint(u: float, v: float, width: float, height: float) -> None:
    side = 56
    box = torch.tensor([[30.0, 40, 30 + width, 40 + height]])
    point = box[0, :2] + torch.tensor([u, v]) * (box[0, 2:] - box[0, :2])
    cells, inside = encode(torch.cat([point, torch.tensor([2.0])]).view(1, 1, 3), box, side)
    if not inside:  # rounding may put u = 1 a hair beyond the box
        assert max(u, v) > 1 - 1e-5
        return
    logits = torch.zeros(1, 1, side, side)
    logits.view(-1)[cells[0, 0]] = 10
    cell = torch.tensor([width, height]) / side
    found = decode_subpixel(logits, box)[0, 0, :2]
    assert ((found - point).abs() <= cell + 1e-3).all()
    # away from the border the cell's centre is the answer: half a cell off at most
    row, column = divmod(int(cells[0, 0]), side)
    if 0 < row < side - 1 and 0 < column < side - 1:
        assert ((found - point).abs() <= cell / 2 + 1e-3).all()


def test_subpixel_finds_the_top_of_a_parabola() -> None:
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    top_x, top_y = 3.3, 4.85
    logits = (-((x - top_x) ** 2) - 2 * (y - top_y) ** 2).view(1, 1, SIDE, SIDE)
    found = decode_subpixel(logits, BOX)[0, 0]
    torch.testing.assert_close(found[:2], torch.tensor([10 + top_x * 2, 20 + top_y * 4]), atol=1e-4, rtol=0)


def test_subpixel_stays_inside_the_box_and_is_finite() -> None:
    corners = peak([0, 0, 7, 7], [0, 7, 0, 7])
    flat = torch.zeros(1, 2, SIDE, SIDE)
    for logits in (corners, flat, corners * 1e4):
        found = decode_subpixel(logits, BOX)[0]
        assert torch.isfinite(found).all()
        assert ((found[:, :2] >= BOX[0, :2]) & (found[:, :2] <= BOX[0, 2:])).all()
        assert ((found[:, 2] >= 0) & (found[:, 2] <= 1)).all()


def test_subpixel_score_is_the_mass_around_the_peak() -> None:
    logits = peak([3, 0], [4, 0], height=2.0)
    total = math.exp(2) + 63
    expected = torch.tensor(
        [(math.exp(2) + 8) / total, (math.exp(2) + 3) / total]
    )  # a corner has 3 neighbours
    torch.testing.assert_close(decode_subpixel(logits, BOX)[0, :, 2], expected)


def expected_oks(logits: Tensor, box: Tensor, sigma: float, x: float, y: float) -> float:
    """What a point in pixels is worth, cell by cell, by COCO's formula."""
    width, height = (box[2:] - box[:2]).tolist()
    total = 0.0
    for row in range(SIDE):
        for column in range(SIDE):
            true_x, true_y = box[0] + (column + 0.5) / SIDE * width, box[1] + (row + 0.5) / SIDE * height
            squared = float((true_x - x) ** 2 + (true_y - y) ** 2)
            share = float(logits.flatten().softmax(0)[row * SIDE + column])
            total += share * math.exp(-squared / (2 * AREA_OF_BOX * width * height * (2 * sigma) ** 2))
    return total


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.02, 0.3), st.floats(4, 90), st.floats(4, 90), st.floats(0.5, 6))
@example(seed=0, sigma=0.25, width=38, height=4, sharp=2)  # the step loses 1.27e-4
def test_oks_finds_the_place_that_is_worth_most(
    seed: int, sigma: float, width: float, height: float, sharp: float
) -> None:
    logits = sharp * torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    box = torch.tensor([5.0, 7.0, 5 + width, 7 + height])
    x, y, score = decode_oks(logits, box[None], torch.tensor([sigma]))[0, 0].tolist()
    centres = [
        (float(box[0]) + (column + 0.5) / SIDE * width, float(box[1]) + (row + 0.5) / SIDE * height)
        for row in range(SIDE)
        for column in range(SIDE)
    ]
    worth = [expected_oks(logits[0, 0], box, sigma, *centre) for centre in centres]
    assert score == pytest.approx(max(worth), rel=1e-4)
    best_x, best_y = centres[max(range(SIDE**2), key=worth.__getitem__)]
    assert abs(x - best_x) <= width / SIDE / 2 + 1e-3 and abs(y - best_y) <= height / SIDE / 2 + 1e-3
    # A parabola's error is the log's third derivative, the third moment of the cells under the bell over its
    # width to the sixth. Of 150,000 random cases none lost more than 0.101 / width^4 of the best cell's
    # value.
    bell = (
        2 * sigma * math.sqrt(AREA_OF_BOX * width * height) * SIDE / max(width, height)
    )  # its width in cells
    if bell > 0.9:
        assert expected_oks(logits[0, 0], box, sigma, x, y) >= max(worth) * (1 - 0.11 / bell**4)


def test_the_step_between_cells_is_worth_it() -> None:
    logits = 3 * torch.randn(200, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    box = torch.tensor([0.0, 0, 40, 40])
    for sigma in (0.1, 0.2):
        found = decode_oks(logits, box.expand(200, 4), torch.tensor([sigma]))[:, 0].tolist()
        gains = [
            expected_oks(one[0], box, sigma, x, y) - score
            for one, (x, y, score) in zip(logits, found, strict=True)
        ]
        assert sum(gains) / len(gains) > 1e-3 and min(gains) > -1e-2


def test_oks_prefers_a_broad_hill_to_a_lonely_peak() -> None:
    logits = torch.full((1, 1, SIDE, SIDE), -9.0)
    logits[0, 0, 1, 1] = 1.0
    logits[0, 0, 5:8, 4:7] = 0.5
    box = torch.tensor([[0.0, 0, 8, 8]])
    assert decode_subpixel(logits, box)[0, 0, :2].tolist() == pytest.approx([1.5, 1.5], abs=0.5)
    assert decode_oks(logits, box, torch.tensor([0.1]))[0, 0, :2].tolist() == pytest.approx(
        [5.5, 6.5], abs=0.1
    )
    # of a keypoint that must be hit exactly the peak is still the best
    assert decode_oks(logits, box, torch.tensor([0.01]))[0, 0, :2].tolist() == pytest.approx(
        [1.5, 1.5], abs=0.5
    )


def test_oks_does_not_depend_on_the_size_of_the_box() -> None:
    torch.manual_seed(0)
    logits, sigmas = torch.randn(1, 3, SIDE, SIDE), torch.tensor([0.03, 0.1, 0.2])
    small = decode_oks(logits, torch.tensor([[0.0, 0, 10, 20]]), sigmas)
    large = decode_oks(logits, torch.tensor([[0.0, 0, 1000, 2000]]), sigmas)
    torch.testing.assert_close(large, small * torch.tensor([100.0, 100, 1]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("box", [[5.0, 5, 5, 5], [5.0, 5, 5.3, 6.2], [0.0, 0, 4000, 1]])
def test_oks_is_finite_and_inside(box: list[float]) -> None:
    corners = peak([0, 0, 7, 7], [0, 7, 0, 7])
    for logits in (corners, torch.zeros_like(corners), corners * 1e4):
        found = decode_oks(logits, torch.tensor([box]), torch.full((4,), 0.05))[0]
        assert torch.isfinite(found).all()
        low, high = torch.tensor(box[:2]), torch.tensor(box[2:])
        assert ((found[:, :2] >= low - 1e-3) & (found[:, :2] <= high + 1e-3)).all()
        assert ((found[:, 2] >= 0) & (found[:, 2] <= 1)).all()


def test_resize_finds_the_cells_centre() -> None:
    # of a 16 x 32 pixel box: the resized peak spans the pixels around the cell's centre
    found = decode_resize(peak([2, 5], [3, 6]), BOX)[0]
    cell = torch.tensor([2.0, 4.0])
    centre = BOX[0, :2] + (torch.tensor([[3.0, 2], [6, 5]]) + 0.5) * cell
    assert ((found[:, :2] - centre).abs() <= cell / 2).all()


def test_resize_by_hand_at_the_maps_own_size() -> None:
    # a box of 8 x 8 pixels resizes nothing, so the pixel is the cell and the logit is the map's
    box = torch.tensor([[100.0, 200, 108, 208]])
    found = decode_resize(peak([2], [3], height=3.0), box)[0, 0]
    share = math.exp(3) / (math.exp(3) + 63)
    torch.testing.assert_close(found, torch.tensor([103.5, 202.5, 3.0, share]), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("box", [[5.0, 5, 5, 5], [5.0, 5, 5.3, 6.2]])
def test_resize_of_a_tiny_box_is_finite(box: list[float]) -> None:
    assert torch.isfinite(decode_resize(peak([2], [3]), torch.tensor([box]))).all()


def test_decoding_none() -> None:
    logits, boxes = torch.zeros(0, 17, SIDE, SIDE), torch.zeros(0, 4)
    assert decode_subpixel(logits, boxes).shape == (0, 17, 3)
    assert decode_oks(logits, boxes, torch.ones(17)).shape == (0, 17, 3)
    assert decode_resize(logits, boxes).shape == (0, 17, 4)
