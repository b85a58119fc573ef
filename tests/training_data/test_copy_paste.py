"""Pasted objects hide what is under them, in pixels and in labels alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.config.data import AugmentConfig
from maskrcnn.config.load import Config
from maskrcnn.images.view import View, warp_image
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.rle import rle_bitmap
from maskrcnn.training_data.augment import draw_paste_view
from maskrcnn.training_data.copy_paste import draw_objects, draw_stencil, paste_targets
from maskrcnn.training_data.corruption import corrupt
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.samples import TrainSamples
from maskrcnn.training_data.targets import ObjectTargets, make_targets

SIDE = 64
WHOLE = View(np.array([[1.0, 0, 0], [0, 1.0, 0]]), SIDE, SIDE, False)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], float)


def targets(*boxes: tuple[float, float, float, float], masks: bool = True) -> ObjectTargets:
    annotations = [Annotation(box, 0, polygons=[rectangle(*box)] if masks else None) for box in boxes]
    return make_targets(LabelledImage(1, "a.png", None, SIDE, SIDE, annotations), [0], WHOLE, SIDE, None, 5)


def stencil(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    result = np.zeros((SIDE, SIDE), bool)
    result[y1:y2, x1:x2] = True
    return result


def test_what_is_hidden_leaves_mask_and_box():
    found = paste_targets(targets((10, 10, 30, 30)), targets((20, 0, 64, 64)), stencil(20, 0, 64, 64))
    assert np.allclose(found.boxes, [[10, 10, 20, 30], [20, 0, 64, 64]], atol=20 / SIDE)
    assert found.masks[0].mean() == pytest.approx(0.5, abs=0.03) and found.masks[1].all()
    assert found.seed == 5 and not found.ignore.any()


def test_what_is_hidden_altogether_is_gone_and_a_rest_is_ignored():
    below = targets((10, 10, 20, 20), (10, 10, 40, 40), (50, 50, 60, 60))
    found = paste_targets(below, targets((0, 0, 38, 64)), stencil(0, 0, 38, 64))
    # the first is gone, a fifteenth of the second is left, the third is untouched
    assert len(found.boxes) == 3 and found.ignore.tolist() == [True, False, False]
    assert found.boxes[1].tolist() == [50, 50, 60, 60]


def test_an_object_without_a_mask_keeps_its_box():
    found = paste_targets(
        targets((10, 10, 30, 30), masks=False), targets((0, 0, 64, 64)), stencil(0, 0, 64, 64)
    )
    assert found.boxes[0].tolist() == [10, 10, 30, 30]


def test_keypoints_under_a_pasted_object_are_hidden_not_lost():
    below = targets((0, 0, 60, 60))
    below.keypoints = np.array([[[5, 5, 2], [40, 40, 2], [41, 40, 1], [0, 0, 0]]], np.float32)
    above = targets((30, 30, 50, 50))
    above.keypoints = np.zeros((1, 4, 3), np.float32)
    found = paste_targets(below, above, stencil(30, 30, 50, 50))
    assert found.keypoints[0, :, 2].tolist() == [2, 1, 1, 0]


def test_crowds_and_boxes_alone_are_not_pasted():
    plain = Annotation((0, 0, 9, 9), 0)
    crowd = Annotation((0, 0, 9, 9), 0, polygons=[rectangle(0, 0, 9, 9)], crowd=True)
    object_ = Annotation((0, 0, 9, 9), 0, polygons=[rectangle(0, 0, 9, 9)])
    for seed in range(20):
        assert draw_objects([plain, crowd], np.random.default_rng(seed)) == []
        assert draw_objects([plain, object_, crowd], np.random.default_rng(seed)) == [object_]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 25.0]), st.sampled_from([0.0, 1.0]))
def test_the_stencil_is_where_the_objects_are_seen(seed, rotate, turn):
    rng = np.random.default_rng(seed)
    dataset = Synthetic(4, seed=seed)
    image = dataset.image(0)
    config = AugmentConfig(rotate=rotate, turn=turn)
    view = draw_paste_view(config, image.height, image.width, (150, 170), rng)
    union = sum(rle_bitmap(annotation_rle(a, image.height, image.width)) for a in image.annotations)
    shown = warp_image(np.uint8(255 * (union[..., None] > 0)), view)[..., 0] > 127
    drawn = draw_stencil(image.annotations, view)
    assert drawn.shape == (150, 170)
    # they may differ along outlines, which are a few pixels of some thousand
    assert (shown != drawn).sum() <= 0.25 * shown.sum() + 20


def config(**augment) -> Config:
    augment = {"short_sides": [96], "long_side": 200, "copy_paste": 1.0, **augment}
    return Config.model_validate(
        {"data": {"augment": augment, "workers": 0, "mask_side": 28}, "train": {"batch": 2}}
    )


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_samples_are_the_same_each_time_and_have_more_objects(mosaic):
    dataset = Synthetic(6)
    labels = list(range(len(dataset.classes)))
    settings_ = config(
        mosaic=mosaic, mosaic_canvas=[96, 128], rotate=10, turn=0.5, colour=0.5, blur=0.5, noise=0.5, jpeg=0.5
    )
    pasting = TrainSamples(dataset, labels, settings_)
    alone = TrainSamples(dataset, labels, settings_.model_copy(deep=True))
    alone.augment.copy_paste = 0.0
    more = 0
    for key in [(i, 10 + i, 3) for i in range(6)]:
        one, two = pasting[key], pasting[key]
        assert np.array_equal(one.pixels, two.pixels) and one.name == two.name and " + " in one.name
        assert np.array_equal(one.targets.boxes, two.targets.boxes)
        assert one.pixels.shape == alone[key].pixels.shape
        more += len(one.targets.boxes) - len(alone[key].targets.boxes)
    assert more > 0


def test_what_is_hidden_is_gone_for_a_network_without_a_mask_head_too():
    dataset = Synthetic(6)
    settings_ = config()
    boxes_alone = settings_.model_copy(deep=True)
    boxes_alone.model.mask_head = None
    for seed in range(6):
        one, two = (
            TrainSamples(dataset, list(range(len(dataset.classes))), each)[seed, seed, 3]
            for each in (settings_, boxes_alone)
        )
        assert np.array_equal(one.targets.boxes, two.targets.boxes)
        assert np.array_equal(one.targets.ignore, two.targets.ignore)


def test_an_epoch_of_everything_can_be_trained_on():
    dataset = Synthetic(4, people=True)
    settings_ = config(rotate=20, turn=0.5, blur=1.0, noise=1.0, jpeg=1.0)
    for batch, found, names in train_loader(dataset, list(range(len(dataset.classes))), settings_):
        assert batch.images.dtype == torch.uint8 and len(names) == 2
        sides = found.boxes[found.valid][:, 2:] - found.boxes[found.valid][:, :2]
        assert (sides >= 1).all()


@pytest.mark.parametrize("kind", ["blur", "noise", "jpeg"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_each_degradation_changes_a_image_a_little(kind, channels):
    rng = np.random.default_rng(0)
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (8, 8, channels), dtype=np.uint8), 6, 0), 6, 1)
    found = corrupt(pixels, AugmentConfig(**{kind: 1.0}), rng)
    difference = np.abs(found.astype(int) - pixels)
    assert found.shape == pixels.shape and found.dtype == np.uint8 and 0 < difference.mean() < 40
    assert corrupt(pixels, AugmentConfig(), rng) is pixels


def test_sides_that_nothing_hides_stay_where_they_are():
    """Though they end in points that the bitmap does not show."""
    ring = np.array([[32, 2], [62, 32], [32, 62], [2, 32]], float)
    one = Annotation((2, 2, 62, 62), 0, polygons=[ring])
    above = Annotation((28, 28, 36, 36), 0, polygons=[rectangle(28, 28, 36, 36)])
    below, pasted = (
        make_targets(LabelledImage(1, "a.png", None, SIDE, SIDE, [each]), [0], WHOLE, 14, None, 5)
        for each in (one, above)
    )
    found = paste_targets(below, pasted, stencil(28, 28, 36, 36))
    assert found.boxes[0].tolist() == [2, 2, 62, 62] and not found.masks[0].all()
    found = paste_targets(below, pasted, stencil(40, 0, 64, 64))
    assert found.boxes[0, :2].tolist() == [2, 2] and 38 < found.boxes[0, 2] < 46 and found.boxes[0, 3] == 62
