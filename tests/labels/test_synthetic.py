"""Generated images: the same each time, and labelled exactly."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrcnn.config.keypoints import coco_keypoints
from maskrcnn.errors import UserError
from maskrcnn.labels.synthetic import Synthetic

KINDS = [
    {},
    {"people": True},
    {"fine": True, "shapes": False},
    {"fine": True, "more": True},
    {"people": True, "shapes": False, "side": (96, 64)},
]


def flat(image) -> list:
    return [
        (a.box, a.label, a.rle, a.id, None if a.keypoints is None else a.keypoints.tolist())
        for a in image.annotations
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_same_index_same_image_in_any_order(kind):
    data, again = Synthetic(20, **kind), Synthetic(40, **kind)
    for index in (7, 3, 7):
        pixels = data.pixels(index)
        again.image(0)
        assert np.array_equal(pixels, again.pixels(index))
        assert flat(data.image(index)) == flat(again.image(index))
    assert not np.array_equal(data.pixels(3), data.pixels(4))


def test_splits_and_seeds_differ():
    train, val, other = Synthetic(split="train"), Synthetic(split="val"), Synthetic(seed=7)
    assert len(train) == 1000 and len(val) == 200
    assert not np.array_equal(train.pixels(0), val.pixels(0)) and not np.array_equal(
        train.pixels(0), other.pixels(0)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_disjoint_and_boxes_tight(kind):
    data = Synthetic(30, **kind)
    ids = []
    for index in range(len(data)):
        image = data.image(index)
        assert data.pixels(index).shape == (image.height, image.width, 3) == (*data.side, 3)
        assert 1 <= len(image.annotations) <= 5
        taken = np.zeros(data.side, int)
        for a in image.annotations:
            mask = coco_mask.decode(a.rle)
            columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
            assert a.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert a.area == mask.sum() > 0 and 0 <= a.label < len(data.classes)
            taken += mask
            ids.append(a.id)
        assert taken.max() == 1
    assert len(set(ids)) == len(ids) and min(ids) >= 1


def test_keypoints_are_seen_where_the_mask_is():
    data = Synthetic(60, people=True, shapes=False)
    hidden = 0
    for index in range(len(data)):
        for a in data.image(index).annotations:
            x, y = np.floor(a.keypoints[:, :2]).astype(int).T
            assert np.array_equal(a.keypoints[:, 2] == 2, coco_mask.decode(a.rle)[y, x] == 1)
            hidden += int((a.keypoints[:, 2] == 1).sum())
    assert hidden > 0
    alone = [p.annotations[0] for p in map(data.image, range(60)) if len(p.annotations) == 1]
    assert alone and all((a.keypoints[:, 2] == 2).all() for a in alone)


def test_figures_face_us():
    data = Synthetic(20, people=True, shapes=False)
    for index in range(20):
        for a in data.image(index).annotations:
            assert a.keypoints[5, 0] > a.keypoints[6, 0] and a.keypoints[0, 1] < a.keypoints[15, 1]


def test_schema_is_consistent():
    schema = coco_keypoints()
    assert len(schema.names) == 17 and len(schema.skeleton) == 19
    for index, name in enumerate(schema.names):
        swapped = name.replace("left", "x").replace("right", "left").replace("x", "right")
        assert schema.names[schema.flip[index]] == swapped


def test_classes_by_name():
    assert Synthetic(1).classes == ["circle", "square", "triangle", "star"] and Synthetic(1).keypoints is None
    both = Synthetic(1, people=True)
    assert both.classes[-1] == "person" and both.class_ids == [1, 2, 3, 4, 5] and both.keypoints is not None


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"shapes": False}, "people"),
        ({"split": "test"}, "split"),
        ({"count": 0}, "count"),
        ({"side": (20, 200)}, "small"),
    ],
)
def test_impossible_requests_are_refused(arguments, part):
    with pytest.raises(UserError, match=part):
        Synthetic(**arguments)


def test_no_image_beyond_the_last():
    with pytest.raises(IndexError):
        Synthetic(3).image(3)
