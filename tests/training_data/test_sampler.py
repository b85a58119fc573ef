"""Rare classes come more often, by the stated factor, and everything that holds of an epoch still does."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.config.load import Config
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.sampler import (
    EpochSampler,
    describe_repeats,
    draw_entries,
    epoch_length,
    repeat_factors,
)

FACTORS = st.lists(st.one_of(st.just(1.0), st.floats(1.0, 6.0)), min_size=1, max_size=60).map(np.array)


def dataset(labels: list[list[int]], crowds: bool = False) -> FileDataset:
    def objects(found: list[int]) -> list[Annotation]:
        return [Annotation((0, 0, 1, 1), label, crowd=crowds) for label in found]

    images = [LabelledImage(k, f"{k}.png", None, 9, 9, objects(found)) for k, found in enumerate(labels)]
    return FileDataset(images, DatasetInfo(name="made up", classes=["a", "b", "c"], class_ids=[1, 2, 3]))


def test_factors_are_the_paper_s():
    labels = [[0]] * 90 + [[0, 1]] * 9 + [[2, 2, 0]] + [[]] * 100
    factors = repeat_factors(dataset(labels), 0.25)
    # a is in half of the images, b in 9 of 200, c in one, however many objects of it that has
    assert factors[:90] == pytest.approx(1.0) and factors[100:] == pytest.approx(1.0)
    assert factors[90:99] == pytest.approx(np.sqrt(0.25 / (9 / 200)))
    assert factors[99] == pytest.approx(np.sqrt(0.25 * 200))
    assert repeat_factors(dataset(labels, crowds=True), 0.25) == pytest.approx(1.0)
    assert "10 of 200" in describe_repeats(
        factors
    ) and f"an epoch has {epoch_length(factors)}" in describe_repeats(factors)


@given(FACTORS, st.integers(0, 99))
def test_an_epoch_has_every_image_as_often_as_its_factor_rounded(factors, seed):
    entries = draw_entries(factors, np.random.default_rng(seed))
    counts = np.bincount(entries, minlength=len(factors))
    assert np.all((counts == np.floor(factors)) | (counts == np.floor(factors) + 1))
    assert np.all(counts[factors == 1.0] == 1)
    assert epoch_length(factors) - 1 <= len(entries) <= epoch_length(factors)


def test_factors_are_right_on_average():
    factors = np.array([1.0, 1.25, 1.25, 2.5, 3.1, 1.9])
    rng = np.random.default_rng(0)
    mean = np.mean([np.bincount(draw_entries(factors, rng), minlength=6) for _ in range(4000)], axis=0)
    assert mean == pytest.approx(factors, abs=0.03)


@given(FACTORS, st.integers(0, 5), st.sampled_from([(1, 1), (2, 1), (4, 1), (2, 2)]), st.booleans())
def test_batches_do_not_depend_on_the_world_and_resume(factors, epoch, shape, upright):
    world, accumulate = shape
    tall = np.arange(len(factors)) % 3 == 0 if upright else None

    def sampler(rank: int, world: int, accumulate: int, start: int = 0) -> EpochSampler:
        options = {"accumulate": accumulate, "start": start, "tall": tall, "factors": factors}
        return EpochSampler(len(factors), 5, epoch, rank, world, 4, **options)

    reference = list(sampler(0, 1, 1))
    assert len(reference) == sampler(0, 1, 1).global_batches == -(-epoch_length(factors) // 4)
    assert {index for index, _, _ in itertools.chain(*reference)} == set(range(len(factors)))
    for rank in range(world):
        share = list(sampler(rank, world, accumulate))
        joined = [list(itertools.chain(*share[k : k + accumulate])) for k in range(0, len(share), accumulate)]
        assert joined == [batch[rank::world] for batch in reference]
    assert list(sampler(0, 1, 1, start=2)) == reference[2:]


def test_epochs_differ_but_are_equally_long():
    factors = np.full(40, 1.3)
    sampler = EpochSampler(40, 0, batch=4, factors=factors)
    epochs = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        epochs.append(Counter(index for index, _, _ in itertools.chain(*sampler)))
    assert len({tuple(sorted(epoch.items())) for epoch in epochs}) == 4
    assert {sum(epoch.values()) for epoch in epochs} == {52}


def test_the_setting_reaches_the_sampler():
    data = Synthetic(12)
    factors = train_loader(data, [0, 1, 2, 3], Config()).batch_sampler.factors
    assert factors is None
    config = Config.model_validate({"data": {"repeat_threshold": 1.0, "workers": 0}, "train": {"batch": 4}})
    sampler = train_loader(data, [0, 1, 2, 3], config).batch_sampler
    assert sampler.factors == pytest.approx(repeat_factors(data, 1.0)) and sampler.factors.max() > 1
    assert sampler.global_batches == -(-epoch_length(sampler.factors) // 4)


def test_empty_images_are_kept_as_negatives_by_default():
    assert Config().data.empty == "keep" and Config().data.repeat_threshold is None
    sampler = EpochSampler(5, 0, batch=1, factors=repeat_factors(dataset([[0], [], [], [1], []]), 0.5))
    assert {index for batch in sampler for index, _, _ in batch} == set(range(5))
