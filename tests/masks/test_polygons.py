"""Outlines with fewer points: near the pixels' edges, and the same pixels when they are filled again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.masks.polygons import bitmap_rings, contains, simplified_ring, window_rings
from maskrcnn.masks.rle import polygons_rle, rle_bitmap


def ellipse(width: float, height: float, angle: float, x: float, y: float) -> np.ndarray:
    rows, columns = np.mgrid[:60, :60] + 0.5
    across, down = columns - 30 - x, rows - 30 - y
    u = across * np.cos(angle) + down * np.sin(angle)
    v = down * np.cos(angle) - across * np.sin(angle)
    inside: np.ndarray = (2 * u / width) ** 2 + (2 * v / height) ** 2 < 1
    return inside


def filled(rings: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """bool: the pixels whose centres the rings enclose, by the even-odd rule."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    centres = np.stack([columns.ravel(), rows.ravel()], 1)
    inside = np.zeros(shape, bool)
    for ring in rings:
        inside ^= contains(ring, centres).reshape(shape)
    return inside


def simplified(bitmap: np.ndarray, tolerance: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rings = [ring for outer, holes in bitmap_rings(bitmap) for ring in (outer, *holes)]
    return rings, [simplified_ring(ring, tolerance) for ring in rings]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_nuclei_of_15_pixels() -> None:
    """Hundreds of ellipses at every offset and angle: IoU, and how many points are left."""
    rng = np.random.default_rng(0)
    before, after = 0, 0
    for _ in range(200):
        squeeze, angle = rng.uniform(0.8, 1.25), rng.uniform(0, np.pi)
        bitmap = ellipse(15 * squeeze, 15 / squeeze, angle, *rng.uniform(-0.5, 0.5, 2))
        rings, fewer = simplified(bitmap, 0.5)
        assert iou(filled(fewer, bitmap.shape), bitmap) > 0.98
        before, after = before + sum(map(len, rings)), after + sum(map(len, fewer))
    assert after * 3 <= before


def test_a_large_ragged_outline() -> None:
    """As long as a person's: a union of limbs with a hole."""
    bitmap = np.zeros((420, 300), np.uint8)
    for start, end, width in (
        ((150, 60), (150, 200), 70),
        ((150, 120), (40, 220), 25),
        ((150, 120), (255, 90), 25),
        ((140, 220), (90, 400), 35),
        ((160, 220), (215, 400), 35),
    ):
        cv2.line(bitmap, start, end, 1, width)
    cv2.circle(bitmap, (150, 150), 12, 0, -1)
    rings, fewer = simplified(bitmap.astype(bool), 0.5)
    assert len(rings) == 2
    assert iou(filled(fewer, bitmap.shape), bitmap.astype(bool)) > 0.98
    assert sum(map(len, fewer)) * 3 <= sum(map(len, rings))


@settings(max_examples=150, deadline=None)
@given(
    cells=st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=9),
    tolerance=st.sampled_from([0.25, 0.5, 1.0, 3.0]),
)
def test_never_farther_than_the_tolerance(cells: list[list[bool]], tolerance: float) -> None:
    """Any mask: the middle of each pixel's edge is within the tolerance of the ring, which encloses something."""
    bitmap = np.array(cells)
    for ring, fewer in zip(*simplified(bitmap, tolerance), strict=True):
        assert len(fewer) >= 3
        starts, ends = fewer, np.roll(fewer, -1, axis=0)
        for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            count = round(2 * np.abs(b - a).max())
            points = a + (b - a) * (np.arange(count) / count)[:, None]
            middles = points[(points % 1 != 0).sum(1) == 1]
            way = ends - starts
            along = ((middles[:, None] - starts) * way).sum(2) / np.maximum((way**2).sum(1), 1e-12)
            nearest = starts + along.clip(0, 1)[..., None] * way
            distance = np.hypot(*np.moveaxis(middles[:, None] - nearest, 2, 0)).min(1)
            assert (distance <= tolerance + 1e-5).all()


@pytest.mark.parametrize("tolerance", [0.5, 50.0])
def test_the_smallest_masks_stay(tolerance: float) -> None:
    """A pixel, and a line of one pixel's width, are still there."""
    for bitmap in (np.ones((1, 1), bool), np.ones((1, 9), bool), np.ones((9, 1), bool)):
        _, fewer = simplified(bitmap, tolerance)
        assert iou(filled(fewer, bitmap.shape), bitmap) == 1


@settings(max_examples=150, deadline=None)
@given(cells=st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=12))
def test_any_mask_comes_back_from_its_outlines(cells: list[list[bool]]) -> None:
    """However small, with holes and parts: as a reader draws the rings, the IoU is above 0.98."""
    bitmap = np.array(cells)
    drawn = np.zeros((40, 40), bool)
    for outer, holes in window_rings(7, 5, bitmap, 0.5):
        for ring in (outer, *holes):
            rle = polygons_rle([ring], 40, 40)
            assert rle is not None
            drawn ^= rle_bitmap(rle) > 0
    expected = np.zeros_like(drawn)
    expected[5 : 5 + bitmap.shape[0], 7 : 7 + bitmap.shape[1]] = bitmap
    assert not expected.any() or iou(drawn, expected) > 0.98


def test_a_wider_tolerance_is_taken_at_its_word() -> None:
    bitmap = ellipse(15, 11, 0.4, 0.2, 0.1)
    ((fine, _),), ((coarse, _),) = window_rings(0, 0, bitmap, 0.5), window_rings(0, 0, bitmap, 3)
    assert 3 <= len(coarse) < len(fine)


def test_no_tolerance_changes_nothing() -> None:
    rings, fewer = simplified(ellipse(15, 11, 0.4, 0.2, 0.1), 0)
    assert all(np.array_equal(a, b) for a, b in zip(rings, fewer, strict=True))
