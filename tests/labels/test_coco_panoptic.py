"""COCO panoptic: things become objects, stuff is counted; the PNG and the JSON may disagree."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import DataError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.coco_panoptic import looks_like_coco_panoptic, read_coco_panoptic
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 20, 30
CAT, DOG, SKY = 1, 256 * 3 + 5, 65536 * 2 + 7
GOOD: dict[str, Any] = {
    "images": [{"id": 42, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
    "annotations": [
        {
            "image_id": 42,
            "file_name": "a.png",
            "segments_info": [
                {"id": CAT, "category_id": 17, "area": 48, "bbox": [2, 3, 8, 6], "iscrowd": 0},
                {"id": DOG, "category_id": 18, "area": 24, "bbox": [20, 10, 6, 4], "iscrowd": 1},
                {"id": SKY, "category_id": 187, "area": 30, "bbox": [0, 0, 30, 1], "iscrowd": 0},
            ],
        }
    ],
    "categories": [
        {"id": 17, "name": "cat", "isthing": 1},
        {"id": 18, "name": "dog", "isthing": 1},
        {"id": 187, "name": "sky", "isthing": 0},
    ],
}


def ids() -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), dtype=np.uint32)
    found[3:9, 2:10], found[10:14, 20:26], found[0] = CAT, DOG, SKY
    return found


class Files:
    """Panoptic files as COCO lays them out, to be spoilt by a test."""

    def __init__(self, folder: Path) -> None:
        self.json = folder / "annotations/panoptic_val2017.json"
        self.png = folder / "annotations/panoptic_val2017/a.png"
        self.png.parent.mkdir(parents=True, exist_ok=True)
        (folder / "val2017").mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "val2017/a.jpg")
        self.document = copy.deepcopy(GOOD)
        self.segments: list[Any] = self.document["annotations"][0]["segments_info"]
        self.write_ids(ids())

    def write_ids(self, found: np.ndarray) -> None:
        colours = np.stack([found % 256, found // 256 % 256, found // 65536], axis=2).astype(np.uint8)
        Image.fromarray(colours).save(self.png)

    def read(self) -> FileDataset:
        self.json.write_text(json.dumps(self.document))
        return read_coco_panoptic(self.json)

    def refused(self, *words: str) -> None:
        refused(self.read, *words)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_good_file(files: Files) -> None:
    dataset = files.read()
    assert looks_like_coco_panoptic(files.json) and looks_like_coco_panoptic(files.json.parent.parent)
    assert len(read_coco_panoptic(files.json.parent.parent)) == 1
    assert dataset.classes == ["cat", "dog"] and dataset.class_ids == [17, 18]
    assert (
        dataset.problems.texts() == {"stuff segment left out": 1} and "isthing" in dataset.problems.lines()[0]
    )
    image = dataset.image(0)
    assert (image.image_id, image.file_name) == (42, "a.jpg")
    cat, dog = image.annotations
    assert cat.box == (2.0, 3.0, 10.0, 9.0) and cat.area == 48 and not cat.crowd and cat.label == 0
    assert dog.crowd and dog.label == 1
    np.testing.assert_array_equal(rle_bitmap(cat.rle), ids() == CAT)
    np.testing.assert_array_equal(rle_bitmap(dog.rle), ids() == DOG)


def test_images_of_a_split_in_images(files: Files, tmp_path: Path) -> None:
    """images/val2017 for annotations/panoptic_val2017.json."""
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images/val2017")
    assert files.read().image(0).path == tmp_path / "images/val2017/a.jpg"


def test_segments_on_one_side_only(files: Files) -> None:
    found = ids()
    found[found == DOG] = 99
    files.write_ids(found)
    dataset = files.read()
    assert dataset.problems.texts()["segment without a pixel dropped"] == 1
    assert dataset.problems.texts()["segment that is not listed left out"] == 1
    assert len(dataset.image(0).annotations) == 1


def test_box_and_area_are_measured_where_missing(files: Files) -> None:
    del files.segments[0]["bbox"], files.segments[0]["area"]
    dataset = files.read()
    assert dataset.problems.texts() == {"stuff segment left out": 1}
    assert dataset.image(0).annotations[0].box == (2.0, 3.0, 10.0, 9.0)


def test_a_image_without_an_annotation(files: Files) -> None:
    files.document["images"].append({"id": 43, "file_name": "b.jpg", "height": 5, "width": 5})
    dataset = files.read()
    assert len(dataset) == 1 and dataset.problems.texts()["image without an annotation left out"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("annotations"), ["annotations"]),
        (lambda d: d["images"].append(3), ["entry of images"]),
        (lambda d: d["annotations"].append(d["annotations"][0]), ["second"]),
        (lambda d: d["annotations"][0].pop("segments_info"), ["segments_info"]),
        (lambda d: d["annotations"][0]["segments_info"].append(3), ["segment 3"]),
        (lambda d: d["annotations"][0]["segments_info"][0].update(category_id=5), ["category_id 5"]),
        (lambda d: d["annotations"][0]["segments_info"][0].update(category_id=[1]), ["category_id [1]"]),
        (lambda d: d["annotations"][0].update(file_name="../a.png"), ["not found"]),
        (lambda d: d["images"][0].update(file_name="/etc/passwd"), ["not found"]),
        (lambda d: d["images"][0].update(height=10**400), ["real size"]),
        (lambda d: d["images"][0].update(width=31), ["30 x 20", "31 x 20"]),
        (lambda d: [c.update(isthing=0) for c in d["categories"]], ["thing"]),
        (lambda d: d["categories"][0].update(id=18), ["different"]),
        (lambda d: d["categories"][0].update(name=None), ["name"]),
    ],
)
def test_refused(files: Files, change: Any, words: list[str]) -> None:
    change(files.document)
    files.refused(*words)


def test_label_images_that_cannot_be_used(files: Files) -> None:
    Image.new("L", (WIDTH, HEIGHT)).save(files.png)
    files.refused("in colour")
    files.png.write_bytes(b"no image")
    files.refused("a.png", "not readable")
    files.png.unlink()
    files.refused("a.png", "not found")
    files.json.write_bytes(b"[" * 100_000)
    with pytest.raises(DataError, match="not readable as JSON"):
        read_coco_panoptic(files.json)


def subjects(folder: Path) -> list[Subject]:
    files = Files(folder)
    files.read()
    return [
        Subject(folder, files.json, read_coco_panoptic, looks_like_coco_panoptic, [files.json, files.png])
    ]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_a_box_that_is_none_is_counted(files: Files) -> None:
    files.segments[0]["bbox"] = [2, 3, 8]
    dataset = files.read()
    assert dataset.image(0).annotations[0].box == (2, 3, 10, 9)
    assert (
        dataset.problems.texts()["box without an area, or not of four finite numbers, taken from the mask"]
        == 1
    )


@pytest.mark.parametrize("other", [42.0, "42"])
def test_image_ids_of_another_kind(files: Files, other: object) -> None:
    files.document["annotations"][0]["image_id"] = other
    assert len(files.read().image(0).annotations) == 2
