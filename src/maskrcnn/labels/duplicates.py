"""Images of one data set that are one image, perhaps resized or compressed again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from maskrcnn.environment import usable_cores
from maskrcnn.errors import DataError
from maskrcnn.images.fingerprint import fingerprint, near_duplicates, similar_hashes
from maskrcnn.images.value_range import find_value_range
from maskrcnn.labels.image_files import labelled_pixels
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.progress import Progress


def duplicate_groups(dataset: Dataset, progress: Progress | None = None) -> list[int]:
    """For each image the index of the first one that it is a near-duplicate of, directly or through others.

    Every image is decoded. One that cannot be used, or has one colour only, is a group of its own.
    """
    count = len(dataset)
    paths = [path for path in (dataset.image(index).path for index in range(count)) if path is not None]
    pixels = partial(labelled_pixels, value_range=find_value_range(paths))
    hashes, usable = np.zeros(count, np.uint64), np.zeros(count, bool)
    with ThreadPoolExecutor(usable_cores()) as pool:
        for index, bits in enumerate(pool.map(lambda i: _hash(dataset.image(i), pixels), range(count))):
            hashes[index], usable[index] = bits or 0, bits is not None
            if progress:
                progress(index + 1, count)
    groups = list(range(count))
    for index in np.flatnonzero(usable).tolist():
        for other in np.flatnonzero(usable[:index] & similar_hashes(hashes[:index], hashes[index])).tolist():
            a, b = _first(groups, index), _first(groups, other)
            if a != b and near_duplicates(*(pixels(dataset.image(i)) for i in (other, index))):
                groups[max(a, b)] = min(a, b)
    return [_first(groups, index) for index in range(count)]


def _hash(image: LabelledImage, read: Callable[[LabelledImage], np.ndarray]) -> int | None:
    """The difference hash of an image; None for one that cannot be told from others, or not be used."""
    try:
        found = fingerprint(read(image))
    except DataError:
        return None
    return None if found.flat else found.bits


def _first(groups: list[int], index: int) -> int:
    """The first image of the group so far."""
    while groups[index] != index:
        index = groups[index]
    return index
