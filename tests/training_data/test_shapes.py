"""The few shapes of a compiled training's batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data._utils.pin_memory import pin_memory

from maskrcnn.config.load import Config
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.training_data.augment import draw_view
from maskrcnn.training_data.fill_config import fill_config
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.shapes import shapes_of, slots_holding


def config_of(**augment: Any) -> Config:
    return Config.model_validate({"data": {"augment": augment, "workers": 0}, "train": {"batch": 2}})


@pytest.mark.parametrize(
    ("augment", "sides"),
    [
        ({}, {(800, 800), (800, 1088), (1088, 800), (800, 1344), (1344, 800), (1344, 1344)}),
        ({"mosaic": 1.0, "mosaic_canvas": [500, 640]}, {(512, 640)}),
        ({"jitter": [0.1, 2.0], "crop": [1024, 1024]}, {(1024, 1024)}),
        ({"jitter": [0.1, 2.0], "crop": [64, 96], "mosaic": 0.5}, {(64, 96)}),
        (
            {"short_sides": [64], "long_side": 64, "mosaic": 0.5, "mosaic_canvas": [96, 64]},
            {(64, 64), (96, 64)},
        ),
        ({"short_sides": [64], "long_side": 64}, {(64, 64)}),
    ],
)
def test_which_there_are(augment: dict[str, Any], sides: set[tuple[int, int]]) -> None:
    assert set(shapes_of(config_of(**augment)).sides) == sides


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.lists(st.integers(32, 400), min_size=1, max_size=3),
    st.integers(400, 900),
    st.sampled_from([{}, {"turn": 1.0}, {"rotate": 20.0}]),
    st.integers(0, 1000),
)
def test_every_view_fits(
    size: tuple[int, int], short: list[int], long: int, more: dict[str, Any], seed: int
) -> None:
    config = config_of(short_sides=short, long_side=long, **more)
    view = draw_view(config.data.augment, *size, np.random.default_rng(seed))
    shapes = shapes_of(config)
    height, width = shapes.holding(view.height, view.width)
    assert height >= view.height and width >= view.width and len(shapes.sides) <= 6


def test_slots() -> None:
    assert [slots_holding(n) for n in (0, 32, 33, 128, 129, 2048)] == [32, 32, 128, 128, 512, 2048]


def test_batches_keep_to_them() -> None:
    data = Synthetic(count=8, side=(64, 96))
    config = fill_config(config_of(short_sides=[40, 64], long_side=96), data)  # of 64 x 64 and 64 x 96
    shapes = shapes_of(config)
    labels = list(range(len(data.classes)))
    plain = list(train_loader(data, labels, config))
    padded = list(train_loader(data, labels, config, shapes=shapes))
    assert {batch.images.shape[-2:] for batch, _, _ in plain} == {(64, 64), (64, 96)}
    for (batch, targets, names), (own, own_targets, own_names) in zip(padded, plain, strict=True):
        assert tuple(batch.images.shape[-2:]) in shapes.sides and targets.boxes.shape[1] == 32
        height, width = own.images.shape[-2:]
        assert names == own_names and torch.equal(batch.sizes, own.sizes)
        assert torch.equal(batch.images[..., :height, :width], own.images)
        assert batch.images.sum() == own.images.sum()  # the padding is zeros
        slots = own_targets.boxes.shape[1]
        assert torch.equal(targets.boxes[:, :slots], own_targets.boxes) and not targets.valid[:, slots:].any()


def test_a_loader_pins_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Synthetic(count=2, side=(64, 64))
    config = fill_config(config_of(short_sides=[32], long_side=32), data)
    sample = next(iter(train_loader(data, list(range(len(data.classes))), config)))
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: pinned.append(self) or self)
    batch, targets, _ = pin_memory(sample, "cuda")
    assert len(pinned) == 4 + 9 and batch.images is sample[0].images and targets.masks is sample[1].masks
