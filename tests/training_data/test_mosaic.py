"""A mosaic shows the same objects as its tiles do, where the tiles stand."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.config.load import Config
from maskrcnn.images.view import warp_image
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.training_data.augment import draw_tile_view
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.mosaic import draw_tiles, join_pixels, join_targets
from maskrcnn.training_data.samples import TrainSamples
from maskrcnn.training_data.targets import make_targets


def config(**augment) -> Config:
    augment = {"short_sides": [64], "long_side": 200, "mosaic_canvas": [96, 128], "colour": 0.5, **augment}
    return Config.model_validate(
        {"data": {"augment": augment, "workers": 0, "mask_side": 28}, "train": {"batch": 4}}
    )


@given(st.integers(16, 300), st.integers(16, 300), st.integers(1, 4), st.integers(0, 2**32))
def test_tiles_cover_the_canvas_once(height, width, grid, seed):
    covered = np.zeros((height, width), int)
    for tile in draw_tiles((height, width), grid, np.random.default_rng(seed)):
        assert tile.height > 0 and tile.width > 0
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert (covered == 1).all()


def test_objects_stand_where_their_tiles_do():
    dataset = Synthetic(4)
    rng = np.random.default_rng(0)
    canvas = (200, 160)
    tiles = draw_tiles(canvas, 2, rng)
    images, parts = [], []
    for index, tile in enumerate(tiles):
        image = dataset.image(index)
        view = draw_tile_view(
            config().data.augment, image.height, image.width, (tile.height, tile.width), rng
        )
        images.append(warp_image(dataset.pixels(index), view))
        labels = list(range(len(dataset.classes)))
        parts.append(make_targets(image, labels, view, 28, dataset.keypoints, index))
    pixels, targets = join_pixels(canvas, tiles, images), join_targets(tiles, parts, 7)
    assert targets.seed == 7 and len(targets.boxes) == sum(len(part.boxes) for part in parts) > 4
    first = 0
    for tile, image, part in zip(tiles, images, parts, strict=True):
        cell = pixels[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        assert np.array_equal(cell, image)
        mine = slice(first, first := first + len(part.boxes))
        shift = np.float32([tile.left, tile.top])
        assert np.array_equal(targets.boxes[mine], part.boxes + np.tile(shift, 2))
        assert np.array_equal(targets.mask_boxes[mine], part.mask_boxes + np.tile(shift, 2))
        assert np.array_equal(targets.masks[mine], part.masks)
        labelled = part.keypoints[..., 2] > 0
        assert np.array_equal(
            targets.keypoints[mine][labelled][:, :2], part.keypoints[labelled][:, :2] + shift
        )
        assert (targets.keypoints[mine][~labelled] == 0).all()


def test_whole_steps_are_mosaics():
    dataset = Synthetic(16)
    shapes = [
        tuple(batch.images.shape[2:]) for batch, _, _ in train_loader(dataset, [0] * 9, config(mosaic=1.0))
    ]
    assert shapes == [(96, 128)] * 4
    loader = train_loader(dataset, [0] * 9, config(mosaic=0.5))
    mosaics = []
    for epoch in range(4):
        loader.batch_sampler.set_epoch(epoch)
        mosaics += [[" + " in name for name in names] for _, _, names in loader]
    assert all(len(set(step)) == 1 for step in mosaics)  # a step is all mosaics or none
    assert {step[0] for step in mosaics} == {True, False}


def test_a_mosaic_is_the_same_again():
    samples = TrainSamples(Synthetic(8), [0] * 9, config(mosaic=1.0, mosaic_grids=[2, 3]))
    one, two, other = samples[3, 11, 5], samples[3, 11, 5], samples[3, 12, 5]
    assert np.array_equal(one.pixels, two.pixels) and one.name == two.name
    assert all(
        np.array_equal(getattr(one.targets, f.name), getattr(two.targets, f.name))
        for f in fields(one.targets)
    )
    assert one.name != other.name


def test_a_mosaic_without_grids_is_refused():
    with pytest.raises(ValueError, match="mosaic_grids"):
        config(mosaic=0.5, mosaic_grids=[])
