"""`data.classes`, `data.other_classes` and `data.crowds`: what labels are taken for, with a count of the
rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.config.data import DataConfig
from maskrcnn.errors import UserError
from maskrcnn.evaluate.coco import score_results
from maskrcnn.labels.choose import choose_labels, label_counts
from maskrcnn.labels.match_classes import labels_for, passed_over
from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.types import ANY_CLASS, Dataset
from maskrcnn.labels.writers.coco import write_coco

NAMES = ["cat", "dog", "cow"]
TINY = [
    *["--recipe", "quick", "--set", "train.batch=2", "--set", "train.reference_batch=2"],
    *["--set", "train.warmup_iterations=1", "--set", "train.epochs=1", "--set", "data.workers=0"],
    *["--set", "model.input.short_side=32", "--set", "model.input.long_side=48"],
    *["--set", "data.augment.short_sides=[32]", "--set", "data.augment.long_side=48"],
]


def write(path: Path, classes: list[str] = NAMES, *, used: int = 3, crowd: int = 0) -> Path:
    """Two images, each with an object of the first `used` classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    rng = np.random.default_rng(7)
    for number in (1, 2):
        pixels = rng.integers(0, 255, (32, 48, 3), np.uint8)
        Image.fromarray(pixels).save(path.with_name(f"{path.stem}{number}.png"))
        images.append({"id": number, "file_name": f"{path.stem}{number}.png", "width": 48, "height": 32})
        for place in range(used):
            x = 2 + 15 * place
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 5 * place,
                    "bbox": [x, 3, 12, 20],
                    "segmentation": [[x, 3, x + 12, 3, x + 12, 23, x, 23]],
                    "area": 240,
                    "iscrowd": crowd,
                }
            )
    categories = [{"id": 5 * place, "name": name} for place, name in enumerate(classes)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def chosen(path: Path, **settings: Any) -> Dataset:
    return open_dataset(path, options=LabelOptions(data=DataConfig(**settings)))


def rows(dataset: Dataset) -> list[tuple[int, bool]]:
    return [(a.label, a.crowd) for i in range(len(dataset)) for a in dataset.image(i).annotations]


def test_other_classes_are_background(tmp_path: Path) -> None:
    dataset = chosen(write(tmp_path / "a.json"), classes=["cow", "cat"])
    assert dataset.classes == ["cow", "cat"] and dataset.class_ids == [10, 0]
    assert rows(dataset) == [(1, False), (0, False)] * 2
    assert dataset.problems.counts == {ProblemKind.OTHER_CLASS_BACKGROUND: 2}
    assert "2, first class 'dog'" in dataset.problems.lines()[0]
    assert dataset.pixels(0).shape == (32, 48, 3)


def test_other_classes_are_ignored(tmp_path: Path) -> None:
    dataset = chosen(write(tmp_path / "a.json"), classes=["dog"], other_classes="ignore")
    assert rows(dataset) == [(ANY_CLASS, True), (0, False), (ANY_CLASS, True)] * 2
    assert dataset.problems.counts == {ProblemKind.OTHER_CLASS_IGNORED: 4}
    assert [counts.tolist() for counts in label_counts(dataset)] == [[2], [0]]


@pytest.mark.parametrize(("other", "ap50"), [("background", (50.0, 70.0)), ("ignore", (100.0, 100.0))])
def test_what_is_found_on_other_classes(tmp_path: Path, other: str, ap50: tuple[float, float]) -> None:
    """A mistake on what is background, and of no account on what is ignored, whatever its class."""
    path = write(tmp_path / "a.json")
    dataset = chosen(path, classes=["cat", "dog"], other_classes=other)
    boxes = {0: [[32, 3, 12, 20], [2, 3, 12, 20]], 5: [[32, 3, 12, 20], [17, 3, 12, 20]]}
    results = [
        {"image_id": image, "category_id": category, "bbox": box, "score": 0.9 - 0.1 * place}
        for image in (1, 2)
        for category, found in boxes.items()
        for place, box in enumerate(found)
    ]
    scores = score_results(dataset, results, ["bbox"])
    assert scores.objects == 4
    figure = scores["bbox"]["AP50"]
    assert figure is not None and ap50[0] <= round(figure, 6) <= ap50[1]


def test_ignored_regions_in_coco_are_of_each_class(tmp_path: Path) -> None:
    dataset = chosen(write(tmp_path / "a.json"), classes=["cat", "dog"], other_classes="ignore")
    write_coco(dataset, tmp_path / "out.json", tmp_path / "out")
    again = open_dataset(tmp_path / "out.json")
    assert rows(again) == [(0, False), (1, False), (0, True), (1, True)] * 2


def test_crowds_as_objects(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", crowd=1)
    assert open_dataset(path).problems.counts == {ProblemKind.ONLY_CROWDS: 6}
    dataset = chosen(path, crowds="objects")
    assert rows(dataset) == [(0, False), (1, False), (2, False)] * 2
    assert dataset.problems.counts == {ProblemKind.CROWD_AS_OBJECT: 6}
    both = chosen(path, crowds="objects", classes=["dog"])
    assert rows(both) == [(0, False)] * 2
    assert both.problems.counts == {ProblemKind.CROWD_AS_OBJECT: 6, ProblemKind.OTHER_CLASS_BACKGROUND: 4}


def test_nothing_said_changes_nothing(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path / "a.json"))
    assert choose_labels(dataset, DataConfig()) is dataset


def test_names_that_the_labels_do_not_have(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json")
    words = ["data.classes: 'cats'", "(cat, dog, cow)", "did you mean 'cat'?"]
    refused(lambda: chosen(path, classes=["dog", "cats"]), *words, error=UserError)
    write(tmp_path / "val.json", ["cat"], used=1)
    _, val = open_pair(tmp_path, options=LabelOptions(data=DataConfig(classes=["dog", "cat"])))
    assert val is not None and val.classes == ["cat"], "a val split may lack a class"
    unused = write(tmp_path / "b.json", used=1)
    refused(lambda: chosen(unused, classes=["dog"]), "no object is left", "data.classes")


def test_a_class_without_an_object_is_passed_over(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path / "a.json", ["cat", "root"], used=1))
    assert labels_for(dataset, ["dog", "cat"]) == [1, -1]
    (line,) = passed_over(dataset, ["dog", "cat"])
    assert "'root'" in line and "passed over" in line
    assert passed_over(dataset, ["root", "cat"]) == passed_over(dataset, []) == []
    used = open_dataset(write(tmp_path / "b.json", ["cat", "root"], used=2))
    refused(lambda: labels_for(used, ["dog", "cat"]), "'root'", "--set 'data.classes=[cat]'")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(list(words))
    found = capsys.readouterr()
    return code, found.out + found.err


def test_trained_and_evaluated_on_some_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "data/train.json")
    write(tmp_path / "data/val.json")
    write(tmp_path / "data/test.json", [*NAMES, "objects"])
    data, folder = str(tmp_path / "data"), str(tmp_path / "run")
    one = ["--set", "data.classes=[dog]"]
    code, text = run(capsys, "train", data, *TINY, "--set", "model.classes=[dog]", "--run", folder)
    assert code == 3 and "--set 'data.classes=[dog]'" in text
    code, text = run(capsys, "train", data, *TINY, *one, "--run", folder)
    assert code == 0 and "taken for background: 4" in text and "classes: dog" in text
    data_json = json.loads((tmp_path / "run/data.json").read_text())
    repairs = data_json["train"]["repairs"]
    assert repairs == {ProblemKind.OTHER_CLASS_BACKGROUND.text: 4}
    code, text = run(capsys, "evaluate", folder, data)
    assert code == 3 and "--set 'data.classes=[dog]'" in text
    code, text = run(capsys, "evaluate", folder, data, *one, "--set", "data.other_classes=ignore")
    assert code == 0 and "2 images, 2 objects" in text and "leaves out ignored: 4" in text
    code, text = run(capsys, "evaluate", folder, data, *one, "--split", "test")
    assert code == 0 and "2 images, 2 objects" in text and f"{tmp_path}/data/test.json" in text
    code, text = run(capsys, "check", data, "--no-steps", *one)
    assert code == 0 and "--set 'data.classes=[\"dog\"]'" in text, "the command that trains"
    code, text = run(capsys, "evaluate", folder, data, "--set", "train.epochs=3")
    assert code == 2 and "data.classes, data.other_classes, data.crowds" in text


def test_crowds_alone_are_not_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = str(write(tmp_path / "train.json", crowd=1)), str(tmp_path / "run")
    code, text = run(capsys, "train", path, *TINY, "--run", folder)
    (line,) = text.splitlines()
    assert code == 3 and "all 6 annotations have iscrowd 1" in line and "data.crowds=objects" in line
    assert not (tmp_path / "run").exists()
    code, text = run(capsys, "check", path, "--no-steps")
    assert code == 3 and "error: iscrowd 1 of every object" in text
    as_objects = ["--set", "data.crowds=objects"]
    code, text = run(capsys, "check", path, "--no-steps", *as_objects)
    assert code == 0 and "crowd region read as an object: 6" in text
    code, text = run(capsys, "train", path, *TINY, *as_objects, "--run", folder)
    assert code == 0 and "crowd region read as an object: 6" in text
    code, text = run(capsys, "evaluate", folder, path)
    assert code == 0 and "0 objects" in text and "no labelled objects to score" in text


def test_ignoring_needs_a_model_that_ignores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(tmp_path / "train.json"))
    settings = ["data.classes=[cat]", "data.other_classes=ignore", "model.rpn.ignore_iou=null"]
    words = [word for setting in settings for word in ("--set", setting)]
    code, text = run(capsys, "train", path, *TINY, *words, "--run", str(tmp_path / "run"))
    assert code == 2 and "; add --set model.rpn.ignore_iou=0.5" in text
