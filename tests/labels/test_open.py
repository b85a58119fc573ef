"""What a person may type for a data set."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from claims import refused
from PIL import Image

from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.detect import Format, detect
from maskrcnn.labels.match_classes import labels_for
from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.options import LabelOptions

SHARED = Path(__file__).parents[3] / "shared"


def coco(json_path: Path, images: Path, name: str = "cat") -> Path:
    """A COCO file of one image and one object of the class `name`."""
    json_path.parent.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5)).save(images / f"{json_path.stem}.png")
    document = {
        "images": [{"id": 1, "file_name": f"{json_path.stem}.png", "width": 6, "height": 5}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0},
        ],
        "categories": [{"id": 1, "name": name}],
    }
    json_path.write_text(json.dumps(document))
    return json_path


def labels(folder: Path) -> Path:
    """A folder of one image and its label image."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(folder / name / "a.png")
    return folder


def names(source: Path) -> tuple[str, str | None]:
    """Where the two data sets of a source came from."""
    train, val = open_pair(source)
    assert train.pixels(0).ndim == 3
    return train.name, None if val is None else val.name


@pytest.mark.parametrize("images", ["set", "images", ".", "../images"])
def test_folders_of_images(tmp_path: Path, images: str) -> None:
    path = coco(tmp_path / "labels/set.json", tmp_path / "labels" / images)
    assert open_dataset(path).pixels(0).shape == (5, 6, 3)
    assert open_dataset(str(path), "val").name == str(path)
    assert names(path) == (str(path), None)


@pytest.mark.parametrize("val", ["val.json", "valid.json", "validation.json"])
def test_folder_with_two_files(tmp_path: Path, val: str) -> None:
    coco(tmp_path / "train.json", tmp_path / "train", "dog")
    coco(tmp_path / val, tmp_path / Path(val).stem)
    expected = (str(tmp_path / "train.json"), str(tmp_path / val))
    assert names(tmp_path) == expected
    assert names(tmp_path / "train.json") == expected
    assert names(tmp_path / val) == (str(tmp_path / val), None)
    assert open_dataset(tmp_path).classes == open_dataset(tmp_path, "train").classes == ["dog"]
    assert open_dataset(tmp_path, "val").classes == ["cat"]
    assert open_dataset(tmp_path / "train.json", "val").classes == ["dog"], (
        "a file that is named is that file"
    )


def test_sibling_keeps_the_rest_of_the_name(tmp_path: Path) -> None:
    for stem in ("train_2", "val_2", "val"):
        coco(tmp_path / f"{stem}.json", tmp_path / "images")
    assert names(tmp_path / "train_2.json") == (str(tmp_path / "train_2.json"), str(tmp_path / "val_2.json"))


def test_label_images(tmp_path: Path) -> None:
    labels(tmp_path)
    assert names(tmp_path) == (str(tmp_path), None)
    assert open_dataset(tmp_path, "val").name == str(tmp_path)


def test_label_images_in_two_folders(tmp_path: Path) -> None:
    train, val = labels(tmp_path / "train"), labels(tmp_path / "val")
    assert names(tmp_path) == (str(train), str(val))


def test_a_file_in_each_folder(tmp_path: Path) -> None:
    train = coco(tmp_path / "train/_annotations.coco.json", tmp_path / "train")
    val = coco(tmp_path / "valid/_annotations.coco.json", tmp_path / "valid")
    assert names(tmp_path) == (str(train), str(val))


def test_labels_of_one_split_in_two_places(tmp_path: Path) -> None:
    """To take one of them would leave out what the other holds."""
    coco(tmp_path / "train.json", tmp_path / "train")
    assert names(tmp_path) == (str(tmp_path / "train.json"), None)  # images alone are no labels
    labels(tmp_path / "train")
    for source in (tmp_path, f"coco:{tmp_path}"):
        if source == tmp_path:
            refused(lambda: open_dataset(tmp_path, "train"), "'train.json' and 'train'", error=UserError)
        else:
            assert open_dataset(source, "train").name == str(tmp_path / "train.json")
    assert open_dataset(tmp_path / "train.json").classes == ["cat"]
    assert open_dataset(tmp_path / "train").classes == ["object"]
    (tmp_path / "train.json").unlink()
    coco(tmp_path / "annotations/instances_train2017.json", tmp_path / "train2017")
    words = "'train' and 'annotations/instances_train2017.json'", "give the one that is meant"
    refused(lambda: open_dataset(tmp_path, "train"), *words, error=UserError)


def test_layout_of_coco(tmp_path: Path) -> None:
    expected = []
    for split in ("train2017", "val2017"):
        expected.append(str(coco(tmp_path / f"annotations/instances_{split}.json", tmp_path / split)))
        coco(tmp_path / f"annotations/person_keypoints_{split}.json", tmp_path / split)
    assert names(tmp_path) == tuple(expected)
    keypoints = tmp_path / "annotations/person_keypoints_val2017.json"
    assert open_dataset(keypoints).pixels(0).shape == (5, 6, 3)


def test_synthetic() -> None:
    train, val = open_pair("synthetic")
    assert val is not None and train.classes == val.classes
    assert not np.array_equal(train.pixels(0), val.pixels(0))
    np.testing.assert_array_equal(open_dataset("synthetic", "val").pixels(1), val.pixels(1))


def test_several_folders_below(tmp_path: Path) -> None:
    """As of two tasks that CVAT exported."""
    for name in ("task_1", "task_2"):
        coco(tmp_path / name / "train.json", tmp_path / name / "train")
    with pytest.raises(UserError, match="in 'task_1' and 'task_2' there are; give .*task_1', or another"):
        open_dataset(tmp_path)
    coco(tmp_path / "task_3/train.json", tmp_path / "task_3/train")
    with pytest.raises(UserError, match="in 'task_1' and 'task_2' and others there are; give"):
        open_dataset(tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        open_dataset(tmp_path / "none")
    with pytest.raises(UserError, match="no labels found"):
        open_dataset(tmp_path)
    coco(tmp_path / "b/set/train.json", tmp_path / "b/set/train")
    with pytest.raises(UserError, match="no labels found, but in 'set' there are; give .*b/set'"):
        open_dataset(tmp_path / "b")
    with pytest.raises(UserError, match="no labels found in it .b/., .*; give a label file"):
        open_dataset(tmp_path)
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match="not a label file"):
        open_dataset(tmp_path / "a.txt")
    coco(tmp_path / "val.json", tmp_path / "val")
    assert open_dataset(tmp_path).name.endswith("val.json")
    with pytest.raises(UserError, match="has no 'train' split") as error:
        open_pair(tmp_path)
    assert "\n" not in str(error.value)


def test_images_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'set\.png' not found in .*images"):
        open_dataset(coco(tmp_path / "set.json", tmp_path / "elsewhere"))


def test_a_worker_gets_the_same(tmp_path: Path) -> None:
    dataset = open_dataset(coco(tmp_path / "set.json", tmp_path))
    again = pickle.loads(pickle.dumps(dataset))
    assert again.image(0) == dataset.image(0) and again.classes == dataset.classes
    dataset.image(0).annotations.clear()
    assert dataset.image(0).annotations, "what a caller changes is its own copy"


def test_classes_meet_by_name(tmp_path: Path) -> None:
    dataset = open_dataset(coco(tmp_path / "set.json", tmp_path, "cat"))
    assert labels_for(dataset, ["dog", "cat"]) == [1]
    with pytest.raises(
        DataError, match=r"set\.json: class 'cat' .*\(dog, cats\); did you mean 'cats'\?"
    ) as error:
        labels_for(dataset, ["dog", "cats"])
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
@pytest.mark.parametrize("name", ["coco_person_480", "quickstart_coco_person_ccby", "quickstart_nuclei_cc0"])
def test_real_folders(name: str) -> None:
    train, val = open_pair(SHARED / "data" / name)
    assert val is not None and len(train) > len(val) and train.classes == val.classes


def test_a_folder_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 20,000 label files takes seconds to tell apart from the folders of other tools."""
    seen = []

    def counted(path: Path) -> Format | None:
        seen.append(path)
        return detect(path)

    labels(tmp_path)
    monkeypatch.setattr("maskrcnn.labels.open.detect", counted)
    assert len(open_dataset(tmp_path, options=LabelOptions(class_name="nucleus"))) == 1
    assert seen.count(tmp_path) == 1
