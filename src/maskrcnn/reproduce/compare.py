"""What the runs of a table say of its claims: figures with intervals, and a verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskrcnn.evaluate.resampled import Matches
from maskrcnn.reproduce.table import Comparison

DRAWS = 1000
SAME = 1.5  # points of AP within which two variants count as the same
LOW, HIGH = 2.5, 97.5  # percentiles of a 95% interval
FIGURES = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class Interval:
    """A figure in percent with its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} ({self.low:.1f} to {self.high:.1f})"


@dataclass
class Outcome:
    """A comparison, measured."""

    comparison: Comparison
    figures: dict[str, dict[str, Interval]]  # variant -> AP, AP50, AP75
    each: dict[str, list[float]]  # variant -> AP of each seed
    difference: dict[str, Interval]  # AP, AP50, AP75 of the one less those of the other
    verdict: str  # "agrees", "contradicts" or "not resolved"

    @property
    def relative(self) -> float:
        """The change of AP in percent of the other's."""
        base = self.figures[self.comparison.to]["AP"].mean
        return float("nan") if base == 0 else 100 * self.difference["AP"].mean / base


def compare(comparison: Comparison, runs: dict[str, list[Matches]], draws: int = DRAWS) -> Outcome:
    """The paired bootstrap over images and seeds of two variants.

    Each draw takes as many images and as many seeds as there are, with replacement, the same for both
    variants. With three seeds the spread between seeds is known only roughly.

    Args:
        runs: the matches of each variant, a training of each seed in the same order.
    """
    names = [comparison.of, comparison.to]
    rng = np.random.default_rng(0)
    seeds, images = len(runs[names[0]]), runs[names[0]][0].images
    table = np.empty((draws, 2, len(FIGURES)))
    for draw in range(draws):
        weights = np.bincount(rng.integers(images, size=images), minlength=images)
        chosen = np.bincount(rng.integers(seeds, size=seeds), minlength=seeds)
        for column, name in enumerate(names):
            rows = [
                times * _row(runs[name][seed].average_precision(weights))
                for seed, times in enumerate(chosen)
                if times
            ]
            table[draw, column] = np.sum(rows, axis=0) / seeds
    once = {name: np.array([_row(one.average_precision()) for one in runs[name]]) for name in names}
    means = {name: once[name].mean(axis=0) for name in names}
    figures = {
        name: {
            key: _interval(means[name][place], table[:, column, place]) for place, key in enumerate(FIGURES)
        }
        for column, name in enumerate(names)
    }
    spread = table[:, 0] - table[:, 1]
    gain = means[comparison.of] - means[comparison.to]
    difference = {key: _interval(gain[place], spread[:, place]) for place, key in enumerate(FIGURES)}
    each = {name: once[name][:, 0].tolist() for name in names}
    best = max(figures[name]["AP"].mean for name in names)
    return Outcome(comparison, figures, each, difference, verdict(difference["AP"], comparison.expect, best))


def verdict(difference: Interval, expect: str, best: float) -> str:
    """Whether an interval of a difference bears out what the paper says of it.

    Args:
        best: the AP of the better variant; two that have learned next to nothing are not shown to be alike.
    """
    if expect == "same":
        if best <= SAME:
            return "not resolved"
        if -SAME <= difference.low and difference.high <= SAME:
            return "agrees"
        return "contradicts" if difference.low > SAME or difference.high < -SAME else "not resolved"
    if difference.low > 0:
        return "agrees"
    return "contradicts" if difference.high < 0 else "not resolved"


def _row(figures: dict[str, float]) -> np.ndarray:
    return np.array([figures[key] for key in FIGURES])


def _interval(mean: float, draws: np.ndarray) -> Interval:
    low, high = np.nanpercentile(draws, [LOW, HIGH])
    return Interval(float(mean), float(low), float(high))
