"""Pasting into a window against `grid_sample` onto the whole image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from maskrcnn.masks.paste import Window, integer_boxes, paste_edges, paste_windows

HEIGHT, WIDTH = 30, 40


def full_size(probabilities: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N, H, W) float64 values of the masks at every pixel centre of the image; zero outside the box's
    frame.
    """
    pixels = []
    for mask, (x1, y1, x2, y2) in zip(probabilities, boxes.astype(np.float64), strict=True):
        x = torch.from_numpy((np.arange(WIDTH) + 0.5 - x1) / (x2 - x1) * 2 - 1)
        y = torch.from_numpy((np.arange(HEIGHT) + 0.5 - y1) / (y2 - y1) * 2 - 1)
        grid = torch.stack([x.expand(HEIGHT, WIDTH), y[:, None].expand(HEIGHT, WIDTH)], -1)[None]
        source = torch.from_numpy(mask.astype(np.float64))[None, None]
        pixels.append(F.grid_sample(source, grid, align_corners=False)[0, 0].numpy())
    return np.stack(pixels)


def unfold(window: Window) -> np.ndarray:
    x0, y0, pixels = window
    full = np.zeros((HEIGHT, WIDTH), bool)
    full[y0 : y0 + pixels.shape[0], x0 : x0 + pixels.shape[1]] = pixels
    return full


edges = st.floats(-30, 60, width=32)
extents = st.floats(0.125, 70, width=32)


# places of boxes, cells of a mask's side, a threshold, a seed
some_masks = given(
    st.lists(st.tuples(edges, edges, extents, extents), min_size=1, max_size=4),
    st.sampled_from([1, 2, 7, 28]),
    st.sampled_from([0.25, 0.5, 0.75]),
    st.integers(0, 1000),
)


@settings(max_examples=100, deadline=None)
@some_masks
def test_equals_grid_sample_on_the_whole_image(
    places: list[tuple[float, float, float, float]], side: int, threshold: float, seed: int
) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in places], np.float32)
    probabilities = np.random.default_rng(seed).random((len(boxes), side, side), np.float32)
    windows = paste_windows(probabilities, boxes, HEIGHT, WIDTH, threshold)
    values = full_size(probabilities, boxes)
    for window, value in zip(windows, values, strict=True):
        x0, y0, pixels = window
        assert pixels.dtype == bool
        assert 0 <= x0 and x0 + pixels.shape[1] <= WIDTH and 0 <= y0 and y0 + pixels.shape[0] <= HEIGHT
        # where the value all but equals the threshold, rounding decides
        sure = np.abs(value - threshold) > 1e-4
        assert np.array_equal(unfold(window)[sure], (value >= threshold)[sure])


def test_the_window_stays_near_the_box() -> None:
    probabilities, boxes = np.ones((1, 28, 28), np.float32), np.array([[10.0, 8, 24, 22]], np.float32)
    ((x0, y0, pixels),) = paste_windows(probabilities, boxes, HEIGHT, WIDTH)
    assert x0 >= 9 and y0 >= 7 and pixels.shape[0] <= 16 and pixels.shape[1] <= 16
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[8:22, 10:24] = True
    assert np.array_equal(unfold((x0, y0, pixels)), expected)


def test_a_image_larger_than_memory_costs_nothing() -> None:
    boxes = np.array([[1e6, 2e6, 1e6 + 10, 2e6 + 10]])
    ((x0, y0, pixels),) = paste_windows(np.ones((1, 4, 4), np.float32), boxes, 10**8, 10**8)
    # the four corners fade to 0.7 * 0.7 < 0.5, as in detectron2
    assert pixels.size < 400 and pixels.sum() == 96 and x0 >= 1e6 - 2 and y0 >= 2e6 - 2


def test_boxes_outside_or_without_extent_are_empty() -> None:
    boxes = np.array([[100.0, 100, 120, 120], [-50, -50, -20, -20], [5, 5, 5, 9], [9, 9, 4, 4]], np.float32)
    for window in paste_windows(np.ones((4, 28, 28), np.float32), boxes, HEIGHT, WIDTH):
        assert not window[2].any() and not unfold(window).any()


def test_a_value_at_the_threshold_belongs_to_the_object() -> None:
    half = np.full((1, 2, 2), 0.5, np.float32)
    (window,) = paste_windows(half, np.array([[4.0, 4, 8, 8]]), HEIGHT, WIDTH)
    assert unfold(window)[5:7, 5:7].all()


def test_no_masks() -> None:
    assert not list(
        paste_windows(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), HEIGHT, WIDTH)
    )


@pytest.mark.parametrize("shape", [(5, 5), (3, 9), (9, 2)])
@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_edges_are_the_ends_of_the_windows_runs(
    shape: tuple[int, int], threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masks of any shape, over boxes inside, across and outside the border, whether computed together or one
    by one.
    """
    rng = np.random.default_rng(7)
    corner = rng.uniform(-15, (WIDTH, HEIGHT), (40, 2))
    boxes = np.hstack([corner, corner + rng.uniform(0.3, 50, (40, 2))])
    boxes[:2] = [[-5, -5, WIDTH + 5, HEIGHT + 5], [5, -20, 20, HEIGHT + 20]]
    masks = rng.random((40, *shape), np.float32).round(1)
    windows = list(paste_windows(masks, boxes, HEIGHT, WIDTH, threshold))
    for columns in (1, 100, 10**6):
        monkeypatch.setattr("maskrcnn.masks.paste.COLUMNS", columns)
        every = list(paste_edges(masks, boxes, HEIGHT, WIDTH, threshold))
        for edges, window in zip(every, windows, strict=True):
            full = unfold(window).T.ravel().astype(np.int8)
            assert edges.tolist() == np.flatnonzero(np.diff(full, prepend=0, append=0)).tolist()
    assert any(pixels.any() and not pixels.all() for _, _, pixels in windows) or threshold != 0.4
    if threshold == 0:
        assert all(pixels.all() for _, _, pixels in windows) and windows[0][2].shape == (HEIGHT, WIDTH)


def test_a_mask_that_is_no_number_is_empty_and_its_neighbours_are_not() -> None:
    masks, boxes = np.ones((3, 4, 4), np.float32), np.array([[4, 4, 12, 12]] * 3, np.float32)
    masks[1, 2, 2] = np.nan
    sizes = [len(edges) for edges in paste_edges(masks, boxes, HEIGHT, WIDTH)]
    assert sizes[0] == sizes[2] > 0 and sizes[1] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_that_is_not_finite_is_refused(value: float) -> None:
    boxes = np.array([[4, 4, 12, 12], [4, value, 12, 12]], np.float32)
    with pytest.raises(ValueError, match="box of mask 1 is not finite"):
        list(paste_edges(np.ones((2, 4, 4), np.float32), boxes, HEIGHT, WIDTH))


def resized_to_whole_pixels(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(H, W) float64, as torchvision describes it: the mask with a cell of zeros around it, resized to the
    integer box of inclusive size that its grown box is truncated to.
    """
    side, (x1, y1, x2, y2) = len(mask), box.astype(np.float64)
    grown = (side + 2) / side
    x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2 * grown, (y2 - y1) / 2 * grown
    left, top, right, bottom = (int(value) for value in (x - w, y - h, x + w, y + h))
    width, height = max(right - left + 1, 1), max(bottom - top + 1, 1)
    framed = F.pad(torch.from_numpy(mask.astype(np.float64)), (1, 1, 1, 1))[None, None]
    pixels = F.interpolate(framed, size=(height, width), mode="bilinear", align_corners=False)[0, 0].numpy()
    full = np.zeros((HEIGHT, WIDTH))
    x0, y0, x_end, y_end = max(left, 0), max(top, 0), min(left + width, WIDTH), min(top + height, HEIGHT)
    if x0 < x_end and y0 < y_end:
        full[y0:y_end, x0:x_end] = pixels[y0 - top : y_end - top, x0 - left : x_end - left]
    return full


@settings(max_examples=100, deadline=None)
@some_masks
def test_integer_boxes_are_torchvisions_way(
    places: list[tuple[float, float, float, float]], side: int, threshold: float, seed: int
) -> None:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in places], np.float32)
    probabilities = np.random.default_rng(seed).random((len(boxes), side, side), np.float32)
    covered = integer_boxes(boxes, side)
    windows = paste_windows(probabilities, covered, HEIGHT, WIDTH, threshold)
    for mask, box, window in zip(probabilities, boxes, windows, strict=True):
        value = resized_to_whole_pixels(mask, box)
        sure = np.abs(value - threshold) > 1e-6
        assert np.array_equal(unfold(window)[sure], (value >= threshold)[sure])
