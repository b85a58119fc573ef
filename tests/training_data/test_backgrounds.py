"""The parts of images without an object are the largest that there are, and negatives in a training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.config.load import load_config
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.tiles import Window
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.training_data.backgrounds import CELLS, WithBackgrounds, free_window
from maskrcnn.training_data.prepare import prepare_data


def labelled(height: int, width: int, boxes: list[tuple[float, float, float, float]]) -> LabelledImage:
    return LabelledImage(1, "a.png", None, height, width, [Annotation(box, 0) for box in boxes])


def slow_area(image: LabelledImage, least: int) -> int:
    """The largest area over all windows of whole cells, each tried."""
    rows, columns = (np.linspace(0, side, CELLS + 1).round().astype(int) for side in image.size)
    best = 0
    for top in range(CELLS):
        for bottom in range(top + 1, CELLS + 1):
            height = rows[bottom] - rows[top]
            near = [a.box for a in image.annotations if a.box[1] < rows[bottom] and a.box[3] > rows[top]]
            left = 0
            for right in range(1, CELLS + 1):
                if any(box[0] < columns[right] and box[2] > columns[right - 1] for box in near):
                    left = right
                width = columns[right] - columns[left]
                if min(height, width) >= least:
                    best = max(best, int(height * width))
    return best


@st.composite
def images(draw: st.DrawFn) -> LabelledImage:
    height, width = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    boxes = []
    for _ in range(draw(st.integers(0, 8))):
        x0, x1 = sorted(draw(st.floats(0, width)) for _ in range(2))
        y0, y1 = sorted(draw(st.floats(0, height)) for _ in range(2))
        if x1 > x0 and y1 > y0:
            boxes.append((x0, y0, x1, y1))
    return labelled(height, width, boxes)


@given(images(), st.integers(1, 60))
def test_as_large_as_any_window_and_free(image: LabelledImage, least: int) -> None:
    window = free_window(image, least)
    area = 0 if window is None else window.width * window.height
    assert area == slow_area(image, least)
    if window is not None:
        assert min(window.width, window.height) >= least
        left, top, right, bottom = window.box
        assert 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
        for box in (annotation.box for annotation in image.annotations):
            assert box[0] >= right or box[2] <= left or box[1] >= bottom or box[3] <= top


def test_one_object_in_a_corner() -> None:
    assert free_window(labelled(320, 640, [(0, 0, 100, 100)]), 150) == Window(100, 0, 540, 320)
    assert free_window(labelled(320, 640, [(0, 0, 640, 200)]), 150) is None


def test_windows_stand_behind_the_images() -> None:
    data = Synthetic(count=6, seed=0)
    more = WithBackgrounds(data, 32)
    assert len(more) > len(data) and f"{len(more) - len(data)} of 6 images" in more.line
    assert [image.image_id for image in more][:6] == [image.image_id for image in data]
    for index in range(6, len(more)):
        window = more.image(index)
        name, _, place = window.file_name.partition(" at ")
        source = next(i for i in range(6) if data.image(i).file_name == name)
        left, top = map(int, place.split(","))
        assert window.annotations == [] and window.size == more.size(index)
        part = data.pixels(source)[top : top + window.height, left : left + window.width]
        assert np.array_equal(more.pixels(index), part)


def test_settings() -> None:
    data = Synthetic(count=6, seed=0)
    config = load_config({}, ["data.backgrounds=32", "model.mask_head=null"])
    _, train, val, lines = prepare_data(config, data, data)
    assert isinstance(train, WithBackgrounds) and val is data and "data.backgrounds" in lines[-1]
    with pytest.raises(DataError, match="no image has a part of 4000 x 4000 pixels without an object; set a"):
        prepare_data(load_config({}, ["data.backgrounds=4000"]), data)
    with pytest.raises(UserError, match="set one to null"):
        load_config({}, ["data.backgrounds=32", "data.tiles.side=640"])
