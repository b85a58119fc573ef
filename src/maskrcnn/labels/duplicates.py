"""Images of one data set that are one image, perhaps resized or compressed again."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from maskrcnn.check.image_files import ALIKE, alike, look
from maskrcnn.labels.types import Dataset

Progress = Callable[[int, int], None]


def duplicate_groups(dataset: Dataset, progress: Progress | None = None) -> list[int]:
    """For each image the index of the first one that it is a near-duplicate of, directly or through others.

    Every image is decoded. One that cannot be used, or has one colour only, is a group of its own.
    """
    count = len(dataset)
    prints, usable = np.zeros(count, np.uint64), np.zeros(count, bool)
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        for index, seen in enumerate(pool.map(lambda i: look(dataset.image(i)), range(count))):
            prints[index], usable[index] = seen.fingerprint, seen.wrong is None and not seen.flat
            if progress:
                progress(index + 1, count)
    groups = list(range(count))
    for index in np.flatnonzero(usable).tolist():
        distance = np.bitwise_count(prints[:index] ^ prints[index])
        for other in np.flatnonzero(usable[:index] & (distance <= ALIKE)).tolist():
            a, b = _first(groups, index), _first(groups, other)
            if a != b and alike(dataset.image(other), dataset.image(index)):
                groups[max(a, b)] = min(a, b)
    return [_first(groups, index) for index in range(count)]


def _first(groups: list[int], index: int) -> int:
    """The first image of the group so far."""
    while groups[index] != index:
        index = groups[index]
    return index
