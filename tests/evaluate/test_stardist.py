"""Matched objects against stardist's own code, and against the best of all assignments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.evaluate.found import Result
from maskrcnn.evaluate.stardist import THRESHOLDS, iou_table, match_objects, matched_iou
from maskrcnn.labels.types import Annotation, Dataset, DatasetInfo, LabelledImage
from maskrcnn.masks.rle import bitmap_rle

SIDE = 24


class Labels(Dataset):
    """A data set of label images, whose first object may have a class of its own."""

    def __init__(self, images: list[np.ndarray], classes: int = 1) -> None:
        names = [f"class {i}" for i in range(classes)]
        self.info = DatasetInfo(name="labels", classes=names, class_ids=list(range(1, classes + 1)))
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> LabelledImage:
        ids = self.images[index]
        annotations = [
            Annotation(box=(0, 0, 1, 1), label=0, rle=bitmap_rle(ids == n)) for n in np.unique(ids[ids > 0])
        ]
        return LabelledImage(index + 1, f"{index}.png", None, *ids.shape, annotations)


def results_of(images: list[np.ndarray], category: int = 1) -> list[Result]:
    """Label images as what a model found, sure of it."""
    return [
        {
            "image_id": place + 1,
            "category_id": category,
            "score": 0.9,
            "segmentation": bitmap_rle(ids == number),
        }
        for place, ids in enumerate(images)
        for number in np.unique(ids[ids > 0])
    ]


def label_image(seed: int, count: int) -> np.ndarray:
    """Rectangles over one another, numbered from 1 without gaps."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((SIDE, SIDE), np.int32)
    for number in range(1, count + 1):
        x, y = rng.integers(0, SIDE - 2, 2)
        ids[y : y + rng.integers(2, 10), x : x + rng.integers(2, 10)] = number
    return np.unique(ids, return_inverse=True)[1].reshape(ids.shape).astype(np.int32)


def moved(ids: np.ndarray, seed: int) -> np.ndarray:
    """The same objects a little elsewhere, some of them cut in two or gone."""
    rng = np.random.default_rng(seed)
    out = np.roll(ids, rng.integers(-1, 2, 2), (0, 1))
    out[out == rng.integers(0, ids.max() + 1)] = 0
    rows = np.arange(SIDE)[:, None] < rng.integers(0, SIDE)
    out = np.where((out == rng.integers(0, ids.max() + 1)) & rows & (out > 0), ids.max() + 1, out)
    return np.unique(np.append(out, 0), return_inverse=True)[1][:-1].reshape(ids.shape).astype(np.int32)


seeds = st.integers(0, 10**6)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(0, 9))
def test_going_by_iou_is_the_best_assignment(seed: int, count: int) -> None:
    """As stardist solves it: pairs at the threshold or above count most, their IoU breaks ties."""
    optimize = pytest.importorskip("scipy.optimize")
    known = label_image(seed, count)
    seen = moved(known, seed)
    iou = iou_table(known, seen, int(known.max()), int(seen.max()))
    for threshold in THRESHOLDS:
        best = iou[optimize.linear_sum_assignment(-(iou >= threshold).astype(float) - iou / (2 * SIDE**2))]
        best = best[best >= threshold]
        found = matched_iou(iou, threshold)
        assert len(found) == len(best) and found.sum() == pytest.approx(best.sum(), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(seeds, st.integers(0, 9)), min_size=1, max_size=3))
def test_equals_stardist(drawn: list[tuple[int, int]]) -> None:
    matching = pytest.importorskip("stardist.matching")
    known = [label_image(*each) for each in drawn]
    seen = [moved(ids, seed) for ids, (seed, _) in zip(known, drawn, strict=True)]
    theirs = matching.matching_dataset(known, seen, thresh=tuple(THRESHOLDS), show_progress=False)
    ours = match_objects(Labels(known), results_of(seen))
    for row, stats in zip(ours.figures(), theirs, strict=True):
        assert (row["TP"], row["FP"], row["FN"]) == (stats.tp, stats.fp, stats.fn)
        for name, value in {
            "precision": "precision",
            "recall": "recall",
            "F1": "f1",
            "AP": "accuracy",
        }.items():
            assert row[name] == pytest.approx(getattr(stats, value), abs=1e-9)
        assert row["mean_IoU"] == pytest.approx(float(stats.mean_matched_score), abs=1e-6)


def boxes_image(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    ids = np.zeros((SIDE, SIDE), np.int32)
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        ids[y0:y1, x0:x1] = number
    return ids


def test_by_hand() -> None:
    """Image 1: one object exact, one of IoU 2/3, one missed, one more found; image 2: two missed."""
    known = [
        boxes_image((0, 0, 4, 4), (8, 0, 14, 4), (0, 8, 4, 12)),
        boxes_image((0, 0, 5, 5), (8, 8, 12, 12)),
    ]
    seen = [boxes_image((0, 0, 4, 4), (8, 0, 12, 4), (16, 16, 20, 20)), boxes_image()]
    objects = match_objects(Labels(known), results_of(seen))
    at = {row["IoU"]: row for row in objects.figures()}
    assert at[0.5] == {
        **{"IoU": 0.5, "precision": 2 / 3, "recall": 2 / 5, "F1": 4 / 8, "AP": 2 / 6},
        **{"mean_IoU": pytest.approx((1 + 2 / 3) / 2), "TP": 2, "FP": 1, "FN": 3},
    }
    assert at[0.7]["TP"] == 1 and at[0.9]["AP"] == 1 / 7
    assert objects.counting() == {"mean_error": -1.0, "mean_absolute_error": 1.0, "exact": 0.5}
    assert objects.to_dict()["counting"]["images"][1] == {"image_id": 2, "labelled": 2, "found": 0}


def test_low_scores_other_classes_and_hidden_objects_do_not_match() -> None:
    known = [boxes_image((0, 0, 4, 4))]
    low = [{**result, "score": 0.4} for result in results_of(known)]
    assert match_objects(Labels(known), low).found.tolist() == [0]
    assert match_objects(Labels(known), low, score=0.4).hits[0] == 1
    assert match_objects(Labels(known, classes=2), results_of(known, category=2)).hits[0] == 0
    twice = match_objects(Labels(known), results_of(known) * 2)
    assert (
        twice.found.tolist() == [1]
        and twice.hits[0] == 1
        and "1 object wholly hidden under others" in twice.notes[0]
    )


def test_an_object_does_not_hide_one_of_another_class() -> None:
    """A cell and the nucleus in it."""
    cell, nucleus = boxes_image((4, 4, 24, 24)), boxes_image((8, 8, 14, 14))
    both = Labels([cell], classes=2)
    image = both.image(0)
    inner = [replace(each, label=1) for each in Labels([nucleus]).image(0).annotations]
    both.image = lambda index: replace(image, annotations=[*image.annotations, *inner])  # type: ignore[method-assign]
    found = [*results_of([cell]), *results_of([nucleus], category=2)]
    matched = match_objects(both, found)
    assert matched.figures()[0]["TP"] == 2 and matched.figures()[0]["FP"] == 0 and not matched.notes
