"""What an image's labels become."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from maskrcnn.config.model import KeypointSchema
from maskrcnn.images.view import View, resized_view
from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.rle import bitmap_rle
from maskrcnn.training_data.targets import _draw_polygons, collate_targets, make_targets

M = 28
SCHEMA = KeypointSchema(names=["a", "left_b", "right_b"], flip=[0, 2, 1], sigmas=[0.05] * 3)


def window(x: float, y: float, width: int, height: int) -> View:
    """The part of an image from (x, y) on, at its own scale."""
    return View(np.array([[1.0, 0, -x], [0, 1.0, -y]]), height, width, False)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], float)


def image(*annotations: Annotation, height: int = 100, width: int = 120) -> LabelledImage:
    return LabelledImage(7, "a.png", None, height, width, list(annotations))


WHOLE = window(0, 0, 120, 100)


def test_labels_are_the_models_and_seed_is_kept():
    found = make_targets(
        image(Annotation((1, 2, 30, 40), 1), Annotation((5, 5, 9, 9), 0)), [4, 2], WHOLE, M, None, 99
    )
    assert found.labels.tolist() == [2, 4] and found.seed == 99
    assert found.boxes.tolist() == [[1, 2, 30, 40], [5, 5, 9, 9]] and found.boxes.dtype == np.float32
    assert not found.has_mask.any() and not found.masks.any() and found.keypoints.shape == (2, 0, 3)


def test_bitmap_of_a_polygon_and_of_its_rle_agree():
    ring = rectangle(10, 20, 50, 60)
    ring = np.concatenate([ring[:2], [[30, 40]], ring[2:]])  # a notch
    rle = coco_mask.merge(coco_mask.frPyObjects([ring.ravel().tolist()], 100, 120))
    both = [Annotation((10, 20, 50, 60), 0, polygons=[ring]), Annotation((10, 20, 50, 60), 0, rle=rle)]
    for view in (WHOLE, resized_view(100, 120, 250, 500)):
        found = make_targets(image(*both), [0], view, M, None, 0)
        assert (found.masks[0] != found.masks[1]).mean() < 0.05
        x = y = np.arange(M) + 0.5
        expected = (x[None] <= y[:, None]) | (x[None] <= M - y[:, None])
        # corners (10,20) (50,20) (30,40) (50,60) (10,60): the part left of both arms of the notch
        assert (found.masks[0].astype(bool) != expected).mean() < 0.05


@pytest.mark.parametrize("flipped", [False, True])
def test_bitmap_of_whole_pixels_is_the_mask_itself(flipped):
    rng = np.random.default_rng(0)
    full = np.zeros((100, 120), np.uint8)
    full[20 : 20 + M, 10 : 10 + M] = rng.random((M, M)) < 0.5
    ring = np.array([[10, 20], [38, 25], [33, 48], [12, 40]], float)
    drawn = coco_mask.decode(coco_mask.frPyObjects([ring.ravel().tolist()], 100, 120))[..., 0]
    box = (10.0, 20.0, 10.0 + M, 20.0 + M)
    rle = coco_mask.encode(np.asfortranarray(full))
    view = View(np.array([[-1.0, 0, 120], [0, 1.0, 0]]), 100, 120, True) if flipped else WHOLE
    both = image(Annotation(box, 0, rle=rle), Annotation(box, 0, polygons=[ring]))
    found = make_targets(both, [0], view, M, None, 0)
    for bitmap, mask in zip(found.masks, (full, drawn), strict=True):
        expected = mask[20 : 20 + M, 10 : 10 + M]
        differ = bitmap != (expected[:, ::-1] if flipped else expected)
        # pycocotools rounds a polygon's corners, so it draws a mirrored one a little differently
        assert differ.mean() <= (0.01 if flipped and mask is drawn else 0)


def test_rings_are_united():
    rings = [rectangle(0, 0, 20, 20), rectangle(10, 0, 40, 20)]
    found = make_targets(image(Annotation((0, 0, 40, 20), 0, polygons=rings)), [0], WHOLE, M, None, 0)
    assert found.masks.all()


def test_cut_object_gets_the_box_of_what_is_left():
    # an L: the view shows only its foot
    ring = np.array([[10, 10], [20, 10], [20, 70], [60, 70], [60, 80], [10, 80]], float)
    rle = coco_mask.merge(coco_mask.frPyObjects([ring.ravel().tolist()], 100, 120))
    for shape in ({"polygons": [ring]}, {"rle": rle}):
        found = make_targets(
            image(Annotation((10, 10, 60, 80), 0, **shape)), [0], window(30, 20, 90, 80), M, None, 0
        )
        cell = np.array([30, 60, 30, 60]) / M
        assert found.mask_boxes.tolist() == [[0, 0, 30, 60]]
        assert (np.abs(found.boxes[0] - [0, 50, 30, 60]) <= cell).all()


def test_objects_without_anything_left_are_left_out():
    ring = np.array([[10, 10], [20, 10], [20, 80], [60, 80], [60, 90], [10, 90]], float)
    outside = Annotation((0, 0, 20, 20), 0)
    sliver = Annotation((10, 10, 30.5, 30), 0)
    hollow = Annotation((10, 10, 60, 90), 0, polygons=[ring])  # its box is in view, its mask is not
    kept = Annotation((40, 30, 60, 50), 0)
    found = make_targets(image(outside, sliver, hollow, kept), [0], window(30, 20, 90, 50), M, None, 0)
    assert found.boxes.tolist() == [[10, 10, 30, 30]]
    assert found.masks.shape == (1, M, M)


def test_whole_object_with_an_empty_mask_keeps_its_box():
    line = np.array([[10, 10], [10, 30], [10, 20]], float)
    found = make_targets(image(Annotation((10, 10, 30, 30), 0, polygons=[line])), [0], WHOLE, M, None, 0)
    assert found.boxes.tolist() == [[10, 10, 30, 30]] and not found.has_mask[0]


def test_crowds_are_ignored_and_have_no_mask():
    crowd = Annotation((10, 10, 60, 80), 0, polygons=[rectangle(10, 10, 60, 80)], crowd=True)
    found = make_targets(image(crowd), [0], WHOLE, M, None, 0)
    assert found.ignore.tolist() == [True] and not found.has_mask.any()


def test_outline_far_outside_the_view_costs_nothing():
    huge = np.array([[-1e9, -1e9], [1e9, -1e9], [1e9, 40], [-1e9, 40]])
    found = make_targets(image(Annotation((0, 0, 120, 40), 0, polygons=[huge])), [0], WHOLE, M, None, 0)
    assert found.masks.all()


def test_clipped_outline_is_drawn_as_the_whole_one():
    rng = np.random.default_rng(3)
    for _ in range(20):
        ring = rng.uniform(-100, 200, (9, 2))
        full = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([ring.ravel().tolist()], 100, 120)))
        small = Annotation((50, 40, 70, 60), 0, polygons=[ring])
        found = make_targets(image(small), [0], WHOLE, 20, None, 0)
        if len(found.boxes):
            assert (found.masks[0] != full[40:60, 50:70]).mean() < 0.02


def test_keypoints_of_some():
    with_points = Annotation(
        (10, 10, 50, 50), 0, keypoints=np.array([[20, 20, 2], [30, 20, 1], [0, 0, 0]], float)
    )
    view = resized_view(100, 120, 200, 400)
    found = make_targets(image(with_points, Annotation((1, 1, 9, 9), 0)), [0], view, M, SCHEMA, 0)
    assert found.keypoints.tolist() == [[[40, 40, 2], [60, 40, 1], [0, 0, 0]], [[0, 0, 0]] * 3]


def test_no_masks_wanted():
    a = Annotation((10, 10, 60, 80), 0, polygons=[rectangle(10, 10, 60, 80)])
    found = make_targets(image(a), [0], window(30, 0, 90, 100), 0, None, 0)
    assert found.masks.shape == (1, 0, 0) and found.boxes.tolist() == [[0, 10, 30, 80]]


def test_collate_pads_to_eight_slots():
    square = Annotation((10, 10, 60, 80), 0, polygons=[rectangle(10, 10, 60, 80)])
    crowd = Annotation((1, 1, 9, 9), 0, crowd=True)
    one = make_targets(image(square, crowd), [3], WHOLE, M, SCHEMA, 11)
    none = make_targets(image(), [3], WHOLE, M, SCHEMA, 2**62)
    many = make_targets(image(*[square] * 9), [3], WHOLE, M, SCHEMA, 13)
    few = collate_targets([one, none])
    assert (
        few.boxes.shape == (2, 8, 4)
        and few.masks.shape == (2, 8, M, M)
        and few.keypoints.shape == (2, 8, 3, 3)
    )
    assert few.valid.sum(dim=1).tolist() == [1, 0] and few.ignore.sum(dim=1).tolist() == [1, 0]
    assert not (few.valid & few.ignore).any()
    assert few.seeds.tolist() == [11, 2**62] and few.labels[0, 0] == 3
    assert few.masks[0, 0].all() and few.masks.dtype == torch.uint8
    assert collate_targets([one, none, many]).valid.shape == (3, 16)
    assert collate_targets([none]).boxes.shape == (1, 8, 4)


@pytest.mark.parametrize("angle", [90, 180, 270, 20])
@pytest.mark.parametrize("rle", [False, True])
def test_a_turned_view_that_cuts_nothing_leaves_boxes_where_masks_end(angle: int, rle: bool) -> None:
    """A stalk thinner than a pixel of the bitmap belongs to the box too."""
    ring = np.array([[40, 40], [70, 40], [70, 54], [95, 54], [95, 56], [70, 56], [70, 70], [40, 70]], float)
    mask: dict[str, object] = {"polygons": [ring]}
    if rle:
        mask = {"rle": bitmap_rle(_draw_polygons([ring], (110, 110)))}
    turn = np.deg2rad(angle)
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([67.5, 55])
    view = View(np.hstack([linear, (centre - linear @ centre)[:, None]]), 110, 120, False)
    found = make_targets(image(Annotation((40, 40, 95, 70), 0, **mask)), [0], view, M, None, 0)  # type: ignore[arg-type]
    points = view.points(ring)
    np.testing.assert_allclose(found.boxes[0], [*points.min(0), *points.max(0)], atol=1.5 if rle else 1e-4)
