"""Where the images of a COCO file are found, whatever tool wrote it, and what is said where they are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused, repaired
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.open import open_dataset, open_pair
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.types import Dataset
from maskrcnn.labels.writers.image_copy import copy_image

COUNT = 3
NAMES = [f"p{number}.png" for number in range(COUNT)]


def write_images(folder: Path, shade: int = 40, names: list[str] = NAMES) -> None:
    """Images whose first pixel tells which folder they are from."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), (shade, number, 0)).save(path)


def write_labels(json_path: Path, names: list[str] = NAMES, **fields: list[str]) -> Path:
    """A COCO file with an object in each image; `fields` are further ones of the images."""
    images: list[dict[str, Any]] = [
        {"id": number, "file_name": name, "width": 12, "height": 10} for number, name in enumerate(names)
    ]
    for key, values in fields.items():
        for image, value in zip(images, values, strict=True):
            image[key] = value
    boxes = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 5], "area": 20, "iscrowd": 0}
        for n in range(len(names))
    ]
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(
        json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]})
    )
    return json_path


def shades(dataset: Dataset) -> set[int]:
    return {int(dataset.pixels(index)[0, 0, 0]) for index in range(len(dataset))}


@pytest.mark.parametrize(
    ("labels", "images"),
    [
        ("annotations/instances_default.json", "images/default"),  # CVAT's task
        ("annotations/instances_Train.json", "images/Train"),  # CVAT's project
        ("annotations/person_keypoints_Train.json", "images/train"),
        ("annotations/instances_train2017.json", "images/train2017"),
        ("annotations/instances_train2017.json", "images/train"),
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/train.json", "images/train"),
        ("val.json", "images/valid"),
        ("annotations/instances_val2017.json", "validation"),
        ("annotations/train_coco.json", "train"),
        ("annotations/instances.json", "images"),
        ("annotations/train.json", "train/images"),
        ("train.json", "train/images"),
        ("annotations/train.json", "JPEGImages"),
        ("labels.json", "data"),  # FiftyOne's
        ("annotations.json", "JPEGImages"),  # LabelMe's own converter
        ("train.json", "images/train"),
        ("sub/labels.json", "data"),
    ],
)
def test_folders_that_tools_write(tmp_path: Path, labels: str, images: str) -> None:
    write_images(tmp_path / images)
    dataset = read_coco(write_labels(tmp_path / labels))
    assert shades(dataset) == {40} and len(dataset) == COUNT and not dataset.problems


def test_the_images_of_a_split_come_before_those_of_all(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 10)
    for shade, split in ((20, "train"), (30, "val")):
        write_images(tmp_path / "images" / split, shade)
        write_labels(tmp_path / f"annotations/instances_{split}.json")
    train, val = open_pair(tmp_path)
    assert val is not None and (shades(train), shades(val)) == ({20}, {30})


def test_the_folder_that_holds_most_is_taken(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 10, NAMES[:1])
    write_images(tmp_path / "data", 20)
    assert shades(read_coco(write_labels(tmp_path / "labels.json"))) == {20}


@pytest.mark.parametrize(
    ("name", "folder", "kind"),
    [
        ("train/{}", "train", None),  # from the root above annotations/
        ("images\\{}", "images", "backslash in file_name read as a slash"),
        ("1\\{}", "images/1", "backslash in file_name read as a slash"),
        ("my set/images/{}", "images", "leading folders of file_name left off"),
        ("data\\set\\train\\{}", "images/train", "leading folders of file_name left off"),
        ("/home/me/set/images/{}", "images", "leading folders of file_name left off"),
        ("C:\\Users\\me\\set\\{}", "images", "leading folders of file_name left off"),
    ],
)
def test_names_from_elsewhere(tmp_path: Path, name: str, folder: str, kind: str | None) -> None:
    write_images(tmp_path / folder)
    path = write_labels(tmp_path / "annotations/train.json", [name.format(each) for each in NAMES])
    dataset = repaired(read_coco(path), *[kind] * COUNT if kind else [])
    assert shades(dataset) == {40} and len(dataset) == COUNT
    assert "\\" not in dataset.image(0).file_name


def test_path_of_coco_annotator(tmp_path: Path) -> None:
    """Its file_name lacks the folders below the data set's; its path has all."""
    folders = [f"site{number}/{name}" for number, name in enumerate(NAMES)]
    write_images(tmp_path / "images", names=folders)
    path = write_labels(tmp_path / "set.json", path=[f"/datasets/set/{folder}" for folder in folders])
    dataset = repaired(read_coco(path), *["image found by its path instead of its file_name"] * COUNT)
    assert [image.file_name for image in dataset] == folders


def test_leading_folders_that_tell_images_apart_stay(tmp_path: Path) -> None:
    """Else one file would be both images."""
    write_images(tmp_path / "images", names=["1.png"])
    path = write_labels(tmp_path / "set.json", ["a/1.png", "b/1.png"])
    refused(lambda: read_coco(path), "'a/1.png' not found in", "--images FOLDER")


@pytest.mark.parametrize("name", ["../images/{}", "..\\..\\upload\\4\\{}", "x/../../images/{}"])
def test_dots_are_left_off_as_leading_folders_are(tmp_path: Path, name: str) -> None:
    """As Label Studio writes them; what is left is looked for below the folder alone."""
    write_images(tmp_path / "images")
    path = write_labels(tmp_path / "annotations/a.json", [name.format(f"p{n}.png") for n in range(COUNT)])
    dataset = repaired(read_coco(path), *["leading folders of file_name left off"] * COUNT)
    assert [image.path for image in dataset] == [tmp_path / f"images/p{n}.png" for n in range(COUNT)]


@pytest.mark.parametrize("name", ["../p0.png", "..\\p0.png", "x/../../p0.png"])
def test_dots_lead_nowhere(tmp_path: Path, name: str) -> None:
    write_images(tmp_path)
    refused(lambda: read_coco(write_labels(tmp_path / "annotations/a.json", [name])), "leaves the folder")


def test_not_any_file_of_the_folder_above(tmp_path: Path) -> None:
    write_images(tmp_path)
    refused(lambda: read_coco(write_labels(tmp_path / "set/labels.json")), "'p0.png' not found in")


def test_message_lists_where_it_looked(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "annotations/instances_default.json")
    write_images(tmp_path / "elsewhere")
    words = ["images/default", "annotations/images", "data", "JPEGImages", str(tmp_path), "--images FOLDER"]
    refused(lambda: open_dataset(tmp_path), path, "'p0.png' not found in", *words)


@pytest.mark.parametrize("below", ["", "images", "train", "images/train", "data"])
def test_folder_that_a_person_names(tmp_path: Path, below: str) -> None:
    write_images(tmp_path / "far/away" / below)
    path = write_labels(tmp_path / "labels/train.json")
    assert shades(open_dataset(path, options=LabelOptions(images=tmp_path / "far/away"))) == {40}
    write_images(tmp_path / "labels/images", 99)
    assert shades(open_dataset(path, options=LabelOptions(images=tmp_path / "far/away"))) == {40}


def test_named_folder_without_the_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    path = write_labels(tmp_path / "train.json")
    (tmp_path / "empty").mkdir()
    options = LabelOptions(images=tmp_path / "empty")
    refused(lambda: open_dataset(path, options=options), "'p0.png' not found in", tmp_path / "empty")
    options = LabelOptions(images=tmp_path / "none")
    refused(lambda: open_dataset(path, options=options), "no such folder", error=UserError)
    np.testing.assert_raises(UserError, lambda: open_dataset("synthetic", options=options))


def test_default_subset_of_a_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "images/default")
    write_labels(tmp_path / "annotations/instances_default.json")
    assert len(open_dataset(tmp_path)) == len(open_dataset(tmp_path, "val")) == COUNT
    assert open_pair(tmp_path)[1] is None
    write_labels(tmp_path / "annotations/person_keypoints_default.json")
    assert open_dataset(tmp_path).name.endswith("instances_default.json")
    write_labels(tmp_path / "annotations/instances_other.json")
    with pytest.raises(
        UserError, match=r"'instances_default\.json' and 'instances_other\.json'; name the one"
    ):
        open_dataset(tmp_path)


def test_project_of_cvat(tmp_path: Path) -> None:
    for shade, subset in ((20, "Train"), (30, "Validation"), (60, "Test")):
        write_images(tmp_path / "images" / subset, shade)
        write_labels(tmp_path / f"annotations/instances_{subset}.json")
    train, val = open_pair(tmp_path)
    assert val is not None and (shades(train), shades(val)) == ({20}, {30})


def test_several_files_in_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_labels(tmp_path / name)
    with pytest.raises(UserError, match=r"holds 'a\.json' and 'b\.json'; name the one that is meant"):
        open_dataset(tmp_path)


def test_every_verb_takes_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "far")
    path, far = str(write_labels(tmp_path / "train.json")), ["--images", str(tmp_path / "far")]
    assert main(["check", path, "--no-steps", *far]) == 0
    assert f"train {path} --images {tmp_path / 'far'}\n" in capsys.readouterr().out, "the command that trains"
    out = str(tmp_path / "out")
    assert main(["convert", "data", path, "--to", "coco", "--out", out, *far]) == 0
    assert len(open_dataset(out)) == COUNT
    assert main(["split", path, "--out", str(tmp_path / "parts"), "--val", "0.4", *far]) == 0
    assert sum(len(part) for part in open_pair(tmp_path / "parts") if part) == COUNT
    assert main(["check", "synthetic", "--no-steps", *far]) == 2
    assert "leave it out" in capsys.readouterr().err


def test_reader_of_another_kind_refuses_the_folder(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / name / "a.png")
    with pytest.raises(UserError, match=r"--images.* of the kind instance-png .* leave it out") as error:
        open_dataset(tmp_path, options=LabelOptions(images=tmp_path))
    assert not isinstance(error.value, DataError)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("coco", "train.json"),
        ("lvis", "annotations/lvis_v1_train.json"),
        ("coco-panoptic", "annotations/panoptic_train2017.json"),
        ("cvat", "annotations.xml"),
        ("via-project", "via_project.json"),
        ("via-csv", "via_export_csv.csv"),
        ("label-studio", None),
    ],
)
def test_formats_that_look_for_their_images(name: str, labels: str | None, tmp_path: Path) -> None:
    sample = Path(__file__).parent / "samples" / name
    source = sample / labels if labels else next(sample.glob("*.json"))
    before = open_dataset(source)
    copy = tmp_path / name
    shutil.copytree(sample, copy)
    moved = copy / source.relative_to(sample)
    far = tmp_path / "far"
    far.mkdir()
    for image in before:
        assert image.path is not None
        image.path = copy / image.path.relative_to(sample)
        image.path.rename(far / image.path.name)
    with pytest.raises(DataError):
        open_dataset(moved)
    dataset = open_dataset(moved, options=LabelOptions(images=far))
    assert len(dataset) == len(before) and dataset.image(0).path == far / dataset.image(0).path.name


@pytest.mark.parametrize("order", [1, -1])
def test_a_name_without_its_folder_is_not_the_image_of_another_record(tmp_path: Path, order: int) -> None:
    write_images(tmp_path / "images", names=["a.png", *NAMES])
    names = ["a.png", "train/a.png", *(f"train/{name}" for name in NAMES)][::order]
    with pytest.raises(DataError, match=r"1 of 5 image files are missing, .*train/a.png"):
        read_coco(write_labels(tmp_path / "train.json", names))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("annotations/instances_train_part1.json", "annotations/instances_train_part2.json"),
        ("annotations/instances_train2014.json", "annotations/instances_train2017.json"),
        ("annotations/instances_train_a.json", "annotations/instances_train_bc.json"),
        ("train.json", "training.json"),
        ("train.json", "Train.json"),
        ("train/labels.json", "training/labels.json"),
    ],
)
def test_of_two_label_files_of_one_split_none_is_left_out(tmp_path: Path, one: str, other: str) -> None:
    write_images(tmp_path / "images")
    for name in (one, other):
        write_labels(tmp_path / name)
        write_images((tmp_path / name).parent)
    for split in ("train", "val", None):
        with pytest.raises(UserError, match="holds .* and .*; name the one that is meant"):
            open_dataset(tmp_path, split)  # type: ignore[arg-type]


def test_a_link_to_the_labels_of_a_split_is_not_a_second_one(tmp_path: Path) -> None:
    write_images(tmp_path / "val")
    write_labels(tmp_path / "val" / "labels.json")
    (tmp_path / "valid").symlink_to("val")
    assert len(open_dataset(tmp_path, "val")) == COUNT


@pytest.mark.parametrize("more", ["instances_val2017_fixed.json", "instances_valminusminival2017.json"])
def test_the_plain_labels_of_a_split_come_before_their_variants(tmp_path: Path, more: str) -> None:
    write_images(tmp_path / "val2017")
    write_labels(tmp_path / "annotations" / "instances_val2017.json")
    write_labels(tmp_path / "annotations" / more, NAMES[:1])
    assert len(open_dataset(tmp_path, "val")) == COUNT


def test_the_folder_of_the_split_comes_before_that_of_all(tmp_path: Path) -> None:
    write_images(tmp_path / "images", shade=10)
    write_images(tmp_path / "images" / "valid", shade=200)
    assert shades(read_coco(write_labels(tmp_path / "val.json"))) == {200}


def test_copies_do_not_replace_each_other_where_upper_case_is_one(tmp_path: Path) -> None:
    names = ["a.png", "A.png", "b.png"]
    write_images(tmp_path / "images", names=names)
    dataset, taken = read_coco(write_labels(tmp_path / "train.json", names)), set[str]()
    copies = [copy_image(dataset, index, tmp_path / "out", taken) for index in range(3)]
    assert len({copy.lower() for copy in copies}) == 3 and copies[::2] == ["a.png", "b.png"]
