"""Masks as bits: the same pixels back, and as many shared ones as bitmaps of the whole image have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.masks import packed
from maskrcnn.masks.packed import PackedMasks
from maskrcnn.masks.paste import Window

HEIGHT, WIDTH = 90, 300


def random_windows(rng: np.random.Generator, count: int) -> list[Window]:
    windows = []
    for _ in range(count):
        x0, y0 = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
        width, height = int(rng.integers(0, WIDTH - x0 + 1)), int(rng.integers(0, HEIGHT - y0 + 1))
        windows.append((x0, y0, rng.random((height, width)) < 0.5))
    return windows


def whole(window: Window) -> np.ndarray:
    x0, y0, bitmap = window
    image = np.zeros((HEIGHT, WIDTH), bool)
    image[y0 : y0 + bitmap.shape[0], x0 : x0 + bitmap.shape[1]] = bitmap
    return image


def same(some: Window, other: Window) -> bool:
    return some[:2] == other[:2] and np.array_equal(some[2], other[2])


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "WORDS", 50)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 9))
def test_pixels_come_back_and_are_counted(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    windows = random_windows(rng, count)
    masks = PackedMasks.joined([PackedMasks.of(windows[: count // 2]), PackedMasks.of(windows[count // 2 :])])
    assert len(masks) == count
    order = rng.permutation(count)[: count // 2 + 1]
    chosen = masks[order]
    for back, row in zip(chosen.windows(np.arange(len(chosen))), order.tolist(), strict=True):
        assert same(back, windows[row])
    some, others = (rng.integers(0, max(count, 1), 12 if count else 0) for _ in range(2))
    corners = [rng.integers(0, side + 1, (2, len(some))) for side in (WIDTH, HEIGHT)]
    within = np.stack([*np.min(corners, axis=1), *np.max(corners, axis=1)], axis=1)
    expected = []
    for one, other, (x0, y0, x1, y1) in zip(some, others, within.tolist(), strict=True):
        both = whole(windows[one]) & whole(windows[other])
        expected.append(both[y0:y1, x0:x1].sum())
    assert masks.shared(some, others, within).tolist() == expected
