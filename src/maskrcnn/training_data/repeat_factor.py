"""Repeat-factor sampling: images of rare classes come several times in an epoch (Gupta et al. 2019, LVIS, appendix).

A class in a share f of the images has the factor max(1, sqrt(threshold / f)), an image the largest of its classes'.
"""

from __future__ import annotations

import numpy as np

from maskrcnn.labels.types import Dataset


def repeat_factors(dataset: Dataset, threshold: float) -> np.ndarray:
    """How often each image comes in an epoch on average, float64 (n,), at least 1.

    Args:
        threshold: share of images, 0 to 1, below which a class counts as rare. Crowds do not count as objects.
    """
    classes = [sorted({a.label for a in dataset.image(i).annotations if not a.crowd}) for i in range(len(dataset))]
    images = np.bincount([label for labels in classes for label in labels], minlength=len(dataset.classes))
    of_class = np.sqrt(threshold * len(dataset) / np.maximum(images, 1)).clip(min=1.0)
    return np.array([of_class[labels].max(initial=1.0) for labels in classes], np.float64)


def epoch_length(factors: np.ndarray) -> int:
    """Entries of an epoch, the same for all epochs: the schedule of a training depends on it."""
    return int(np.ceil(np.floor(factors).sum() + (factors % 1).sum()))


def draw_entries(factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image indices of one epoch in random order, int64.

    Each factor is rounded up or down at random, so that it is right on average. The fractions are not drawn one by one
    but laid end to end in random order and cut where a whole number plus one random offset is reached: with that the
    sum is right too, and there are `epoch_length(factors)` entries or one less.
    """
    order = rng.permutation(len(factors))
    edges = np.floor(np.cumsum(factors[order] % 1) + rng.random())
    counts = np.floor(factors[order]) + np.diff(edges, prepend=0.0)
    return rng.permutation(np.repeat(order, counts.astype(np.int64)))


def describe(factors: np.ndarray) -> str:
    """A line for people."""
    repeated = int((factors > 1).sum())
    return (
        f"images of rare classes are repeated: {repeated} of {len(factors)} come up to {factors.max():.2f} times, "
        f"an epoch has {epoch_length(factors)}"
    )
