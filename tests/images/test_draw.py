"""Drawing at every size. What it looks like was judged by eye; what can be stated is tested here."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import UserError
from maskrcnn.images.draw import (
    CLUTTER,
    SMALLEST,
    _place_tags,
    _tag_texts,
    colours_of,
    draw_instances,
    instance_colour,
)
from maskrcnn.instances import Instances, Masks

SCHEMA = KeypointSchema(names=["a", "b", "c"], flip=[0, 1, 2], skeleton=[(0, 1), (1, 2)], sigmas=[0.05] * 3)


def scene(height: int, width: int, boxes: list[list[float]], name: str = "person") -> Instances:
    """Round objects with three keypoints each; boxes are in shares of the image."""
    corners = np.array(boxes, np.float32).reshape(-1, 4) * np.array(
        [width, height, width, height], np.float32
    )
    y, x = np.mgrid[:28, :28]
    disc = np.clip(14.5 - np.hypot(y - 13.5, x - 13.5), 0, 1).astype(np.float32)
    count = len(corners)
    points = np.zeros((count, 3, 3), np.float32)
    for place, share in enumerate((0.2, 0.5, 0.8)):
        points[:, place, :2] = corners[:, :2] + share * (corners[:, 2:] - corners[:, :2])
    points[..., 2] = 0.9
    scores = np.linspace(0.99, 0.5, count, dtype=np.float32)
    masks = Masks(np.repeat(disc[None], count, axis=0), corners, (height, width))
    labels = np.zeros(count, np.int64)
    return Instances(corners, scores, labels, [name] * count, (height, width), masks, points, SCHEMA)


TWO = [[0.1, 0.2, 0.45, 0.9], [0.4, 0.3, 0.95, 1.0]]


@pytest.mark.parametrize("size", [(40, 40), (120, 160), (480, 640), (1000, 30), (3000, 4000)])
def test_every_size(size: tuple[int, int]) -> None:
    grey = np.full((*size, 3), 127, np.uint8)
    seen = np.asarray(draw_instances(grey, scene(*size, TWO)))
    factor = seen.shape[0] // size[0]
    assert seen.shape == (size[0] * factor, size[1] * factor, 3) and max(seen.shape) >= SMALLEST
    assert (factor > 1) == (max(size) < SMALLEST)
    changed = (seen != 127).any(axis=2).mean()
    assert 0.2 < changed < 0.9
    assert (grey == 127).all()


def test_without_enlarging_the_image_keeps_its_size() -> None:
    pixels = np.zeros((40, 30, 3), np.uint8)
    assert draw_instances(pixels, scene(40, 30, TWO), enlarge=False).size == (30, 40)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (3, 2)])
def test_slivers(size: tuple[int, int]) -> None:
    draw_instances(np.zeros((*size, 3), np.uint8), scene(*size, [[0, 0, 1, 1], [0, 0, 0.5, 0.5]]))


def test_nothing_to_draw_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(draw_instances(pixels, scene(500, 500, []))), pixels)


def test_boxes_alone_and_points_without_a_schema() -> None:
    found = scene(480, 640, TWO)
    found.masks = found.keypoint_schema = None
    draw_instances(np.zeros((480, 640, 3), np.uint8), found)
    found.keypoints = None
    seen = np.asarray(draw_instances(np.zeros((480, 640, 3), np.uint8), found))
    assert 0.005 < (seen > 0).any(axis=2).mean() < 0.1


def test_what_is_inside_the_mask_is_tinted_and_what_is_outside_is_not() -> None:
    found = scene(600, 600, [[0.2, 0.2, 0.8, 0.8]])
    found.keypoints = None
    seen = np.asarray(draw_instances(np.full((600, 600, 3), 127, np.uint8), found)).astype(int)
    assert np.allclose(seen[300, 300], 127 * 0.6 + 0.4 * np.array(instance_colour(0)), atol=1)
    assert (seen[580, 580] == 127).all() and (seen[130, 130] == 127).all()


def test_keypoints_below_the_score_or_not_finite_are_not_drawn() -> None:
    pixels = np.zeros((600, 600, 3), np.uint8)
    found = scene(600, 600, [[0.1, 0.1, 0.9, 0.9]])
    with_points = np.asarray(draw_instances(pixels, found))
    found.keypoints[0, :, 2] = 0.01
    without = np.asarray(draw_instances(pixels, found))
    found.keypoints[0, :, 2] = 0.9
    found.keypoints[0, :, 0] = np.nan
    assert not np.array_equal(with_points, without)
    assert np.array_equal(np.asarray(draw_instances(pixels, found)), without)


def test_the_first_colours_are_far_apart_and_vivid() -> None:
    colours = [np.array(instance_colour(row), float) for row in range(8)]
    assert all(np.linalg.norm(a - b) > 80 for a, b in itertools.combinations(colours, 2))
    assert all(np.ptp(colour) > 150 for colour in colours)


def test_tags_stay_inside_and_apart() -> None:
    boxes = np.array(
        [[0, 0, 60, 90], [2, 3, 62, 90], [580, 0, 640, 480], [500, 440, 640, 480], [0, 0, 640, 480]]
    )
    spots, clutter = _place_tags(boxes, [90.0] * 5, 18.0, (640, 480))
    for x0, y0, x1, y1 in spots:
        assert x0 >= 0 and y0 >= 0 and x1 <= 640 and y1 <= 480
    for a, b in itertools.combinations(spots, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) + 1 or min(a[3], b[3]) <= max(a[1], b[1]) + 1
    assert clutter < CLUTTER


def test_a_name_too_long_for_the_image_is_cut_and_a_crowd_is_not_buried() -> None:
    draw_instances(
        np.zeros((500, 60, 3), np.uint8), scene(500, 60, TWO, name="a very long name of a class " * 5)
    )
    rng = np.random.default_rng(0)
    corner = rng.uniform(0.4, 0.6, (150, 2))
    found = scene(500, 500, np.hstack([corner, corner + 0.02]).tolist())
    found.keypoints = None
    seen = np.asarray(draw_instances(np.zeros((500, 500, 3), np.uint8), found))
    assert (seen > 0).any(axis=2).mean() < 0.08


def test_another_image_is_refused() -> None:
    with pytest.raises(UserError, match="30 x 40"):
        draw_instances(np.zeros((40, 30, 3), np.uint8), scene(30, 40, TWO))


def test_each_part_can_be_left_out() -> None:
    """With all of them left out nothing is drawn; each alone draws something else."""
    pixels, found = np.zeros((500, 500, 3), np.uint8), scene(500, 500, TWO)
    parts = ("labels", "scores", "boxes", "masks", "keypoints")
    nothing = dict.fromkeys(parts, False)
    assert not np.asarray(draw_instances(pixels, found, **nothing)).any()
    seen = [np.asarray(draw_instances(pixels, found, **nothing | {part: True})) for part in parts]
    assert all(image.any() for image in seen)
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(seen, 2))


def test_line_width() -> None:
    pixels, found = np.zeros((500, 500, 3), np.uint8), scene(500, 500, TWO[:1])
    box = dict.fromkeys(("labels", "scores", "masks", "keypoints"), False)
    thin, thick = (np.asarray(draw_instances(pixels, found, line_width=w, **box)) for w in (1, 7))
    assert (thin[300] > 0).any(axis=1).sum() == 2 and (thick[300] > 0).any(axis=1).sum() == 14
    for width in (0, -1, 2.5, "2", 256):
        with pytest.raises(UserError, match="line_width"):
            draw_instances(pixels, found, line_width=width)


def test_lines_do_not_hide_a_small_object() -> None:
    pixels, found = np.zeros((2000, 2000, 3), np.uint8), scene(2000, 2000, [[0.5, 0.5, 0.508, 0.508]])
    seen = np.asarray(draw_instances(pixels, found, labels=False, scores=False, keypoints=False))
    one = seen[1000:1016, 1000:1016].reshape(-1, 3).astype(int)
    full = one.max(axis=0)
    assert ((one > 0).any(axis=1) & (one < 0.5 * full + 5).all(axis=1)).mean() > 0.3, "the tinted inside"


def test_colours() -> None:
    found = scene(500, 500, TWO)
    assert colours_of(found, None) == [instance_colour(0), instance_colour(1)]
    assert colours_of(found, "class") == [instance_colour(0)] * 2
    assert colours_of(found, ["red"]) == [(255, 0, 0)] * 2
    assert colours_of(found, [(1, 2, 3), "#040506"]) == [(1, 2, 3), (4, 5, 6)]
    assert colours_of(found, {"person": "lime"}) == [(0, 255, 0)] * 2
    assert colours_of(found, {"cat": "lime"}) == [instance_colour(0)] * 2
    found.track_ids = np.array([12, 3])
    assert colours_of(found, None) == [instance_colour(12), instance_colour(3)]
    for wrong in ("classes", 5, [], ["no colour"], [(1, 2)], [(1, 2, 256)], [5], {"person": None}):
        with pytest.raises(UserError, match="colour"):
            draw_instances(np.zeros((500, 500, 3), np.uint8), found, colours=wrong)


def test_a_track_is_named_by_its_number() -> None:
    found = scene(500, 500, TWO * 10)
    assert _tag_texts(found, True, True)[0][0] == "99%"  # so many of one class need not say which
    found.track_ids = np.arange(20) + 5
    assert _tag_texts(found, True, True)[0][0] == "person #5 99%"
    assert _tag_texts(found, True, False)[0][1] == "person #6"
    assert _tag_texts(found, False, True)[0][0] == "99%" and _tag_texts(found, False, False)[0] == []
