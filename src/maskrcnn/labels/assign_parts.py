"""Which image goes into which part of a split: at random, by strata, or by whole groups. Parts are numbered
from 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def part_sizes(count: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `count` and are nearest to its `shares`, which add up to 1."""
    exact = [count * share for share in shares]
    sizes = [int(size) for size in exact]
    by_remainder = sorted(range(len(shares)), key=lambda part: (sizes[part] - exact[part], part))
    for part in by_remainder[: count - sum(sizes)]:
        sizes[part] += 1
    return sizes


def assign_random(count: int, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """The part of each of `count` images, int64 (count,)."""
    return rng.permutation(np.repeat(np.arange(len(shares)), part_sizes(count, shares)))


def assign_stratified(
    strata: Sequence[Sequence[int]], shares: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """The part of each image such that every stratum is shared out like the whole, int64 (n,).

    Iterative stratification (Sechidis et al. 2011): the stratum with the fewest images left is shared out
    first, each image to the part that lacks most of this stratum, then to the one with most room. Unlike
    there a part that is full takes no more, so that the sizes are exact; many strata of one image would else
    all go into the largest part.

    Args:
        strata: for each image the strata that it is in, numbers from 0, at least one.
    """
    members: list[list[int]] = [[] for _ in range(1 + max(max(each) for each in strata))]
    for index in rng.permutation(len(strata)).tolist():
        for stratum in strata[index]:
            members[stratum].append(index)
    left = np.array([len(each) for each in members])
    wanted = [[len(each) * share for share in shares] for each in members]
    room = part_sizes(len(strata), shares)
    parts = np.full(len(strata), -1, np.int64)
    while left.any():
        rarest = int(np.where(left > 0, left, len(strata) + 1).argmin())
        for index in members[rarest]:
            if parts[index] >= 0:
                continue
            chance = rng.random(len(shares)).tolist()
            lacking = [
                (wanted[rarest][part], room[part], chance[part], part)
                for part in range(len(shares))
                if room[part]
            ]
            part = max(lacking)[-1]
            parts[index] = part
            room[part] -= 1
            for stratum in strata[index]:
                wanted[stratum][part] -= 1
                left[stratum] -= 1
    return parts


def assign_groups(
    groups: Sequence[Hashable], shares: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """The part of each image such that no group lies in two parts, int64 (n,).

    The largest group first, each to the part that lacks most images; how near that comes to the shares
    depends on how large the groups are.

    Args:
        groups: for each image what group it is in.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    listed = list(members.values())
    shuffled = [listed[place] for place in rng.permutation(len(listed))]
    lacking = [len(groups) * share for share in shares]
    parts = np.zeros(len(groups), np.int64)
    for each in sorted(shuffled, key=len, reverse=True):
        part = max(range(len(shares)), key=lambda part: lacking[part])
        parts[each] = part
        lacking[part] -= len(each)
    return parts
