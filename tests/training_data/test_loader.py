"""Batches are the same whoever makes them, and a training can go on in the middle of an epoch."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from maskrcnn.config.load import Config
from maskrcnn.config.model import InputConfig
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.batch import batches_of_one_shape, make_batch
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import LabelledImage
from maskrcnn.training_data.loader import test_loader, train_loader
from maskrcnn.training_data.sampler import EpochSampler
from maskrcnn.training_data.samples import TrainSamples, UnreadableImage


def config(**train) -> Config:
    augment = {"short_sides": [64, 96], "long_side": 200, "colour": 0.5}
    return Config.model_validate(
        {
            "data": {"augment": augment, "workers": train.pop("workers", 0), "mask_side": 28},
            "train": {"batch": 4, **train},
        }
    )


def same(a, b) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)])
def test_global_batches_do_not_depend_on_the_world(world, accumulate):
    reference = list(EpochSampler(30, 5, 2, batch=4))
    shares = [list(EpochSampler(30, 5, 2, rank, world, 4, accumulate=accumulate)) for rank in range(world)]
    assert all(len(share) == len(reference) * accumulate for share in shares)
    for step, whole in enumerate(reference):
        for rank, share in enumerate(shares):
            parts = share[step * accumulate : (step + 1) * accumulate]
            assert {len(part) for part in parts} == {4 // world // accumulate}
            assert list(itertools.chain(*parts)) == whole[rank::world]


def test_resumes_at_any_iteration():
    sampler = EpochSampler(30, 5, 1, 1, 2, 4)
    whole = list(sampler)
    for start in (0, 1, 5, 7, 8):
        sampler.set_epoch(1, start)
        assert list(sampler) == whole[start:] and len(sampler) == len(whole) - start
    assert list(EpochSampler(30, 5, 1, 1, 2, 4, start=3)) == whole[3:]


def test_every_image_in_every_epoch_with_its_own_seed():
    sampler = EpochSampler(10, 0, batch=4)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        epochs.append(list(itertools.chain(*sampler)))
        assert {index for index, _, _ in epochs[-1]} == set(range(10)) and len(epochs[-1]) == 12
    assert len({tuple(i for i, _, _ in epoch) for epoch in epochs}) == 3
    seeds = [seed for epoch in epochs for _, seed, _ in epoch]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    assert list(EpochSampler(10, 1, batch=4)) != list(EpochSampler(10, 0, batch=4))
    assert len(list(EpochSampler(10, -3, batch=4))) == 3


def test_a_step_draws_from_a_stream_of_its_own():
    """With the seed of its first image, the same number would decide on the step's mosaic and that image's
    flip."""
    batches = [batch for epoch in range(3) for batch in EpochSampler(30, 5, epoch, batch=4)]
    steps = [{step for _, _, step in batch} for batch in batches]
    assert all(len(each) == 1 for each in steps) and len(set.union(*steps)) == len(batches)
    assert not set.union(*steps) & {seed for batch in batches for _, seed, _ in batch}


def test_fewer_images_than_a_batch():
    (only,) = EpochSampler(3, 0, batch=8)
    assert len(only) == 8 and len({seed for _, seed, _ in only}) == 8


def test_upright_images_meet_upright_ones():
    tall = np.arange(30) % 3 == 0
    sampler = EpochSampler(30, 0, batch=4, tall=tall)
    batches = [[index for index, _, _ in batch] for batch in sampler]
    assert set(itertools.chain(*batches)) == set(range(30))
    mixed = [0 < tall[batch].sum() < 4 for batch in batches]
    assert sum(mixed[:-1]) <= 1
    shares = [list(EpochSampler(30, 0, 0, rank, 2, 4, tall=tall)) for rank in range(2)]
    for step, batch in enumerate(sampler):
        assert [share[step] for share in shares] == [batch[0::2], batch[1::2]]


def test_one_short_side_for_a_step():
    shorts = set()
    for batch, _, _ in train_loader(Synthetic(24), [0, 1, 2, 3], config()):
        found = set(batch.sizes.amin(dim=1).tolist())
        assert len(found) == 1
        shorts |= found
    assert shorts == {64, 96}


def test_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(UserError, match=r"train.batch=6 .* multiple of 4"):
        EpochSampler(30, 0, 0, 0, 4, 6)


def test_workers_change_nothing_and_the_loader_goes_on():
    data = Synthetic(10, people=True)
    alone = train_loader(data, list(range(5)), config())
    first = list(alone)
    alone.batch_sampler.set_epoch(1)
    second = list(alone)
    crew = train_loader(data, list(range(5)), config(workers=2))
    crew.batch_sampler.set_epoch(0, 1)
    for expected in (first[1:], second):
        got = list(crew)
        assert len(got) == len(expected)
        for (batch, targets, names), (batch2, targets2, names2) in zip(got, expected, strict=True):
            assert same(batch, batch2) and same(targets, targets2) and names == names2
        crew.batch_sampler.set_epoch(1)
    assert not same(first[0][0], second[0][0])


def test_two_processes_see_what_one_sees():
    data = Synthetic(8)
    (batch, targets, names), *_ = train_loader(data, [0, 1, 2, 3], config())
    for rank in range(2):
        (part, part_targets, part_names), *_ = train_loader(data, [0, 1, 2, 3], config(), rank=rank, world=2)
        assert part_names == names[rank::2] and torch.equal(part_targets.seeds, targets.seeds[rank::2])
        assert torch.equal(part.sizes, batch.sizes[rank::2])
        height, width = part.sizes[0]
        assert torch.equal(part.images[0, :, :height, :width], batch.images[rank, :, :height, :width])


def test_training_batch_is_what_the_network_expects():
    data = Synthetic(8, people=True)
    settings = config()
    settings.model.keypoint_head = {}
    batch, targets, names = next(iter(train_loader(data, list(range(5)), settings)))
    assert batch.images.dtype == torch.uint8 and batch.images.is_contiguous()
    assert (
        batch.images.shape[0] == 4 == len(names)
        and batch.images.shape[2] % 32 == 0 == batch.images.shape[3] % 32
    )
    assert targets.keypoints.shape[2:] == (17, 3) and targets.masks.shape[2:] == (28, 28)
    assert batch.originals.tolist() == [[128, 160]] * 4
    expected = batch.sizes.flip(1) / batch.originals.flip(1)
    assert torch.allclose(batch.scales, expected)
    inside = targets.boxes[..., 2:] <= batch.sizes.flip(1)[:, None]
    assert inside[targets.valid].all() and targets.valid.any(dim=1).all()
    settings.model.mask_head = settings.model.keypoint_head = None
    _, targets, _ = next(iter(train_loader(data, list(range(5)), settings)))
    assert targets.masks.shape[2] == 0 == targets.keypoints.shape[2]


def test_keypoints_of_another_kind_are_refused():
    settings = config()
    settings.model.keypoint_head = {}
    settings.model.keypoints = {"names": ["tip"], "flip": [0], "sigmas": [0.1]}
    with pytest.raises(DataError, match="not the model's"):
        TrainSamples(Synthetic(2, people=True), list(range(5)), settings)


def test_test_loader_keeps_the_order():
    data = Synthetic(5)
    settings = InputConfig(short_side=96, long_side=200)
    batches = list(test_loader(data, settings, 2, 0))
    assert [indices for _, indices in batches] == [[0, 1], [2, 3], [4]]
    batch = batches[0][0]
    assert batch.images.shape == (2, 3, 96, 128) and batch.sizes.tolist() == [[96, 120]] * 2
    assert batch.scales[0].tolist() == [0.75, 0.75] and not batch.images[:, :, :, 120:].any()


class Mixed(Synthetic):
    """Every other image is upright."""

    def image(self, index: int) -> LabelledImage:
        found = super().image(index)
        return replace(found, height=found.width, width=found.height) if index % 2 else found

    def pixels(self, index: int) -> np.ndarray:
        return np.rot90(super().pixels(index)).copy() if index % 2 else super().pixels(index)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    sizes=st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), max_size=12), most=st.integers(1, 4)
)
def test_a_batch_has_images_of_one_padded_shape(sizes, most):
    form = InputConfig(short_side=96, long_side=200)
    batches = batches_of_one_shape(sizes, form, most)
    assert sorted(place for batch in batches for place in batch) == list(range(len(sizes)))
    for batch in batches:
        pixels = [np.zeros((*sizes[place], 3), np.uint8) for place in batch]
        alone = {make_batch([one], form).images.shape[2:] for one in pixels}
        assert len(batch) <= most and alone == {make_batch(pixels, form).images.shape[2:]}


def test_test_loader_batches_images_of_one_shape():
    batches = list(test_loader(Mixed(5), InputConfig(short_side=96, long_side=200), 2, 0))
    assert [indices for _, indices in batches] == [[0, 2], [1, 3], [4]]


class Torn(Synthetic):
    """One image of it cannot be read."""

    def pixels(self, index: int) -> np.ndarray:
        if index == 2:
            raise OSError("image file is truncated\n(4 bytes not processed)")
        return super().pixels(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_is_named_in_one_line(workers):
    with pytest.raises(UnreadableImage) as caught:
        list(train_loader(Torn(4), [0, 1, 2, 3], config(workers=workers)))
    assert str(caught.value) == (
        "synthetic-0-000002.png: not readable: image file is truncated (4 bytes not processed)"
    )


def test_endless_batches_are_those_of_one_epoch_after_another() -> None:
    endless = EpochSampler(10, 3, epoch=4, batch=4, start=1, endless=True)
    epochs = [*EpochSampler(10, 3, epoch=4, batch=4, start=1), *EpochSampler(10, 3, epoch=5, batch=4)]
    assert list(itertools.islice(endless, len(epochs))) == epochs
    assert len(epochs) == 2 + 3
