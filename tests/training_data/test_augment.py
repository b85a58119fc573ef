"""Images, boxes, masks and keypoints stay together under every view."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from maskrcnn.config.data import AugmentConfig
from maskrcnn.config.load import load_config
from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import UserError
from maskrcnn.images.view import View, resized_view, transform_boxes, transform_keypoints, warp_image
from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.training_data.augment import draw_view, jitter_colour
from maskrcnn.training_data.targets import _boxes, make_targets

FLIP = [0, 2, 1]
SCHEMA = KeypointSchema(names=["nose", "left_eye", "right_eye"], flip=FLIP, sigmas=[0.05] * 3)
SIDE = 56

sides = st.integers(40, 160)
scaling = st.builds(
    lambda short, flip: AugmentConfig(short_sides=[short], long_side=2 * short, flip=flip),
    st.integers(30, 200),
    st.sampled_from([0.0, 1.0]),
)
cropping = st.builds(
    lambda low, spread, height, width, flip: AugmentConfig(
        jitter=(low, low + spread), crop=(height, width), flip=flip
    ),
    st.floats(0.3, 1.5),
    st.floats(0, 1),
    sides,
    sides,
    st.sampled_from([0.0, 1.0]),
)


turning = st.builds(
    lambda config, turn, rotate: config.model_copy(update={"turn": turn, "rotate": rotate}),
    st.one_of(scaling, cropping),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 20.0]),
)


@st.composite
def views(draw, config=None) -> tuple[int, int, View]:
    """An image's height and width, and a random view of it."""
    height, width = draw(sides), draw(sides)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return (
        height,
        width,
        draw_view(draw(st.one_of(scaling, cropping) if config is None else config), height, width, rng),
    )


@st.composite
def ellipses(draw, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse inside the image: its ring of points (64, 2) and its mask (height, width) bool."""
    rx, ry = draw(st.floats(6, width / 2 - 1)), draw(st.floats(6, height / 2 - 1))
    cx, cy = draw(st.floats(rx, width - rx)), draw(st.floats(ry, height - ry))
    turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    y, x = np.mgrid[:height, :width] + 0.5
    mask = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
    return np.stack([cx + rx * np.cos(turns), cy + ry * np.sin(turns)], axis=1), mask


def extent(mask: np.ndarray) -> tuple[float, float, float, float]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def paste(bitmap: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    """The bitmap over `box` read at the centres of an image's pixels: the slow and obvious way."""
    y, x = np.mgrid[:height, :width] + 0.5
    column = np.floor((x - box[0]) / (box[2] - box[0]) * bitmap.shape[1]).astype(int)
    row = np.floor((y - box[1]) / (box[3] - box[1]) * bitmap.shape[0]).astype(int)
    inside = (column >= 0) & (column < bitmap.shape[1]) & (row >= 0) & (row < bitmap.shape[0])
    return inside & (bitmap[row.clip(0, bitmap.shape[0] - 1), column.clip(0, bitmap.shape[1] - 1)] > 0)


def mirror(height: int, width: int) -> View:
    return View(np.array([[-1.0, 0, width], [0, 1.0, 0]]), height, width, True)


@settings(max_examples=120, deadline=None)
@given(views(turning), st.data())
def test_mask_follows_the_image(drawn, data):
    height, width, view = drawn
    ring, mask = data.draw(ellipses(height, width))
    shown = warp_image((255 * mask[..., None]).astype(np.uint8), view)[..., 0] > 127
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    for labelled in (Annotation(extent(mask), 0, polygons=[ring]), Annotation(extent(mask), 0, rle=rle)):
        image = LabelledImage(1, "a.png", None, height, width, [labelled])
        found = make_targets(image, [0], view, SIDE, None, 0)
        if not len(found.boxes):
            assert min(shown.any(axis=0).sum(), shown.any(axis=1).sum()) <= 2
            continue
        pasted = paste(found.masks[0], found.mask_boxes[0], view.height, view.width)
        if not shown.any():  # it covers no pixel of a much smaller view by half
            assert min(pasted.any(axis=0).sum(), pasted.any(axis=1).sum()) <= 2
            continue
        # they may differ along the outline: by a pixel of the original, the view, or the bitmap
        box = found.mask_boxes[0]
        cell = (box[2:] - box[:2]) / SIDE
        slack = np.ceil(view.factor.max() + cell + 1).astype(int)
        assert not (pasted & ~grown(shown, slack)).any()
        assert not (shown & ~grown(pasted, slack)).any()


def grown(mask: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The mask grown by so many pixels in x and in y."""
    result = mask.copy()
    for shift in range(1, int(by[0]) + 1):
        result[:, shift:] |= mask[:, :-shift]
        result[:, :-shift] |= mask[:, shift:]
    wide = result.copy()
    for shift in range(1, int(by[1]) + 1):
        result[shift:] |= wide[:-shift]
        result[:-shift] |= wide[shift:]
    return result


@settings(max_examples=60, deadline=None)
@given(views(turning), st.data())
def test_mask_lies_tightly_in_its_box(drawn, data):
    height, width, view = drawn
    ring, mask = data.draw(ellipses(height, width))
    tight = (*ring.min(axis=0), *ring.max(axis=0))
    image = LabelledImage(1, "a.png", None, height, width, [Annotation(tight, 0, polygons=[ring])])
    found = make_targets(image, [0], view, SIDE, None, 0)
    for box, cover, bitmap in zip(found.boxes, found.mask_boxes, found.masks, strict=True):
        cell = np.tile((cover[2:] - cover[:2]) / SIDE, 2)
        measured = np.tile(cover[:2], 2) + np.array(extent(bitmap)) * cell
        assert (np.abs(measured - box) <= cell + 1e-3).all()
        assert (
            (box[:2] >= 0).all()
            and (box[2:] <= (view.width, view.height)).all()
            and (box[2:] - box[:2] >= 1).all()
        )


@settings(max_examples=60, deadline=None)
@given(views(), st.data())
def test_boxes_and_keypoints_follow_the_image(drawn, data):
    height, width, view = drawn
    x1, y1 = data.draw(st.integers(0, width - 12)), data.draw(st.integers(0, height - 12))
    x2, y2 = data.draw(st.integers(x1 + 10, width)), data.draw(st.integers(y1 + 10, height))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y1:y2, x1:x2] = 255
    box = transform_boxes(np.array([[x1, y1, x2, y2]]), view)[0]
    shown = warp_image(pixels, view)[..., 0] > 127
    clipped = np.clip(box, 0, (view.width, view.height) * 2)
    if (clipped[2:] - clipped[:2] >= 2).all():
        assert np.abs(np.array(extent(shown)) - clipped).max() <= 1
    # a keypoint at a corner of the box stays at a corner of the box
    corners = np.array([[[x1, y1, 2], [x2, y1, 1], [x2, y2, 2]]], float)
    moved = transform_keypoints(corners, view, FLIP)[0]
    for point in moved[moved[:, 2] > 0]:
        assert min(abs(point[0] - box[0]), abs(point[0] - box[2])) < 1e-6
        assert min(abs(point[1] - box[1]), abs(point[1] - box[3])) < 1e-6
        assert 0 <= point[0] <= view.width and 0 <= point[1] <= view.height
    assert not moved[moved[:, 2] == 0].any()


@settings(max_examples=40, deadline=None)
@given(sides, sides, st.integers(0, 2**32 - 1))
def test_mirrored_twice_is_as_before(height, width, seed):
    rng = np.random.default_rng(seed)
    view = mirror(height, width)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.array_equal(warp_image(warp_image(pixels, view), view), pixels)
    corners = np.sort(rng.uniform(0, (width, height), (5, 2, 2)), axis=1)
    boxes = corners.reshape(5, 4)
    assert np.allclose(transform_boxes(transform_boxes(boxes, view), view), boxes)
    points = np.concatenate([rng.uniform(0, (width, height), (5, 3, 2)), np.full((5, 3, 1), 2.0)], axis=2)
    assert np.allclose(transform_keypoints(transform_keypoints(points, view, FLIP), view, FLIP), points)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_quarter_turn_moves_every_pixel_and_point_alike(flip, seed):
    """No pixel is interpolated: the turned image is one of NumPy's own, mirrored where the view is."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    config = AugmentConfig(short_sides=[20], long_side=100, flip=flip, turn=1.0)
    view = draw_view(config, 20, 30, np.random.default_rng(seed))
    shown = warp_image(pixels, view)
    turned = [np.rot90(pixels, k) for k in (1, 2, 3)]
    assert any(np.array_equal(shown, each[:, ::-1] if flip else each) for each in turned)
    points = np.array([[[3.5, 7.5, 2], [20.5, 11.5, 2], [29.5, 0.5, 1]]])
    for (x, y, _), (u, v, _) in zip(points[0], transform_keypoints(points, view, [0, 1, 2])[0], strict=True):
        assert np.array_equal(shown[int(v), int(u)], pixels[int(y), int(x)])


def test_a_tilt_keeps_the_middle_and_lengths():
    config = AugmentConfig(short_sides=[50], long_side=500, flip=0, rotate=30)
    view = draw_view(config, 100, 200, np.random.default_rng(1))
    middle, right = view.points(np.array([[100.0, 50], [180, 50]]))
    assert (
        np.allclose(middle, (50, 25))
        and np.isclose(np.linalg.norm(right - middle), 40)
        and abs(right[1] - 25) > 0.1
    )


@given(views(turning), st.data())
def test_a_tilted_box_is_around_the_mask_whatever_the_network_finds(drawn, data):
    """Around the tilted box of an RLE it would be up to 1.4 times as large."""
    height, width, view = drawn
    _, mask = data.draw(ellipses(height, width))
    mask = mask.astype(np.uint8)
    mask[:, width // 2] = 1  # a run over several columns
    labelled = Annotation(extent(mask), 0, rle=coco_mask.encode(np.asfortranarray(mask)))
    boxes = _boxes([labelled], view)[0]
    rows, columns = np.nonzero(mask)
    pixels = [(columns + right, rows + below) for right in (0, 1) for below in (0, 1)]
    points = view.points(np.concatenate([np.stack(corner, axis=1) for corner in pixels]).astype(float))
    if not view.upright:
        assert boxes == pytest.approx([*points.min(axis=0), *points.max(axis=0)])


@pytest.mark.parametrize("degrees", [-1, 46])
def test_angles_beyond_what_a_tilt_is_are_refused(degrees):
    with pytest.raises(UserError, match="data.augment.rotate"):
        load_config({"data": {"augment": {"rotate": degrees}}})


def test_mirror_exchanges_left_and_right():
    points = np.array([[[50, 10, 2], [60, 8, 2], [40, 9, 1]]], float)
    moved = transform_keypoints(points, mirror(40, 100), FLIP)[0]
    # the eye on the right of the image is the left one, before and after
    assert moved.tolist() == [[50, 10, 2], [60, 9, 1], [40, 8, 2]]


def test_flip_gives_each_keypoint_its_new_index():
    cycle = [1, 2, 0]
    points = np.array([[[1, 1, 2], [2, 1, 2], [3, 1, 2]]], float)
    moved = transform_keypoints(points, mirror(10, 10), cycle)[0]
    assert moved[cycle, 0].tolist() == [9, 8, 7]


def test_keypoints_outside_the_view_are_unlabelled():
    view = View(np.array([[1.0, 0, -10], [0, 1.0, 0]]), 20, 20, False)
    moved = transform_keypoints(np.array([[[5.0, 5, 2], [15, 5, 2], [15, 25, 1]]]), view, FLIP)[0]
    assert moved.tolist() == [[0, 0, 0], [5, 5, 2], [0, 0, 0]]


@given(views(scaling))
def test_multi_scale_keeps_the_whole_image(drawn):
    height, width, view = drawn
    corners = transform_boxes(np.array([[0, 0, width, height]]), view)[0]
    assert np.allclose(corners, (0, 0, view.width, view.height))
    assert abs(view.height / view.width - height / width) <= height / width * (
        1 / view.height + 1 / view.width
    )


def test_test_view_fits_both_sides():
    assert (resized_view(480, 640, 800, 1333).height, resized_view(480, 640, 800, 1333).width) == (800, 1067)
    long = resized_view(100, 1000, 800, 1333)
    assert (long.height, long.width, long.flipped) == (133, 1333, False)
    assert resized_view(1, 5000, 800, 1333).height == 1


@settings(max_examples=30, deadline=None)
@given(views(cropping))
def test_crop_size_is_always_the_same(drawn):
    height, width, view = drawn
    shown = warp_image(np.full((height, width, 3), 255, np.uint8), view)
    assert shown.shape == (view.height, view.width, 3)
    # what is shown of the image is a block in the upper left corner, the rest is padding
    whole = transform_boxes(np.array([[0, 0, width, height]]), view)[0]
    covered = shown[..., 0] == 255
    assert covered.sum() == np.prod(np.minimum(np.round(whole[2:]), (view.width, view.height)))
    assert whole[:2].max() <= 1e-6


def test_colour_changes_nothing_at_zero_and_keeps_grey_grey_under_hue():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert jitter_colour(pixels, 0.0, rng) is pixels
    changed = jitter_colour(pixels, 1.0, rng)
    assert changed.shape == pixels.shape and changed.dtype == np.uint8 and (changed != pixels).any()
    grey = np.repeat(pixels[..., :1], 3, axis=2)
    changed = jitter_colour(grey, 1.0, rng).astype(int)
    assert (changed.max(axis=2) - changed.min(axis=2)).max() <= 1


@pytest.mark.parametrize(
    ("settings_", "part"),
    [
        ({"jitter": (0.1, 2.0)}, "crop"),
        ({"crop": (100, 100)}, "jitter"),
        ({"jitter": (2.0, 0.1), "crop": (100, 100)}, "jitter"),
        ({"jitter": (0.1, 2.0), "crop": (0, 100)}, "crop"),
        ({"short_sides": []}, "short_sides"),
    ],
)
def test_contradictory_settings_are_refused(settings_, part):
    with pytest.raises(UserError, match=f"data.augment.{part}"):
        load_config({"data": {"augment": settings_}})
