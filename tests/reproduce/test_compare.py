"""Intervals and verdicts of a comparison."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn.evaluate.resampled import ClassMatches, Matches
from maskrcnn.reproduce.compare import Interval, compare, verdict
from maskrcnn.reproduce.table import Comparison


def matches(share: float, seed: int, images: int = 60) -> Matches:
    """One object an image, which is found with probability `share`, and nothing else."""
    rng = np.random.default_rng(seed)
    hit = np.tile(rng.random(images) < share, (10, 1))
    everything = np.ones((10, images), bool)
    objects = np.ones(images, np.int64)
    return Matches(images, [ClassMatches(np.ones(images), np.arange(images), hit, everything, objects)])


@pytest.mark.parametrize(
    ("low", "high", "expect", "best", "said"),
    [
        (0.1, 3, "better", 30, "agrees"),
        (-3, -0.1, "better", 30, "contradicts"),
        (-0.1, 3, "better", 30, "not resolved"),
        (-1, 1.4, "same", 30, "agrees"),
        (1.6, 4, "same", 30, "contradicts"),
        (-4, -1.6, "same", 30, "contradicts"),
        (-1, 2, "same", 30, "not resolved"),
        (-0.3, 0.1, "same", 0.3, "not resolved"),  # neither has learned anything
    ],
)
def test_verdicts(low: float, high: float, expect: str, best: float, said: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high), expect, best) == said


def test_a_large_difference_is_seen_and_none_is_not() -> None:
    good = [matches(0.9, seed) for seed in range(3)]
    bad = [matches(0.3, seed + 10) for seed in range(3)]
    seen = compare(Comparison(of="good", to="bad"), {"good": good, "bad": bad}, draws=200)
    assert seen.verdict == "agrees" and seen.difference["AP"].low > 10
    assert seen.figures["good"]["AP"].low < seen.figures["good"]["AP"].mean < seen.figures["good"]["AP"].high
    assert seen.each["good"] == pytest.approx([one.average_precision()["AP"] for one in good])
    reverse = compare(Comparison(of="bad", to="good"), {"good": good, "bad": bad}, draws=200)
    assert reverse.verdict == "contradicts"
    equal = compare(Comparison(of="good", to="same"), {"good": good, "same": good}, draws=200)
    assert equal.verdict == "not resolved" and equal.difference["AP"] == Interval(0, 0, 0)


def test_pairing_cancels_what_images_have_in_common() -> None:
    """The better one finds what the other finds and a little more: unpaired, the images' spread hides it."""
    base = [matches(0.5, seed) for seed in range(3)]
    better = []
    for one in base:
        hit = one.classes[0].hit.copy()
        hit[:, np.flatnonzero(~hit[0])[:3]] = True
        better.append(
            Matches(60, [ClassMatches(np.ones(60), np.arange(60), hit, hit | True, one.classes[0].objects)])
        )
    seen = compare(Comparison(of="better", to="base"), {"better": better, "base": base}, draws=300)
    assert seen.verdict == "agrees"
    assert seen.figures["better"]["AP"].low < seen.figures["base"]["AP"].high
