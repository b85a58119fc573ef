"""Near-duplicate images: one image resized or compressed again.

A difference hash finds the candidates: the signs of 8 x 8 steps of brightness, which resizing hardly changes.
Those that are near in it are compared once more by their 32 x 32 thumbnails.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskrcnn.images.view import resize_image

GRID = 8  # of the difference hash
MOST_BITS = 3  # of its 64 that may differ between near-duplicates
THUMBNAIL = 32  # pixels a side
MOST_DIFFERENCE = 6.0  # of two thumbnails, of 255, on average
FLAT = 2  # of 255; with less between its darkest and brightest cell, an image's hash says nothing


@dataclass(frozen=True)
class Fingerprint:
    """The difference hash of an image."""

    bits: int  # 64 of them
    flat: bool  # the image has one colour only, so that `bits` say nothing


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """The difference hash of an image uint8 (H, W, C)."""
    small = resize_image(pixels, GRID + 1, GRID).mean(2)
    bits = np.packbits((small[:, 1:] > small[:, :-1]).ravel()).view(np.uint64)
    return Fingerprint(int(bits[0]), bool(np.ptp(small) < FLAT))


def similar_hashes(hashes: np.ndarray, bits: int) -> np.ndarray:
    """bool (n,): which of `hashes` uint64 (n,) are near enough to `bits` for their images to be compared."""
    near: np.ndarray = np.bitwise_count(hashes ^ np.uint64(bits)) <= MOST_BITS
    return near


def near_duplicates(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two images uint8 (H, W, C) are one: their thumbnails hardly differ."""
    first, second = (resize_image(pixels, THUMBNAIL, THUMBNAIL) for pixels in (a, b))
    return float(np.abs(first.astype(float) - second).mean()) < MOST_DIFFERENCE
