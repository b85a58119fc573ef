"""LVIS: COCO's records with what was searched for in each image."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import DataError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.readers.lvis import looks_like_lvis, read_lvis

HEIGHT, WIDTH = 20, 30
SQUARE = [4.0, 2.0, 14.0, 2.0, 14.0, 12.0, 4.0, 12.0]
ADDRESS = "http://images.cocodataset.org/"


def image(image_id: int, folder: str, **more: Any) -> dict[str, Any]:
    return {
        "date_captured": "2013-11-14 17:02:52",
        "neg_category_ids": [],
        "id": image_id,
        "license": 4,
        "height": HEIGHT,
        "width": WIDTH,
        "flickr_url": "http://farm7.staticflickr.com/1.jpg",
        "coco_url": f"{ADDRESS}{folder}/{image_id:012}.jpg",
        "not_exhaustive_category_ids": [],
        **more,
    }


def category(class_id: int, name: str) -> dict[str, Any]:
    more = {
        "def": "a thing",
        "image_count": 2,
        "synset": f"{name}.n.01",
        "synonyms": [name],
        "instance_count": 2,
    }
    return {"frequency": "c", "id": class_id, "name": name, **more}


# as version 1 has it: no file_name, no iscrowd
GOOD: dict[str, Any] = {
    "info": {"description": "LVIS v1"},
    "annotations": [
        {
            "area": 100.0,
            "id": 1,
            "segmentation": [SQUARE],
            "image_id": 7,
            "bbox": [4.0, 2.0, 10.0, 10.0],
            "category_id": 12,
        }
    ],
    "images": [
        image(7, "train2017", neg_category_ids=[3, 1203], not_exhaustive_category_ids=[12]),
        image(8, "val2017"),
    ],
    "licenses": [],
    "categories": [category(3, "ape"), category(12, "egg"), category(1203, "zip")],
}


class Files:
    """lvis/lvis_v1_train.json beside train2017 and val2017, to be spoilt by a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.json = root / "annotations/lvis_v1_train.json"
        self.json.parent.mkdir()
        self.document = copy.deepcopy(GOOD)
        self.first: dict[str, Any] = self.document["images"][0]
        for name in ("train2017/000000000007.jpg", "val2017/000000000008.jpg"):
            (root / name).parent.mkdir()
            Image.new("RGB", (WIDTH, HEIGHT)).save(root / name)

    def read(self) -> FileDataset:
        self.json.write_text(json.dumps(self.document))
        return read_lvis(self.json)

    def repaired(self, kind: str, count: int = 1) -> FileDataset:
        return repaired(self.read(), *[kind] * count)

    def refused(self, *words: str) -> None:
        refused(self.read, *words)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_good_file(files: Files) -> None:
    dataset = files.read()
    assert not dataset.problems and len(dataset) == 2
    assert dataset.classes == ["ape", "egg", "zip"] and dataset.class_ids == [3, 12, 1203]
    first, second = dataset
    assert first.negative == [0, 2] and first.not_exhaustive == [1]
    assert second.negative == [] and second.not_exhaustive == []
    assert first.file_name == "train2017/000000000007.jpg" and second.file_name == "val2017/000000000008.jpg"
    (annotation,) = first.annotations
    assert annotation.box == (4, 2, 14, 12) and annotation.label == 1 and not annotation.crowd
    np.testing.assert_array_equal(annotation.polygons[0], np.reshape(SQUARE, (4, 2)))
    assert dataset.pixels(1).shape == (HEIGHT, WIDTH, 3)


def test_ids_that_are_whole_numbers_with_a_point(files: Files) -> None:
    files.first["id"] = 7.0
    dataset = files.read()
    assert [image.image_id for image in dataset] == [7, 8] and dataset.image(0).negative == [0, 2]


def test_other_readers_search_every_class(files: Files) -> None:
    for record in files.document["images"]:
        record["file_name"] = record["coco_url"].removeprefix(ADDRESS)
    files.read()
    for image in read_coco(files.json, files.root):
        assert image.negative is None and image.not_exhaustive == []


def test_images_in_one_folder(files: Files) -> None:
    flat = files.root / "annotations/images"
    flat.mkdir()
    for path in files.root.glob("*2017/*.jpg"):
        path.rename(flat / path.name)
    dataset = files.read()
    assert dataset.image(1).file_name == "000000000008.jpg" and dataset.pixels(1).shape == (HEIGHT, WIDTH, 3)


def test_images_can_be_given(files: Files, tmp_path: Path) -> None:
    (tmp_path / "far/away").mkdir(parents=True)
    for name in ("train2017", "val2017"):
        (tmp_path / name).rename(tmp_path / "far/away" / name)
    files.refused("train2017/000000000007.jpg", "put the images")
    assert read_lvis(files.json, tmp_path / "far/away").pixels(0).shape == (HEIGHT, WIDTH, 3)


def test_file_names(files: Files) -> None:
    """As version 0.5 has them, and files that people made."""
    for record, folder in zip(files.document["images"], ("train2017", "val2017"), strict=True):
        record["file_name"] = f"{folder}/{record['id']:012}.jpg"
        del record["coco_url"]
    assert len(files.read()) == 2


def test_the_folder_that_holds_the_file(files: Files) -> None:
    files.read()
    dataset = open_dataset(files.json.parent)
    assert len(dataset) == 2 and dataset.image(0).file_name.endswith("000000000007.jpg")


def test_looks_like(files: Files, tmp_path: Path) -> None:
    files.read()
    assert looks_like_lvis(files.json)
    # of a large file only the ends are read
    long = {"annotations": ["x" * 600_000], **{k: v for k, v in GOOD.items() if k != "annotations"}}
    files.json.write_text(json.dumps({"info": 0, **long, "images": ["x" * 600_000]}))
    assert looks_like_lvis(files.json)
    plain = {key: files.document[key] for key in ("annotations", "info")}
    files.json.write_text(json.dumps({**plain, "categories": [{"id": 1, "name": "synset"}]}))
    assert not looks_like_lvis(files.json)
    assert not looks_like_lvis(tmp_path) and not looks_like_lvis(tmp_path / "none.json")


@pytest.mark.parametrize("value", [[99], ["3"], [None], [[3]], [10**400], "x", 3, {"a": 1}, None])
@pytest.mark.parametrize("key", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_unknown_class(files: Files, key: str, value: Any) -> None:
    files.first[key] = value
    assert len(files.repaired("unknown class of LVIS passed over")) == 2


def test_missing_lists(files: Files) -> None:
    del files.first["neg_category_ids"], files.first["not_exhaustive_category_ids"]
    image = files.read().image(0)
    assert image.negative == [] and image.not_exhaustive == []


def test_negative_class_that_is_there(files: Files) -> None:
    files.first["neg_category_ids"] = [12, 3, 3]
    image = files.repaired("negative class that is in the image taken as there").image(0)
    assert image.negative == [0]


@pytest.mark.parametrize(
    "address", ["http://x/../../secret.jpg", "http://x/..", "//[", "http://x/a/b\x00c.jpg"]
)
def test_address_that_leaves(files: Files, address: str) -> None:
    files.first["coco_url"] = address
    with pytest.raises(DataError) as error:
        files.read()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [None, 3, ""])
def test_image_without_a_name(files: Files, value: Any) -> None:
    files.first["coco_url"] = value
    files.refused("entry 0 of images has no file_name")


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_missing_list(files: Files, key: str) -> None:
    files.document[key] = None
    files.refused(key)
    files.document[key] = []
    files.refused("")


@pytest.mark.parametrize("text", ["", "[]", "3", "[" * 100_000, "{", "\xff"])
def test_broken_json(files: Files, text: str) -> None:
    files.json.write_text(text, encoding="latin-1")
    with pytest.raises(DataError) as error:
        read_lvis(files.json)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_lvis(tmp_path / "none.json")


def subjects(folder: Path) -> list[Subject]:
    files = Files(folder)
    files.read()
    return [Subject(folder, files.json, read_lvis, looks_like_lvis, [files.json])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))
