"""Samples: how many, which, where they stand, and that they depend on nothing but seed and index."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from maskrcnn.model.sampling import Sample, random_keys, sample

LARGEST_KEY = 1 - 2.0**-24


def check(
    positive: Tensor, negative: Tensor, keys: Tensor, chosen: Sample, samples: int, fraction: float
) -> None:
    """Everything that is promised of a sample."""
    b, n = positive.shape
    quota = min(int(samples * fraction), n)
    assert chosen.prefix == quota
    assert chosen.index.shape == chosen.positive.shape == chosen.valid.shape == (b, min(samples, n))
    assert not chosen.positive[:, quota:].any()
    assert not (chosen.positive & ~chosen.valid).any()
    for i in range(b):
        picked = chosen.index[i][chosen.valid[i]]
        assert len(set(picked.tolist())) == len(picked)
        assert positive[i][chosen.index[i][chosen.positive[i]]].all()
        assert negative[i][chosen.index[i][chosen.valid[i] & ~chosen.positive[i]]].all()
        positives = min(int(positive[i].sum()), quota)
        assert int(chosen.positive[i].sum()) == positives
        assert len(picked) - positives == min(int(negative[i].sum()), min(samples, n) - positives)
        # the best keys won
        for kind, mine in (
            (positive[i], chosen.positive[i]),
            (negative[i], chosen.valid[i] & ~chosen.positive[i]),
        ):
            won = torch.zeros(n, dtype=torch.bool)
            won[chosen.index[i][mine]] = True
            if won.any() and (kind & ~won).any():
                assert keys[i][won].min() >= keys[i][kind & ~won].max() - 2.0**-22


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda b: st.integers(0, 40).flatmap(
            lambda n: st.lists(st.lists(st.integers(0, 2), min_size=n, max_size=n), min_size=b, max_size=b)
        )
    ),
    st.integers(1, 50),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(0, 2**62),
)
def test_counts_and_places(kinds: list[list[int]], samples: int, fraction: float, seed: int) -> None:
    kind = torch.tensor(kinds, dtype=torch.int64).view(len(kinds), -1)
    positive, negative = kind == 1, kind == 2
    keys = random_keys(torch.arange(len(kinds)) + seed, kind.shape[1], stream=0)
    chosen = sample(positive, negative, keys, samples=samples, positive_fraction=fraction)
    check(positive, negative, keys, chosen, samples, fraction)


@pytest.mark.parametrize("key", [0.0, LARGEST_KEY])
def test_the_ends_of_the_keys_range(key: float) -> None:
    # 1 + the largest key rounds to 2 in float32, which must not make a positive of a negative
    keys = torch.full((1, 10), 0.5)
    keys[0, ::3] = key
    for share in (0, 2, 10):
        positive = torch.arange(10)[None] < share
        chosen = sample(positive, ~positive, keys, samples=8, positive_fraction=0.5)
        check(positive, ~positive, keys, chosen, 8, 0.5)


def test_equal_keys_never_let_in_more_positives_than_the_quota() -> None:
    positive, keys = torch.ones(1, 12, dtype=torch.bool), torch.full((1, 12), 0.25)
    chosen = sample(positive, ~positive, keys, samples=8, positive_fraction=0.25)
    assert chosen.positive.tolist() == [[True, True] + [False] * 6]
    assert chosen.valid.sum() == 2


def test_a_sample_is_uniform() -> None:
    keys = random_keys(torch.arange(2000), 20, stream=0)
    everyone = torch.ones(2000, 20, dtype=torch.bool)
    chosen = sample(~everyone, everyone, keys, samples=5, positive_fraction=0.25)
    share = torch.bincount(chosen.index[chosen.valid], minlength=20) / 2000
    assert ((share - 0.25).abs() < 0.05).all()  # five standard deviations


def test_keys_are_uniform_and_differ_by_seed_and_stream() -> None:
    keys = random_keys(torch.tensor([0, 1, 2**40 + 1]), 20_000, stream=0)
    assert keys.dtype == torch.float32 and keys.min() >= 0 and keys.max() < 1
    counts = torch.stack([torch.histc(row, 10, 0, 1) for row in keys])
    assert ((counts - 2000).abs() < 220).all()
    assert (
        (keys - random_keys(torch.tensor([0, 1, 2**40 + 1]), 20_000, stream=1)).abs() > 0.01
    ).float().mean() > 0.9
    both = torch.corrcoef(torch.cat([keys[:2], random_keys(torch.tensor([0]), 20_000, stream=1)]))
    assert (both - torch.eye(3)).abs().max() < 0.04


def test_keys_depend_on_seed_and_index_alone() -> None:
    seeds = torch.tensor([7, 11, 13])
    together = random_keys(seeds, 100, stream=0)
    torch.rand(5)  # the global generator plays no part
    assert torch.equal(together, random_keys(seeds, 100, stream=0))
    for i in range(3):
        assert torch.equal(together[i], random_keys(seeds[i : i + 1], 100, stream=0)[0])
    assert torch.equal(together[:, :60], random_keys(seeds, 60, stream=0))


def test_a_images_sample_does_not_depend_on_its_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(3, (4, 200), generator=generator)
    keys = random_keys(torch.arange(4) * 977, 200, stream=1)
    together = sample(kind == 1, kind == 2, keys, samples=64, positive_fraction=0.25)
    for i in range(4):
        row = slice(i, i + 1)
        alone = sample(kind[row] == 1, kind[row] == 2, keys[row], samples=64, positive_fraction=0.25)
        assert torch.equal(together.valid[row], alone.valid) and torch.equal(
            together.positive[row], alone.positive
        )
        assert torch.equal(together.index[row][alone.valid], alone.index[alone.valid])
