"""Precision and recall at a score equal those of boxes that are matched one by one."""

from __future__ import annotations

import numpy as np
import pytest
from guesses import guesses
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.evaluate.found import Result
from maskrcnn.evaluate.which_score import which_score
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset

DATA = Synthetic(6, split="val", people=True)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two boxes xyxy."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(sides.clip(0)))
    return both / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both)


def slow_counts(dataset: Dataset, results: list[Result], least: float) -> tuple[int, int, int]:
    """Detections of at least a score, those of them that found an object, and objects: each detection, best
    first, takes the object of its class that it overlaps most, of those still free."""
    count = right = objects = 0
    for index in range(len(dataset)):
        image = dataset.image(index)
        free = [(dataset.class_ids[one.label], np.asarray(one.box, float)) for one in image.annotations]
        objects += len(free)
        own = [one for one in results if one["image_id"] == image.image_id and one["score"] >= least]
        count += len(own)
        for one in sorted(own, key=lambda one: -one["score"]):
            x, y, width, height = one["bbox"]
            box = np.array([x, y, x + width, y + height])
            overlaps = [iou(box, other) if name == one["category_id"] else 0.0 for name, other in free]
            if overlaps and max(overlaps) >= 0.5:
                right += 1
                free.pop(int(np.argmax(overlaps)))
    return count, right, objects


@given(seed=st.integers(0, 2**31), least=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_boxes_matched_one_by_one(seed: int, least: int) -> None:
    results = guesses(DATA, seed)
    assert not any(one.crowd for index in range(len(DATA)) for one in DATA.image(index).annotations)
    found = which_score(DATA, results, score=least / 100)
    assert found is not None
    count, right, objects = slow_counts(DATA, results, least / 100)
    assert found.given.precision == pytest.approx(100 * right / max(count, 1))
    assert found.given.recall == pytest.approx(100 * right / objects)
    every = {one: slow_counts(DATA, results, one) for one in (found.best.score, 0.2, 0.5, 0.8)}
    f1 = {one: 200 * right / (count + objects) for one, (count, right, objects) in every.items()}
    assert found.best.F1 == pytest.approx(f1[found.best.score]) == pytest.approx(max(f1.values()))


def test_the_line() -> None:
    images = [DATA.image(index) for index in range(len(DATA))]
    results = [
        {
            "image_id": image.image_id,
            "category_id": DATA.class_ids[one.label],
            "score": score,
            "bbox": [x0 + shift, y0, x1 - x0, y1 - y0],
        }
        for image in images
        for one in image.annotations
        for x0, y0, x1, y1 in [one.box]
        for score, shift in ((0.6, 0), (0.55, 500))  # one right and one that is nowhere
    ]
    found = which_score(DATA, results, score=0.3)
    assert found is not None
    assert found.line() == (
        "boxes at IoU 0.5: F1 is highest at --score 0.56 (precision 100.0, recall 100.0);"
        " at 0.3 they are 50.0 and 100.0"
    )
    best = which_score(DATA, results, score=found.best.score)
    assert best is not None and best.line() == found.line().partition(";")[0]
    assert found.to_dict()["given"] == {
        "score": 0.3,
        "precision": 50.0,
        "recall": 100.0,
        "F1": pytest.approx(200 / 3),
    }
    high = which_score(DATA, results, score=0.9)
    assert high is not None and (high.given.precision, high.given.recall) == (0.0, 0.0)
    assert which_score(DATA, []) is None


def test_where_nothing_is_found_no_score_is_recommended() -> None:
    record = {"image_id": DATA.image(0).image_id, "category_id": DATA.class_ids[0], "score": 0.9}
    found = which_score(DATA, [record | {"bbox": [0.0, 0.0, 1.0, 1.0]}])
    assert (
        found is not None
        and found.line() == "boxes at IoU 0.5: no detection matches an object, whatever its score"
    )
