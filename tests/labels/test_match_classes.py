"""What the objects of a set without class names are called, and how a one-class model meets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from claims import one_line
from PIL import Image

from maskrcnn.config.load import load_config
from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.match_classes import labels_for, take_class, with_class
from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.train.setup import take_only_class


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Label images of two splits."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (tmp_path / "nuclei" / split / kind).mkdir(parents=True)
            ids = np.zeros((8, 10), np.uint8)
            ids[2:5, 3:9] = 1
            Image.fromarray(ids).save(tmp_path / "nuclei" / split / kind / "a.png")
    return tmp_path / "nuclei"


def test_one_default_and_one_setting(cells: Path) -> None:
    assert [part.classes for part in open_pair(cells) if part] == [["object"], ["object"]]
    assert [part.classes for part in open_pair(cells, options=LabelOptions("cell")) if part] == [
        ["cell"],
        ["cell"],
    ]
    assert open_dataset(cells, "val", options=LabelOptions("cell")).image(0).annotations[0].label == 0


@pytest.mark.parametrize("name", ["", " ", "a\nb"])
def test_no_name(cells: Path, name: str) -> None:
    with pytest.raises(UserError, match="--class"):
        open_dataset(cells, options=LabelOptions(name))


def test_a_set_of_several_classes_has_names_of_its_own() -> None:
    with pytest.raises(UserError, match="4 classes of its own") as caught:
        with_class(Synthetic(2), "cell")
    one_line(caught.value)


def test_the_only_class_of_a_model_is_taken_and_told(cells: Path) -> None:
    data = open_dataset(cells)
    taken, lines = take_class(data, ["nucleus"])
    assert (
        taken.classes == ["nucleus"] and labels_for(taken, ["nucleus"]) == [0] and data.classes == ["object"]
    )
    assert len(lines) == 1 and "'object'" in lines[0] and "'nucleus'" in lines[0]
    for classes in (["object"], ["nucleus", "cell"], []):
        assert take_class(data, classes) == (data, [])


def test_a_name_of_its_own_is_kept_and_refused_with_a_remedy(cells: Path) -> None:
    named = open_dataset(cells, options=LabelOptions("cell"))
    assert take_class(named, ["nucleus"]) == (named, [])
    with pytest.raises(DataError, match="say --class nucleus"):
        labels_for(named, ["nucleus"])


def test_a_training_takes_the_class_of_its_settings_or_of_what_it_starts_from(cells: Path) -> None:
    train, val = open_pair(cells)
    config = load_config({}, ["train.init=nuclei-mobilenet"])
    parts = take_only_class(config, train, val)
    assert parts[0].classes == ["nucleus"] and parts[1] is not None and parts[1].classes == ["nucleus"]
    assert len(parts[2]) == 2
    assert take_only_class(load_config({}, []), train, val) == (train, val, [])
    config = load_config({}, ["model.classes=[cell]", "model.class_ids=[1]"])
    assert take_only_class(config, train, None)[0].classes == ["cell"]


def test_convert_writes_the_name(cells: Path, tmp_path: Path) -> None:
    from maskrcnn.labels.convert import convert_data

    convert_data(str(cells), "coco", tmp_path / "out", options=LabelOptions("cell"))
    document = json.loads((tmp_path / "out/val.json").read_text())
    assert [category["name"] for category in document["categories"]] == ["cell"]


def test_a_class_that_only_the_val_split_has_is_said(tmp_path: Path) -> None:
    """Nothing is learned of it, and its AP is 0."""
    from maskrcnn.training_data.prepare import prepare_data

    for split, labels in {"train": [1], "val": [1, 2]}.items():
        Image.new("RGB", (8, 8)).save(tmp_path / f"{split}.png")
        document = {
            "images": [{"id": 1, "file_name": f"{split}.png", "width": 8, "height": 8}],
            "annotations": [
                {"id": n, "image_id": 1, "category_id": n, "bbox": [1, 1, 5, 5], "iscrowd": 0} for n in labels
            ],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cow"}],
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(document))
    train, val = open_pair(tmp_path)
    assert val is not None
    config = load_config({}, ["model.mask_head=null"])
    (line,) = (line for line in prepare_data(config, train, val)[3] if "not be learned" in line)
    assert (
        line.startswith(f"warning: {train.name}: no object to train on has the class 'dog'")
        and "cow" not in line
    )
    assert not any("not be learned" in line for line in prepare_data(config, train, train)[3])
