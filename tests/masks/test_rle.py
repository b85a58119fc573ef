"""Run-length codes against pycocotools', which reads and writes one mask at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from maskrcnn.masks.rle import edges_rle


def reference(edges: np.ndarray, height: int, width: int) -> dict[str, object]:
    runs = np.diff(edges, prepend=0, append=height * width).tolist()
    if len(runs) > 1 and runs[-1] == 0:
        runs.pop()
    found: dict[str, object] = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return found


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_equals_pycocotools(data: st.DataObject) -> None:
    height, width = data.draw(st.sampled_from([(1, 1), (5, 7), (480, 640), (1, 10**6), (30000, 60000)]))
    places = st.lists(st.integers(0, height * width), unique=True, max_size=12).map(sorted)
    masks = [
        np.array(each[: len(each) // 2 * 2], np.int64) for each in data.draw(st.lists(places, max_size=5))
    ]
    assert [edges_rle(edges, height, width) for edges in masks] == [
        reference(edges, height, width) for edges in masks
    ]


def test_many_runs_of_every_length() -> None:
    """Numbers of one to seven characters, of both signs, in one mask and among others."""
    rng = np.random.default_rng(3)
    height, width = 40000, 50000
    lengths = np.exp(rng.uniform(0, np.log(2e7), 400)).astype(np.int64) + 1
    edges = np.cumsum(lengths)
    assert edges[-1] < height * width
    masks = [edges, edges[:0], edges[:2], np.array([0, height * width])]
    found = [edges_rle(edges, height, width) for edges in masks]
    assert found == [reference(each, height, width) for each in masks]
    assert coco_mask.area(found).tolist() == [(each[1::2] - each[::2]).sum() for each in masks]


def test_nothing() -> None:
    assert coco_mask.area(edges_rle(np.zeros(0, np.int64), 6, 8)) == 0
