"""Two traps of other evaluators, from a COCO file to its scores: annotation ids from 0, and areas that are
not the masks'.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from make_samples import SAMPLES
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn.check.findings import Findings
from maskrcnn.check.labels import check_annotations
from maskrcnn.evaluate.coco import score_results
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset


def labels(folder: Path, **change: Any) -> tuple[Path, list[dict[str, Any]]]:
    """The twelve images with `first_id` or `area_factor` changed, and the same objects as results."""
    shutil.copytree(SAMPLES / "coco", folder / "coco")
    path = folder / "coco/train.json"
    document = json.loads(path.read_text())
    for number, record in enumerate(document["annotations"]):
        record["id"] = number + change.get("first_id", 1)
        record["area"] *= change.get("area_factor", 1)
    path.write_text(json.dumps(document))
    fields = ("image_id", "category_id", "bbox", "segmentation")
    found = [
        {key: r[key] for key in fields} | {"score": 0.9} for r in document["annotations"] if not r["iscrowd"]
    ]
    return path, found


def opened(path: Path) -> FileDataset:
    dataset = open_dataset(path)
    assert isinstance(dataset, FileDataset) and not dataset.problems
    return dataset


def pycocotools_ap(path: Path, results: list[dict[str, Any]]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluator = COCOeval(truth, truth.loadRes(results), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return 100 * float(evaluator.stats[0])


@pytest.mark.parametrize("first_id", [0, 1])
def test_ids_from_0(tmp_path: Path, first_id: int) -> None:
    path, results = labels(tmp_path, first_id=first_id)
    dataset = opened(path)
    assert min(a.id for image in dataset for a in image.annotations) == first_id, "the person's own ids stay"
    scores = score_results(dataset, results, ["bbox", "segm"])
    assert scores["bbox"]["AP"] == scores["segm"]["AP"] == pytest.approx(100)
    # the trap is there: else this test shows nothing
    assert (pycocotools_ap(path, results) < 99) == (first_id == 0)


def test_areas_that_are_not_the_masks(tmp_path: Path) -> None:
    """They only say which size an object counts as, as the file's owner says; `check` tells them of it."""
    path, results = labels(tmp_path, area_factor=100)
    dataset = opened(path)
    scores = score_results(dataset, results, ["segm"])["segm"]
    assert (
        scores["AP"] == pytest.approx(100) and scores["APl"] == pytest.approx(100) and scores["APs"] is None
    )
    findings = Findings()
    for index in range(len(dataset)):
        check_annotations(dataset.image(index), index, "train", findings)
    found = [group for group in findings if group.text == "area that does not match the mask"]
    assert found and found[0].count == 33
    # an object whose area is missing or 0 still has a size
    document = json.loads(path.read_text())
    for record in document["annotations"]:
        record["area"] = 0
    path.write_text(json.dumps(document))
    measured = open_dataset(path)
    assert measured.problems.texts()["missing area computed"] == 34
    scores = score_results(measured, results, ["segm"])["segm"]
    assert (
        scores["AP"] == pytest.approx(100) and scores["APs"] == pytest.approx(100) and scores["APl"] is None
    )
