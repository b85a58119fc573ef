"""The figures equal pycocotools' on random labels, and the traps of COCO's evaluator are kept out."""

from __future__ import annotations

import contextlib
import copy
import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import DataError
from maskrcnn.evaluate.coco import FIELDS, KEYPOINT_KEYS, OBJECT_KEYS, score_results
from maskrcnn.evaluate.truth import KINDS
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage

CATEGORY_IDS = (3, 0, 18)


def schema_of(count: int) -> KeypointSchema:
    sigmas = np.linspace(0.03, 0.1, count).tolist()
    return KeypointSchema(names=[f"k{i}" for i in range(count)], flip=list(range(count)), sigmas=sigmas)


def rle_of(bitmap: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()}


def random_labels(
    seed: int, *, objects: int = 8, detections: int = 30, text_ids: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """COCO labels (annotation ids from 1, areas given) and results that have all three kinds; up to so many
    an image.
    """
    rng = np.random.default_rng(seed)
    height, width = ((150, 160), (20, 24))[int(rng.integers(2))]
    keypoints = (17, 5)[seed % 2]
    numbers = rng.permutation(20)[: int(rng.integers(1, 6))].tolist()
    images = [{"id": f"p{n:02}" if text_ids else n, "height": height, "width": width} for n in numbers]
    categories = [{"id": c, "name": f"class {c}"} for c in CATEGORY_IDS[: int(rng.integers(1, 4))]]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in images:
        here = []
        for _ in range(int(rng.integers(0, objects + 1))):
            here.append(_random_object(rng, height, width, keypoints, [c["id"] for c in categories]))
            here[-1] |= {"id": len(annotations) + len(here), "image_id": image["id"]}
        annotations += here
        for _ in range(int(rng.integers(0, detections + 1))):
            result = _random_object(rng, height, width, keypoints, [c["id"] for c in categories])
            if here and rng.random() < 0.7:
                result = _disturbed(rng, here[int(rng.integers(len(here)))], result)
            keep = {key: result[key] for key in ("category_id", "bbox", "segmentation", "keypoints")}
            # few digits: equal scores must be broken as the reference breaks them
            results.append(
                keep | {"image_id": image["id"], "score": round(float(rng.random()), 1 + 4 * (seed % 3 > 0))}
            )
    return {"images": images, "categories": categories, "annotations": annotations}, results


def _random_object(
    rng: np.random.Generator, height: int, width: int, count: int, categories: list[int]
) -> dict[str, Any]:
    bitmap = np.zeros((height, width), np.uint8)
    y, x = int(rng.integers(height - 2)), int(rng.integers(width - 2))
    bitmap[y : y + int(rng.integers(1, height)), x : x + int(rng.integers(1, width))] = 1
    segmentation = rle_of(bitmap ^ (rng.random(bitmap.shape) < 0.05))
    points = np.column_stack(
        [rng.random(count) * width, rng.random(count) * height, rng.integers(0, 3, count)]
    )
    points *= (points[:, 2:] > 0) * (rng.random() < 0.8)
    return {
        "category_id": categories[int(rng.integers(len(categories)))],
        "bbox": [float(side) for side in coco_mask.toBbox(segmentation)],
        "segmentation": segmentation,
        "area": float(coco_mask.area(segmentation)),
        "iscrowd": int(rng.random() < 0.15),
        "keypoints": points.ravel().tolist(),
        "num_keypoints": int((points[:, 2] > 0).sum()),
    }


def _disturbed(rng: np.random.Generator, thing: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A detection near a labelled object, or exactly on it."""
    if rng.random() < 0.3:
        return dict(thing)
    bitmap = np.roll(coco_mask.decode(thing["segmentation"]), int(rng.integers(-3, 4)), axis=0)
    return {
        "category_id": thing["category_id"] if rng.random() < 0.9 else other["category_id"],
        "bbox": np.abs(np.array(thing["bbox"]) + rng.normal(0, 2, 4)).tolist(),
        "segmentation": rle_of(bitmap ^ (rng.random(bitmap.shape) < 0.02)),
        "keypoints": (np.array(thing["keypoints"]) + rng.normal(0, 1.5, len(thing["keypoints"]))).tolist(),
    }


def as_dataset(labels: dict[str, Any], first_id: int = 1, stated_area: bool = True) -> FileDataset:
    """The same labels as our readers give them: xyxy boxes, continuous keypoints, class indices."""
    names = [c["name"] for c in labels["categories"]]
    ids = [c["id"] for c in labels["categories"]]
    counts = {len(a["keypoints"]) // 3 for a in labels["annotations"]}
    images = []
    for image in labels["images"]:
        here = [a for a in labels["annotations"] if a["image_id"] == image["id"]]
        annotations = [_annotation(a, ids, first_id, stated_area) for a in here]
        images.append(
            LabelledImage(
                image["id"], f"{image['id']}.png", None, image["height"], image["width"], annotations
            )
        )
    schema = schema_of(counts.pop()) if counts else None
    return FileDataset(images, DatasetInfo(name="random", classes=names, class_ids=ids, keypoints=schema))


def _annotation(record: dict[str, Any], ids: list[int], first_id: int, stated_area: bool) -> Annotation:
    x, y, width, height = record["bbox"]
    points = np.array(record["keypoints"], dtype=float).reshape(-1, 3) + (0.5, 0.5, 0)
    return Annotation(
        box=(x, y, x + width, y + height),
        label=ids.index(record["category_id"]),
        rle=record["segmentation"],
        keypoints=points,
        crowd=bool(record["iscrowd"]),
        area=record["area"] if stated_area else 0.0,
        id=record["id"] - 1 + first_id,
    )


def reference(labels: dict[str, Any], results: list[dict[str, Any]], kind: str) -> COCOeval:
    """pycocotools on the same labels; text ids become their place in order, as it knows numbers only."""
    labels, number = copy.deepcopy(labels), {}
    for place, image_id in enumerate(sorted(image["id"] for image in labels["images"])):
        number[image_id] = place + 1
    for record in labels["images"]:
        record["id"] = number[record["id"]]
    for record in labels["annotations"]:
        record["image_id"] = number[record["image_id"]]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = labels
        truth.createIndex()
        found = COCO()
        found.dataset = {**labels, "annotations": []}
        found.createIndex()
        if results:
            keys = ("category_id", "score", FIELDS[kind])
            found = truth.loadRes(
                [{k: r[k] for k in keys} | {"image_id": number[r["image_id"]]} for r in results]
            )
        evaluator = COCOeval(truth, found, kind)
        if kind == "keypoints" and labels["annotations"]:
            count = len(labels["annotations"][0]["keypoints"]) // 3
            evaluator.params.kpt_oks_sigmas = np.array(schema_of(count).sigmas)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def assert_equal(labels: dict[str, Any], results: list[dict[str, Any]], dataset: FileDataset) -> None:
    kinds = [kind for kind in KINDS if kind != "keypoints" or dataset.keypoints is not None]
    scores = score_results(dataset, results, kinds)
    for kind in kinds:
        expected = reference(labels, results, kind)
        keys = KEYPOINT_KEYS if kind == "keypoints" else OBJECT_KEYS
        ours = [-1.0 if scores[kind][key] is None else scores[kind][key] / 100 for key in keys]
        np.testing.assert_allclose(ours, expected.stats, rtol=0, atol=1e-9, err_msg=kind)
        order = np.argsort(dataset.class_ids)
        for place, name in enumerate(np.array(dataset.classes)[order]):
            values = expected.eval["precision"][:, :, place, 0, -1]
            ap = scores.per_class[kind][name]["AP"]
            measured = values[values > -1]
            assert ap is None if not measured.size else ap == pytest.approx(100 * measured.mean(), abs=1e-7)


@pytest.mark.parametrize("seed", range(40))
def test_equals_pycocotools(seed: int) -> None:
    """Crowds, several classes, three sizes, equal scores, text ids, keypoints of 5 and 17 points."""
    labels, results = random_labels(seed, text_ids=seed % 5 == 0)
    assert_equal(labels, results, as_dataset(labels))


def test_keypoints_are_ranked_by_their_own_score_where_there_is_one() -> None:
    labels, results = random_labels(3)
    dataset, rng = as_dataset(labels), np.random.default_rng(0)
    plain = score_results(dataset, results, ["bbox", "keypoints"])
    ranked = [result | {"keypoints_score": float(rng.random())} for result in results]
    scores = score_results(dataset, ranked, ["bbox", "keypoints"])
    assert scores["bbox"] == plain["bbox"] and scores["keypoints"] != plain["keypoints"]
    expected = reference(labels, [r | {"score": r["keypoints_score"]} for r in ranked], "keypoints")
    ours = [
        -1.0 if scores["keypoints"][key] is None else scores["keypoints"][key] / 100 for key in KEYPOINT_KEYS
    ]
    np.testing.assert_allclose(ours, expected.stats, rtol=0, atol=1e-9)


def test_masks_are_ranked_by_their_own_score_where_there_is_one() -> None:
    labels, results = random_labels(3)
    dataset, rng = as_dataset(labels), np.random.default_rng(0)
    plain = score_results(dataset, results, ["bbox", "segm"])
    ranked = [result | {"segmentation_score": float(rng.random())} for result in results]
    scores = score_results(dataset, ranked, ["bbox", "segm"])
    assert scores["bbox"] == plain["bbox"] and scores["segm"] != plain["segm"]
    by_hand = [result | {"score": result["segmentation_score"]} for result in ranked]
    assert scores["segm"] == score_results(dataset, by_hand, ["segm"])["segm"]


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_without_labels_or_detections(seed: int) -> None:
    labels, results = random_labels(seed, objects=0)
    assert_equal(labels, results, as_dataset(labels))
    labels, results = random_labels(seed, detections=0)
    assert results == []
    assert_equal(labels, results, as_dataset(labels))


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools_beyond_100_detections(seed: int) -> None:
    labels, results = random_labels(seed, objects=3, detections=200)
    assert_equal(labels, results, as_dataset(labels))


@pytest.mark.parametrize("seed", range(6))
def test_ids_from_0_and_missing_areas_change_nothing(seed: int) -> None:
    labels, results = random_labels(seed)
    expected = score_results(as_dataset(labels), results)
    ours = score_results(as_dataset(labels, first_id=0, stated_area=False), results)
    assert ours.kinds == expected.kinds


@pytest.mark.parametrize("first_id", [0, 1])
def test_labels_fed_back_score_100(first_id: int) -> None:
    labels, _ = random_labels(8)
    for record in labels["annotations"]:
        record["iscrowd"] = 0
        record["keypoints"] = [value or 1.0 for value in record["keypoints"]]
    fields = ("image_id", "category_id", "bbox", "segmentation", "keypoints")
    results = [{key: a[key] for key in fields} | {"score": 0.9} for a in labels["annotations"]]
    scores = score_results(as_dataset(labels, first_id), results)
    assert list(scores.kinds) == list(KINDS)
    for kind in KINDS:
        measured = [value for key, value in scores[kind].items() if value is not None and "AP" in key]
        assert len(measured) >= 3
        assert measured == pytest.approx([100.0] * len(measured))
        assert scores.per_class[kind]["class 3"]["AP"] == pytest.approx(100.0)


def test_what_cannot_be_measured_is_none() -> None:
    labels, results = random_labels(3, objects=0)
    scores = score_results(as_dataset(labels), results, ["bbox"])
    assert set(scores["bbox"].values()) == {None}
    assert scores.objects == 0


def one_image(objects: list[Annotation]) -> FileDataset:
    image = LabelledImage(7, "a.png", None, 40, 40, objects)
    return FileDataset([image], DatasetInfo(name="one image", classes=["thing"], class_ids=[5]))


def test_an_object_without_mask_is_neither_missed_nor_a_mistake() -> None:
    bitmap = np.zeros((40, 40), np.uint8)
    bitmap[5:20, 5:20] = 1
    objects = [
        Annotation((5, 5, 20, 20), 0, rle=rle_of(bitmap), area=225.0, id=1),
        Annotation((25, 25, 38, 38), 0, area=169.0, id=2),
    ]
    dataset = one_image(objects)
    elsewhere = np.zeros((40, 40), np.uint8)
    elsewhere[26:38, 26:38] = 1
    results = [
        {"image_id": 7, "category_id": 5, "score": 0.9, "segmentation": rle_of(elsewhere)},
        {"image_id": 7, "category_id": 5, "score": 0.8, "segmentation": rle_of(bitmap)},
    ]
    scores = score_results(dataset, results, ["segm"])
    assert scores["segm"]["AP"] == pytest.approx(100.0)
    assert scores.objects == 2
    assert "1 labelled objects" in scores.notes[0]


MASK = rle_of(np.eye(40, dtype=np.uint8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 99}, ["image_id 99"]),
        ({"image_id": [7]}, ["image_id [7]"]),
        ({"category_id": 99}, ["category_id 99", "5"]),
        ({"score": math.nan}, ["'score' is nan", "finite"]),
        ({"score": "0.9"}, ["'score' is '0.9'", "finite"]),
        ({"score": None}, ["'score' is None"]),
        ({"score": [0.9]}, ["'score' is [0.9]"]),
        ({"score": 10**400}, ["'score'", "finite"]),
        ({"bbox": [0.0, 0.0, math.inf, 1.0]}, ["'bbox'", "inf", "4 finite numbers"]),
        ({"bbox": [0.0, 0.0, 1.0]}, ["'bbox'", "4 finite numbers"]),
        ({"bbox": [9.0, 9.0, -5.0, -5.0]}, ["'bbox'", "a width or height below 0"]),
        ({"bbox": [0.0, 0.0, "1", 1.0]}, ["'bbox'"]),
        ({"bbox": [[0.0], 0.0, 1.0, 1.0]}, ["'bbox'"]),
        ({"keypoints": [1.0, 1.0, 2.0]}, ["'keypoints'", "6 finite numbers"]),
        ({"keypoints": [1.0, 1.0, 2.0, 1.0, math.nan, 2.0]}, ["'keypoints'", "nan"]),
        ({"segmentation_score": math.nan}, ["'segmentation_score'", "nan"]),
        ({"keypoints_score": math.nan}, ["'keypoints_score'", "nan"]),
        ({"keypoints_score": "high"}, ["'keypoints_score'", "finite"]),
        ({"segmentation": None}, ["'segmentation'", "size and counts", "pycocotools.mask.encode"]),
        ({"segmentation": [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0]]}, ["'segmentation'", "pycocotools.mask.encode"]),
        ({"segmentation": {"size": [40, 40]}}, ["'segmentation'", "size and counts"]),
        ({"segmentation": MASK | {"size": [40, 41]}}, ["[40, 41]", "[40, 40]"]),
        ({"segmentation": MASK | {"size": ["40", 40]}}, ["['40', 40]", "[40, 40]"]),
        ({"segmentation": MASK | {"size": 40}}, ["'segmentation'"]),
        ({"segmentation": MASK | {"counts": MASK["counts"] * 9}}, ["'segmentation'", "cannot be read"]),
        ({"segmentation": MASK | {"counts": "\x01~~"}}, ["'segmentation'", "cannot be read"]),
        ({"segmentation": MASK | {"counts": "NNN"}}, ["'segmentation'", "cannot be read"]),
        ({"segmentation": MASK | {"counts": b"\xff\xfe"}}, ["'segmentation'", "cannot be read"]),
        ({"segmentation": MASK | {"counts": 7}}, ["'segmentation'", "cannot be read"]),
    ],
)
@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_bad_result_is_named(change: dict[str, Any], words: list[str], place: int) -> None:
    """The first of a few good ones, one in the middle, and the last."""
    dataset = one_image([])
    dataset.info = replace(dataset.info, keypoints=schema_of(2))
    good = {"image_id": 7, "category_id": 5, "score": 0.9, "bbox": [1.0, 1.0, 5.0, 5.0]}
    good |= {"segmentation": MASK, "keypoints": [1.0, 1.0, 2.0, 3.0, 3.0, 2.0]}
    results = [dict(good) for _ in range(10)]
    score_results(dataset, results, ["bbox", "segm", "keypoints"])
    results[place] |= change
    with pytest.raises(DataError) as caught:
        score_results(dataset, results, ["bbox", "segm", "keypoints"])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    for word in [f"result {place}", *words]:
        assert word in str(caught.value)


def test_what_is_no_record_is_named() -> None:
    good = {"image_id": 7, "category_id": 5, "score": 0.9, "bbox": [1.0, 1.0, 5.0, 5.0]}
    for record in (None, "result", [1, 2], 3):
        with pytest.raises(DataError, match="result 1: .* where a dictionary"):
            score_results(one_image([]), [good, record], ["bbox"])


def test_numpy_numbers_and_tuples_are_numbers() -> None:
    labels, results = random_labels(6)
    others = [
        result
        | {
            "bbox": np.array(result["bbox"]),
            "score": np.float64(result["score"]),
            "keypoints": tuple(result["keypoints"]),
            "segmentation": {
                "size": tuple(result["segmentation"]["size"]),
                "counts": result["segmentation"]["counts"].encode(),
            },
        }
        for result in results
    ]
    dataset = as_dataset(labels)
    kinds = [kind for kind in KINDS if kind != "keypoints" or dataset.keypoints is not None]
    assert score_results(dataset, others, kinds).kinds == score_results(dataset, results, kinds).kinds


def test_results_may_come_one_by_one() -> None:
    """An iterator will do, with or without the kinds stated."""
    labels, results = random_labels(5)
    assert len(results) > 14
    dataset = as_dataset(labels)
    expected = score_results(dataset, results)
    assert score_results(dataset, iter(results)).to_dict() == expected.to_dict()
    assert score_results(dataset, iter(results), list(expected.kinds)).to_dict() == expected.to_dict()
    assert expected.detections == len(results)


def test_a_mask_is_scored_whatever_its_box_says() -> None:
    labels, results = random_labels(9)
    dataset = as_dataset(labels)
    expected = score_results(dataset, results, ["segm"])
    elsewhere = [result | {"bbox": [0.0, 0.0, 0.5, 0.5]} for result in results]
    assert expected["segm"]["AP"] > 0
    assert score_results(dataset, elsewhere, ["bbox", "segm"])["segm"] == expected["segm"]


def test_keypoints_without_any_in_the_labels_are_refused() -> None:
    with pytest.raises(DataError, match="no keypoints"):
        score_results(one_image([]), [], ["keypoints"])


def test_a_missing_field_and_an_empty_data_set_are_refused() -> None:
    dataset = one_image([])
    with pytest.raises(DataError, match="segmentation"):
        score_results(
            dataset, [{"image_id": 7, "category_id": 5, "score": 0.9, "bbox": [1, 1, 5, 5]}], ["segm"]
        )
    with pytest.raises(DataError, match="no image"):
        score_results(
            FileDataset([], DatasetInfo(name="none", classes=["thing"], class_ids=[5])), [], ["bbox"]
        )


def test_images_of_many_objects_are_counted_beyond_a_hundred():
    """150 objects, all found: COCO sees 100 of them, which is a recall and an AP of about two thirds."""
    boxes = [
        (10.0 * (i % 15), 10.0 * (i // 15), 10.0 * (i % 15) + 8, 10.0 * (i // 15) + 8) for i in range(150)
    ]
    image = LabelledImage(
        1, "a.png", None, 110, 160, [Annotation(box, 0, area=64.0, id=i + 1) for i, box in enumerate(boxes)]
    )
    dataset = FileDataset([image], DatasetInfo(name="many", classes=["cell"], class_ids=[1]))
    found = [
        {"image_id": 1, "category_id": 1, "bbox": [x, y, 8.0, 8.0], "score": 1 - i / 1000}
        for i, (x, y, _, _) in enumerate(boxes)
    ]
    scores = score_results(dataset, found, ["bbox"], most=200)["bbox"]
    assert (
        scores["AP50"] == pytest.approx(100 * 67 / 101, abs=1)
        and scores["AP50@200"] == scores["AP@200"] == 100
    )
    assert not any("@" in key for key in score_results(dataset, found, ["bbox"])["bbox"])


def test_what_lvis_did_not_look_for_is_neither_right_nor_wrong() -> None:
    """Gupta et al. 2019: classes that are neither labelled nor negative in an image, and the rest of a class
    whose labels are not exhaustive.
    """
    boxes = [(10.0, 10.0, 40.0, 40.0), (10.0, 50.0, 40.0, 80.0)]
    first, second = (Annotation(box, label, area=900.0, id=1) for label, box in enumerate(boxes))
    images = [
        LabelledImage(1, "a", None, 100, 100, [first], not_exhaustive=[0], negative=[]),
        LabelledImage(2, "b", None, 100, 100, [second], negative=[2]),
    ]
    dataset = FileDataset(images, DatasetInfo("lvis", ["cat", "dog", "cow"], [1, 2, 3]))

    def result(image: int, category: int, score: float, x: float, y: float) -> dict[str, Any]:
        return {"image_id": image, "category_id": category, "score": score, "bbox": [x, y, 30.0, 30.0]}

    right = [result(1, 1, 0.8, 10, 10), result(2, 2, 0.8, 10, 50)]
    beside = [result(1, 1, 0.95, 60, 10), result(2, 1, 0.9, 60, 10), result(1, 2, 0.9, 60, 10)]
    scores = score_results(dataset, right + beside, ["bbox"]).per_class["bbox"]
    assert scores["cat"]["AP50"] == scores["dog"]["AP50"] == pytest.approx(100.0)
    wrong = [result(2, 2, 0.9, 60, 10)]  # of a class that was looked for
    assert score_results(dataset, right + wrong, ["bbox"]).per_class["bbox"]["dog"]["AP50"] == pytest.approx(
        50.0
    )
