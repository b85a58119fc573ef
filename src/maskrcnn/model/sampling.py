"""A random subset with a bounded share of positives (Fast R-CNN, section 2.3), without asking how many there
are.

Every candidate draws a key; the best keys win. Keys are a hash of the image's seed and the candidate's index,
so an image's sample does not depend on its neighbours in the batch, on the number of processes, or on what
ran before.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Sample(NamedTuple):
    index: Tensor  # type: ignore[assignment]  # (B, S) int64 into the candidates, positives first
    positive: Tensor  # (B, S) bool; all of them lie in the first `prefix` columns
    valid: Tensor  # (B, S) bool: sampled, as positive or negative
    prefix: int  # columns that can hold a positive


def random_keys(seeds: Tensor, count: int, stream: int) -> Tensor:
    """(B, count) float keys in [0, 1) from `seeds` (B,) int64: an integer hash (Wellons' lowbias32) of seed
    and index.
    """
    mask = 0xFFFFFFFF
    index = torch.arange(count, device=seeds.device)
    x = (seeds[:, None] * 0x9E3779B1 + stream * 0x85EBCA77 + index * 0xC2B2AE3D) & mask
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & mask
    x = ((x ^ (x >> 15)) * 0x846CA68B) & mask
    x = x ^ (x >> 16)
    return (x >> 8).float() / (1 << 24)


def sample(
    positive: Tensor, negative: Tensor, keys: Tensor, *, samples: int, positive_fraction: float
) -> Sample:
    """At most `samples` candidates of each image, at most that fraction of them positive, filled up with
    negatives.

    Args:
        positive, negative: (B, N) bool, disjoint; a candidate that is neither is never taken.
        keys: (B, N) in [0, 1).
    """
    total = min(samples, positive.shape[1])
    prefix = min(int(samples * positive_fraction), total)
    # 3 + key for positives, 1 + key for negatives, 0 for the rest; not 2, which 1 + the largest key is
    # rounded to
    rank = torch.where(positive, keys + 3, torch.where(negative, keys + 1, torch.zeros_like(keys)))
    best_positive = (
        rank.topk(prefix, sorted=True).values if prefix else rank.new_full((rank.shape[0], 1), 5.0)
    )
    # positives beyond the quota drop out; equal keys at the border may let one in too many, which `prefix`
    # cuts again
    rank = torch.where(positive & (rank < best_positive[:, -1:]), torch.zeros_like(rank), rank)
    value, index = rank.topk(total, sorted=True)
    taken_positive = value >= 3
    taken_positive[:, prefix:] = False
    return Sample(index, taken_positive, taken_positive | ((value >= 1) & (value < 3)), prefix)
