"""Folders as people put them together by hand: files moved, renamed and saved anew by other programs."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from claims import refused, repaired
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.labels.open import open_dataset, open_pair, open_split
from maskrcnn.labels.types import Dataset
from maskrcnn.masks.rle import bitmap_rle, rle_area

WIDTH, HEIGHT = 40, 30
BOXES = {"a": [[2, 3, 10, 12], [20, 5, 12, 20]], "b": [[4, 4, 16, 8]]}  # x, y, width, height
NEAR = "image file of that name in other letters, or with another suffix, taken"


def images(folder: Path, suffix: str = ".png", stems: str = "ab") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(folder / f"{stem}{suffix}")


def ring(box: list[int]) -> list[int]:
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def document(stems: str = "ab", name: str = "{}.png") -> dict[str, Any]:
    """COCO's, with an id for each object and all the lists that tools write."""
    records = [(number, stem, box) for number, stem in enumerate(stems, 1) for box in BOXES[stem]]
    return {
        "info": {},
        "images": [
            {"id": number, "file_name": name.format(stem), "width": WIDTH, "height": HEIGHT}
            for number, stem in enumerate(stems, 1)
        ],
        "annotations": [
            {
                "id": position,
                "image_id": number,
                "category_id": 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "segmentation": [ring(box)],
            }
            for position, (number, _, box) in enumerate(records, 1)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }


def write(path: Path, labels: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(labels))
    return path


def count(dataset: Dataset) -> tuple[int, int]:
    """Images, and objects with a mask."""
    found = [a for image in dataset for a in image.annotations]
    return len(dataset), sum(a.polygons is not None or a.rle is not None for a in found)


# ---- COCO: which file is meant


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("train_annotations.json", "val_annotations.json"),
        ("instances_train2017.json", "instances_val2017.json"),
        ("livecell_coco_train.json", "livecell_coco_val.json"),
        ("Annotations/set-train.json", "Annotations/set-val.json"),
        ("labels/train.json", "labels/valid.json"),
        ("annotations/instances_minitrain2017.json", "annotations/instances_val2017.json"),
        ("train/annotations/instances_default.json", "val/annotations/instances_default.json"),
    ],
)
def test_splits_told_by_the_names_of_files(tmp_path: Path, train: str, val: str) -> None:
    images(tmp_path / "images")
    for name, stem in ((train, "a"), (val, "b")):
        path = write(tmp_path / name, document(stem))
        if name.endswith("default.json"):
            images(path.parent.parent / "images", stems=stem)
    pair = open_pair(tmp_path)
    assert [count(part) for part in pair if part] == [(1, 2), (1, 1)]


@pytest.mark.parametrize("name", ["Annotations", "annotation", "annos", "labels"])
def test_a_folder_of_annotations_by_another_name(tmp_path: Path, name: str) -> None:
    images(tmp_path / "images")
    write(tmp_path / name / "instances_default.json", document())
    assert count(open_dataset(tmp_path)) == (2, 3)


def test_settings_beside_labels_are_not_meant(tmp_path: Path) -> None:
    images(tmp_path / "images")
    write(tmp_path / "result.json", document())
    write(tmp_path / "classes.json", ["cat"])
    assert count(open_dataset(tmp_path)) == (2, 3)


def test_two_label_files_are_no_list_of_images(tmp_path: Path) -> None:
    """COCO's file of images without labels has the same keys but one."""
    write(tmp_path / "one.json", document())
    write(tmp_path / "two.json", document())
    refused(lambda: open_dataset(tmp_path), "'one.json' and 'two.json'; name the one", error=UserError)
    (tmp_path / "two.json").unlink()
    write(tmp_path / "one.json", document() | {"categories": {"1": "cat"}})
    refused(lambda: open_dataset(tmp_path), "'categories' is not a list")


def test_a_folder_in_it_with_several_files_is_named(tmp_path: Path) -> None:
    write(tmp_path / "data/annotations.json", document())
    write(tmp_path / "data/annotations_unofficial.json", document())
    refused(lambda: open_dataset(tmp_path), "in 'data' there are", error=UserError)


# ---- COCO: which image is meant


@pytest.mark.parametrize(
    ("there", "written"),
    [
        *[(".JPG", "{}.jpg"), (".jpeg", "{}.jpg"), (".jpg", "{}"), (".PNG", "images\\{}.png")],
        (".png", "C:\\x\\{}.PNG"),
        (" 1.png", "{}%201.png"),
        (" ü.png", "set/{}%20%C3%BC.png"),
    ],
)
def test_names_of_images_in_other_letters(tmp_path: Path, there: str, written: str) -> None:
    """Windows and macOS find A.JPG as a.jpg."""
    images(tmp_path / "images", there)
    write(tmp_path / "train.json", document(name=written))
    dataset = repaired(open_dataset(tmp_path), *[NEAR] * 2)
    assert count(dataset) == (2, 3)
    assert [Path(image.file_name).name for image in dataset] == [f"a{there}", f"b{there}"]


def test_percent_signs_in_names(tmp_path: Path) -> None:
    """A file that is called so comes first, and none leads out of the folder."""
    images(tmp_path / "images", "%201.png")
    images(tmp_path / "images", " 1.png")
    images(tmp_path)
    write(tmp_path / "train.json", document(name="{}%201.png"))
    assert [Path(image.file_name).name for image in repaired(open_dataset(tmp_path))] == [
        "a%201.png",
        "b%201.png",
    ]
    labels = document(name="{}%201.png")
    labels["images"][0]["file_name"] = "%2e%2e/a.png"
    write(tmp_path / "train.json", labels)
    refused(lambda: open_dataset(tmp_path), "1 of 2 image files are missing")


def test_one_image_in_other_letters(tmp_path: Path) -> None:
    images(tmp_path / "images", stems="a")
    images(tmp_path / "images", ".PNG", stems="b")
    write(tmp_path / "train.json", document())
    assert count(repaired(open_dataset(tmp_path), NEAR)) == (2, 3)


def test_a_file_that_another_record_names_is_not_taken(tmp_path: Path) -> None:
    images(tmp_path / "images", ".jpg", stems="a")
    labels = document("a", "{}.jpg")
    labels["images"].append(labels["images"][0] | {"id": 2, "file_name": "a.png"})
    write(tmp_path / "train.json", labels)
    refused(lambda: open_dataset(tmp_path), "1 of 2 image files are missing", "a.png")


def test_of_two_files_in_other_letters_none_is_taken(tmp_path: Path) -> None:
    images(tmp_path / "images", ".JPG", stems="aA")
    images(tmp_path / "images", ".png", stems="b")
    write(tmp_path / "train.json", document())
    refused(lambda: open_dataset(tmp_path), "1 of 2 image files are missing", "a.png")


def test_images_deep_below_images(tmp_path: Path) -> None:
    """As LIVECell's, whose folders say nothing of the label file."""
    images(tmp_path / "images/livecell_train_val_images/A172")
    path = write(tmp_path / "annotations/LIVECell/x.json", document())
    assert count(open_dataset(path)) == (2, 3)
    images(tmp_path / "images/others")
    refused(lambda: open_dataset(path), "'a.png' not found in")


@pytest.mark.parametrize("form", ["{}_images", "images_{}"])
@pytest.mark.parametrize("place", ["", "annotations/"])
def test_images_in_folders_with_the_split_in_their_names(tmp_path: Path, form: str, place: str) -> None:
    for split, stem in (("train", "a"), ("val", "b")):
        images(tmp_path / form.format(split), stems=stem)
        write(tmp_path / f"{place}{split}.json", document(stem))
    assert [count(repaired(part)) for part in open_pair(tmp_path) if part] == [(1, 2), (1, 1)]


# ---- COCO: what is written in other forms


@pytest.mark.parametrize("pairs", [False, True])
def test_polygons_in_a_second_list(tmp_path: Path, pairs: bool) -> None:
    images(tmp_path / "images")
    labels = document()
    for record in labels["annotations"]:
        flat = record["segmentation"][0]
        record["segmentation"] = [[[flat[i : i + 2] for i in range(0, 8, 2)] if pairs else flat]]
    write(tmp_path / "train.json", labels)
    kinds = ["polygon inside a second list accepted"] + ["polygon of x, y pairs accepted"] * pairs
    assert count(repaired(open_dataset(tmp_path), *kinds * 3)) == (2, 3)


def test_several_rings_in_a_second_list_are_refused(tmp_path: Path) -> None:
    """The second may be a hole of the first."""
    images(tmp_path / "images")
    labels = document()
    outer, inner = ring([2, 2, 30, 20]), ring([8, 8, 4, 4])
    labels["annotations"][0]["segmentation"] = [[outer, inner]]
    write(tmp_path / "train.json", labels)
    refused(lambda: open_dataset(tmp_path), "annotation 1 of image 'a.png' is nested too deep")


def test_segmentation_in_quotes(tmp_path: Path) -> None:
    images(tmp_path / "images")
    labels = document()
    for record in labels["annotations"]:
        record["segmentation"] = json.dumps(record["segmentation"])
    write(tmp_path / "train.json", labels)
    assert count(repaired(open_dataset(tmp_path), *["segmentation in quotes read"] * 3)) == (2, 3)


@pytest.mark.parametrize("mark", ["'", '"'])
def test_counts_that_are_bytes_for_python(tmp_path: Path, mark: str) -> None:
    images(tmp_path / "images")
    labels = document()
    drawn = np.random.default_rng(3).random((HEIGHT, WIDTH)) > 0.9  # its string has backslashes
    counts = bitmap_rle(drawn)["counts"].decode()
    assert "\\" in counts
    for record in labels["annotations"]:
        written = counts.replace("\\", "\\\\")
        record["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": f"b{mark}{written}{mark}"}
        record |= {"bbox": [0, 0, WIDTH, HEIGHT], "area": int(drawn.sum())}
    write(tmp_path / "train.json", labels)
    dataset = repaired(open_dataset(tmp_path), *["segmentation in quotes read"] * 3)
    assert all(
        a.rle is not None and rle_area(a.rle) == drawn.sum() for image in dataset for a in image.annotations
    )


@pytest.mark.parametrize(("there", "written"), [("}],", "},\n ],"), ('"cat"}', '"cat", }')])
def test_trailing_commas_are_told(tmp_path: Path, there: str, written: str) -> None:
    images(tmp_path / "images")
    text = json.dumps(document()).replace(there, written, 1)
    (tmp_path / "train.json").write_text(text)
    refused(lambda: open_dataset(tmp_path), "at line", "delete the comma before the bracket")
    (tmp_path / "train.json").write_text(text[: text.index(written)] + ",")
    refused(lambda: open_dataset(tmp_path), "at line", "correct the file")


def test_a_key_that_is_there_twice(tmp_path: Path) -> None:
    """Of two lists put into one file the first was lost."""
    images(tmp_path / "images")
    text = json.dumps(document())
    (tmp_path / "train.json").write_text(text[:-1] + ', "annotations": []}')
    refused(lambda: open_dataset(tmp_path), "train.json", "'annotations' is there twice", "correct the file")
    (tmp_path / "train.json").write_text(text[:-1] + ', "info": {}}')
    assert count(open_dataset(tmp_path)) == (2, 3)


def test_names_and_sizes_of_another_type(tmp_path: Path) -> None:
    images(tmp_path / "images")
    labels = document()
    labels["categories"][0]["name"] = 7
    labels["images"][0] |= {"width": str(WIDTH), "height": str(HEIGHT)}
    labels["images"][1] |= {"width": 0, "height": 0}
    write(tmp_path / "train.json", labels)
    dataset = repaired(open_dataset(tmp_path), "missing image size read from the image")
    assert dataset.classes == ["7"] and count(dataset) == (2, 3)
    assert [image.size for image in dataset] == [(HEIGHT, WIDTH)] * 2


def test_keypoints_in_a_list_each(tmp_path: Path) -> None:
    images(tmp_path / "images")
    labels = document("b")
    labels["categories"][0] |= {"keypoints": ["p", "q"], "flip_pairs": [], "sigmas": [0.1, 0.1]}
    labels["annotations"][0]["keypoints"] = [[5, 5, 2], [8, 8, 1]]
    write(tmp_path / "train.json", labels)
    found = next(iter(open_dataset(tmp_path))).annotations[0].keypoints
    assert found is not None and found.tolist() == [[5.5, 5.5, 2], [8.5, 8.5, 1]]


# ---- YOLO


def yolo(folder: Path, lines: dict[str, list[str]], yaml: str = "names: [cat]\n") -> Path:
    images(folder / "images", stems="".join(lines))
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text(f"train: images\n{yaml}")
    for stem, of_image in lines.items():
        (folder / "labels" / f"{stem}.txt").write_text("\n".join(of_image))
    return folder


def pose(x: float, y: float, w: float, h: float, count: int) -> str:
    """A box and keypoints in it, without visibility."""
    points = [
        (x + (0.1 + 0.8 * k / count - 0.5) * w, y + (0.4 - 0.7 * (k % 3) / 3) * h) for k in range(count)
    ]
    return " ".join(f"{value:.4f}" for value in (x, y, w, h, *(v for point in points for v in point)))


@pytest.mark.parametrize("count", [2, 4, 17])
def test_poses_without_visibility_are_no_outlines(tmp_path: Path, count: int) -> None:
    """Their lines have an even number of coordinates, as those of outlines."""
    boxes = [(0.3, 0.4, 0.2, 0.3), (0.7, 0.5, 0.3, 0.4), (0.5, 0.6, 0.1, 0.2), (0.6, 0.3, 0.2, 0.2)]
    yolo(tmp_path, {"a": [f"0 {pose(*box, count)}" for box in boxes]})
    refused(lambda: open_dataset(tmp_path), f"{count} keypoints", f"kpt_shape: [{count}, 2]")


def test_outlines_of_as_many_points_each_stay_outlines(tmp_path: Path) -> None:
    """Turned boxes, and contours that were resampled, in every part of the image."""
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    for number, points in enumerate((4, 32)):
        turned = angles[:: 32 // points]
        lines = []
        for x in (0.2, 0.5, 0.8):
            for y in (0.2, 0.5, 0.8):
                outline = np.stack([x + 0.1 * np.cos(turned), y + 0.15 * np.sin(turned)], axis=1)
                lines.append("0 " + " ".join(f"{value:.4f}" for value in outline.reshape(-1)))
        folder = yolo(tmp_path / str(number), {"a": lines})
        assert count(open_dataset(folder)) == (1, 9)


def test_paths_that_lead_out_and_in_again(tmp_path: Path) -> None:
    """As Supervisely writes them, for a folder that has another name now."""
    folder = yolo(tmp_path / "set", {"a": ["0 0.5 0.5 0.2 0.2"]})
    (folder / "images").rename(folder / "x")
    for name in ("images", "labels"):
        (folder / name / "train").mkdir(parents=True)
    (folder / "x/a.png").rename(folder / "images/train/a.png")
    (folder / "labels/a.txt").rename(folder / "labels/train/a.txt")
    (folder / "data.yaml").write_text("train: ../project 7/images/train\nnames: [cat]\n")
    assert len(open_dataset(folder)) == 1


@pytest.mark.parametrize("form", ["{split}_{what}", "{what}_{split}", "{split}_{what}/deep"])
@pytest.mark.parametrize("yaml", ["", "train: ../train_images\nval: val_images\n"])
def test_yolo_in_folders_with_the_split_in_their_names(tmp_path: Path, form: str, yaml: str) -> None:
    for split, stem in (("train", "a"), ("val", "b")):
        images(tmp_path / form.format(split=split, what="images"), stems=stem)
        path = tmp_path / form.format(split=split, what="labels") / f"{stem}.txt"
        path.parent.mkdir(parents=True)
        path.write_text("0 0.5 0.5 0.2 0.2\n" * (1 if stem == "a" else 2))
    (tmp_path / "data.yaml").write_text(("" if form[1] == "w" else yaml) + "names: [cat]\n")
    pair = open_pair(tmp_path)
    assert [[len(image.annotations) for image in part] for part in pair if part] == [[1], [2]]


@pytest.mark.parametrize("form", ["{split}_annotations", "{split}_labels", "xmls_{split}", "labels/{split}"])
def test_voc_in_folders_with_the_split_in_their_names(tmp_path: Path, form: str) -> None:
    for split, stem in (("train", "a"), ("val", "b")):
        images(tmp_path / ("images/" + split if "/" in form else f"{split}_images"), stems=stem)
        path = tmp_path / form.format(split=split) / f"{stem}.xml"
        path.parent.mkdir(parents=True)
        objects = "".join(
            f"<object><name>cat</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>"
            for x, y, w, h in BOXES[stem]
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        path.write_text(f"<annotation>{size}{objects}</annotation>")
    train, val = open_pair(tmp_path)
    assert val is not None and open_split(tmp_path, "test") is None
    assert [len(image.annotations) for image in repaired(train)] == [2]
    assert [len(image.annotations) for image in repaired(val)] == [1]
    if "/" not in form:
        images(tmp_path / "val_images", stems="ac")
        counted = repaired(open_split(tmp_path, "val"), *["image without an XML file left out"] * 2)
        assert len(counted) == 1


def test_settings_of_a_training_beside_a_description(tmp_path: Path) -> None:
    folder = yolo(tmp_path, {"a": ["0 0.5 0.5 0.2 0.2"]})
    (folder / "data.yaml").rename(folder / "mine.yaml")
    (folder / "args.yaml").write_text("lr: 1\n")
    assert open_dataset(folder).classes == ["cat"]
    (folder / "other.yaml").write_text("names: [dog]\n")
    refused(lambda: open_dataset(folder), "'mine.yaml' and 'other.yaml'; name the one", error=UserError)


# ---- label images and masks


def label_image(path: Path, stem: str) -> None:
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, (x, y, w, h) in enumerate(BOXES[stem], 1):
        drawn[y : y + h, x : x + w] = number
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn).save(path)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/mask_{}.png", "masks/mask_{}.png"),
        ("images/image_{}.png", "masks/mask_{}.png"),
        ("images/Image_{}.png", "labels/Label_{}.png"),
        ("images/p1_img_{}.png", "masks/p1_mask_{}.png"),
        ("images/{}.png", "masks/mask-{}.png"),
        ("images/{}.png", "masks/{}.mask.png"),
        ("rawimages/{}.png", "groundtruth/{}.png"),
        ("images/{}.png", "instances/{}.png"),
        ("rgb/{}.png", "instance_segmentation/{}.png"),
        ("images/{}.png", "Segs/{}_seg.png"),
        ("images/p1/{}.png", "masks/p1/{}.png"),
        ("images/images/{}.png", "masks/masks/{}.png"),
        ("img/data/{}.png", "masks/annotated/{}.png"),
    ],
)
def test_label_images_by_other_names(tmp_path: Path, image: str, label: str) -> None:
    for stem in "ab":
        path = tmp_path / image.format(stem)
        images(path.parent, stems=stem)
        (path.parent / f"{stem}.png").rename(path)
        label_image(tmp_path / label.format(stem), stem)
    dataset = repaired(open_dataset(tmp_path))
    assert count(dataset) == (2, 3)
    assert all(image.path is not None and image.path.is_file() for image in dataset)


def test_splits_of_instances_are_no_sequences(tmp_path: Path) -> None:
    """KITTI MOTS has a folder for each sequence there, and classes in its numbers."""
    for split, stem in (("train", "a"), ("val", "b")):
        images(tmp_path / "images" / split, stems=stem)
        label_image(tmp_path / "instances" / split / f"{stem}.png", stem)
    assert [count(repaired(part)) for part in open_pair(tmp_path) if part] == [(1, 2), (1, 1)]


@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_label_images_that_are_arrays(tmp_path: Path, save: Any) -> None:
    images(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    for stem in "ab":
        label_image(tmp_path / "drawn.png", stem)
        with (tmp_path / f"labels/{stem}.{'npy' if save is np.save else 'npz'}").open("wb") as file:
            save(file, np.asarray(Image.open(tmp_path / "drawn.png")))
    assert count(repaired(open_dataset(tmp_path))) == (2, 3)


def test_arrays_that_are_no_label_image(tmp_path: Path) -> None:
    images(tmp_path / "images", stems="a")
    path = tmp_path / "labels/a.npz"
    path.parent.mkdir()
    ids = np.ones((HEIGHT, WIDTH), np.uint8)
    for arrays, *words in (
        ({"x": ids, "y": ids}, "holds 2 arrays ('x', 'y')", "numpy.save"),
        ({}, "holds 0 arrays"),
        ({"x": np.zeros(10**7)}, "'x' is larger than its image"),
        ({"x": ids[:-1]}, "its image is 40 x 30"),
        ({"x": np.array([{}], object)}, "cannot be decoded"),
    ):
        np.savez_compressed(path, **arrays)
        refused(lambda: open_dataset(tmp_path), path, *words)
    path.write_bytes(b"PK")
    refused(lambda: open_dataset(tmp_path), path, "cannot be decoded")


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_are_refused(tmp_path: Path, channels: int) -> None:
    """Of 1 to 600 only 0, 1 and 2 were left."""
    images(tmp_path / "images", stems="a")
    (tmp_path / "labels").mkdir()
    ids = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) // 2
    cv2.imwrite(str(tmp_path / "labels/a.png"), np.stack([ids] * channels, axis=2))
    refused(lambda: open_dataset(tmp_path), "a.png", "16 bits in each channel", "one channel")


@pytest.mark.parametrize("opaque", [False, True])
def test_numbers_with_opacity(tmp_path: Path, opaque: bool) -> None:
    images(tmp_path / "images")
    for stem in "ab":
        path = tmp_path / f"labels/{stem}.png"
        label_image(path, stem)
        drawn = Image.open(path)
        drawn.putalpha(255 if opaque else drawn.point(lambda value: 255 * bool(value)))
        assert drawn.mode == "LA"
        drawn.save(path)
    assert count(repaired(open_dataset(tmp_path))) == (2, 3)


@pytest.mark.parametrize("loose", [False, True])
def test_label_images_of_several_folders(tmp_path: Path, loose: bool) -> None:
    """Files beside the folders, or names that are there twice, change nothing."""
    for place in ("p1", "p2", *(["."] if loose else [])):
        images(tmp_path / "images" / place)
        for stem in "ab":
            label_image(tmp_path / "masks" / place / f"{stem}.png", stem)
    dataset = open_dataset(tmp_path)
    assert count(dataset) == ((6, 9) if loose else (4, 6))
    assert len({image.file_name for image in dataset}) == len(dataset)


def test_folders_of_classes_are_told(tmp_path: Path) -> None:
    images(tmp_path / "images")
    for name in ("cat", "dog"):
        label_image(tmp_path / "masks" / name / "a.png", "a")
    refused(lambda: open_dataset(tmp_path), "one folder deeper, in 'masks/cat'", error=UserError)


def test_a_folder_among_the_masks_of_an_image(tmp_path: Path) -> None:
    """It was passed over, and its objects with it."""
    images(tmp_path / "images")
    for stem in "ab":
        label_image(tmp_path / "masks" / stem / "0.png", stem)
    label_image(tmp_path / "masks/a/cat/1.png", "a")
    refused(lambda: open_dataset(tmp_path), "masks/a/cat", "move the masks into 'a'")


def test_masks_that_are_arrays_are_refused(tmp_path: Path) -> None:
    """They were passed over, and their image was one without an object."""
    for stem in "ab":
        images(tmp_path / stem / "images", stems=stem)
        label_image(tmp_path / stem / "masks/0.png", stem)
    np.save(tmp_path / "a/masks/1.npy", np.ones((HEIGHT, WIDTH), bool))
    refused(lambda: open_dataset(tmp_path), "1.npy", "PNG or TIFF")


def test_a_label_image_in_a_folder_for_masks(tmp_path: Path) -> None:
    """All its objects were one."""
    images(tmp_path / "images", stems="a")
    label_image(tmp_path / "masks/a/0.png", "a")
    refused(lambda: open_dataset(tmp_path), "masks/a/0.png", "1 to 2", "a mask of its own")


def test_numbers_that_are_none_of_kitti_mots(tmp_path: Path) -> None:
    images(tmp_path / "images/p1")
    for stem in "ab":
        label_image(tmp_path / f"instances/p1/{stem}.png", stem)
    refused(lambda: open_dataset(tmp_path), "a.png", "has the number 1", f"instance-png:{tmp_path}")
    assert count(repaired(open_dataset(f"instance-png:{tmp_path}"))) == (2, 3)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.jpg", "masks/{}.jpg/0.png"),
        ("images/{}.png", "masks/{}_masks/0.png"),
        ("{}/image.png", "{}/masks/0.png"),
        ("{0}/{0}.png", "{0}/mask/0.png"),
        ("{0}/image/{0}.png", "{0}/masks/0.png"),
    ],
)
def test_masks_of_each_image_in_other_places(tmp_path: Path, image: str, mask: str) -> None:
    for stem in "ab":
        path = tmp_path / image.format(stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(path)
        label_image(tmp_path / mask.format(stem), stem)
        drawn = Image.open(tmp_path / mask.format(stem))
        drawn.point(lambda value: 255 * bool(value)).save(tmp_path / mask.format(stem))
    images(tmp_path / "c", stems="a")
    assert count(open_dataset(tmp_path)) == (2, 2)


def test_mapillary_is_told_which_file_to_give(tmp_path: Path) -> None:
    write(tmp_path / "config_v1.2.json", {"labels": []})
    write(tmp_path / "config_v2.0.json", {"labels": []})
    write(tmp_path / "training/v2.0/panoptic/panoptic_2020.json", {"images": []})
    refused(lambda: open_dataset(tmp_path), "panoptic_2020.json", "--images", error=UserError)


# ---- LabelMe, VOC, and texts as Windows saves them


def test_labels_of_spaces_and_of_numbers(tmp_path: Path) -> None:
    images(tmp_path, stems="a")
    shape = {"label": 7, "points": [[2, 2], [9, 2], [9, 9]], "shape_type": "polygon"}
    labels = {"shapes": [shape], "imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    write(tmp_path / "a.json", labels)
    assert open_dataset(tmp_path).classes == ["7"]
    shape["label"] = "  "
    write(tmp_path / "a.json", labels)
    refused(lambda: open_dataset(tmp_path), "a.json", "shape 1 has no label")


def voc(folder: Path, xmls: str, encoding: str = "utf-8") -> None:
    (folder / xmls).mkdir(parents=True)
    for stem in "ab":
        boxes = "".join(
            f"<object><name>cat</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
            for x, y, w, h in BOXES[stem]
        )
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        text = f'<?xml version="1.0" encoding="{encoding}"?><annotation>{size}{boxes}</annotation>'
        (folder / xmls / f"{stem}.xml").write_text(text, encoding=encoding)


@pytest.mark.parametrize(
    ("photos", "xmls"), [("imgs", "xmls"), ("Images", "Labels"), ("img", "ann"), ("Photos", "annotation")]
)
def test_folders_of_voc_by_other_names(tmp_path: Path, photos: str, xmls: str) -> None:
    voc(tmp_path, xmls)
    images(tmp_path / photos)
    assert sum(len(image.annotations) for image in open_dataset(tmp_path)) == 3


def test_voc_in_utf_16(tmp_path: Path) -> None:
    voc(tmp_path, "Annotations", "utf-16")
    images(tmp_path / "JPEGImages")
    assert sum(len(image.annotations) for image in open_dataset(tmp_path)) == 3


@pytest.mark.parametrize("name", ["{}.png", "/data/VOC/JPEGImages/{}.png", "C:\\VOC\\{}.xml"])
def test_lists_of_voc_with_suffixes_and_folders(tmp_path: Path, name: str) -> None:
    voc(tmp_path, "Annotations")
    images(tmp_path / "JPEGImages")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for split, stem in (("train", "a"), ("val", "b")):
        (tmp_path / f"ImageSets/Main/{split}.txt").write_text(name.format(stem))
    pair = open_pair(tmp_path)
    assert [len(repaired(part)) for part in pair] == [1, 1]


def test_yolo_in_utf_16(tmp_path: Path) -> None:
    """As PowerShell's > saves texts."""
    folder = yolo(tmp_path, {"a": ["0 0.5 0.5 0.2 0.2"]})
    for path in (folder / "data.yaml", folder / "labels/a.txt"):
        path.write_text(path.read_text(), encoding="utf-16")
    assert len(next(iter(open_dataset(folder))).annotations) == 1


def test_via_and_createml_in_other_letters(tmp_path: Path) -> None:
    """Of these too Windows finds a.JPG as a.jpg."""
    images(tmp_path / "via", ".JPG", "b")
    outline = {"name": "rect", "x": 2, "y": 3, "width": 9, "height": 8}
    region = {"shape_attributes": outline, "region_attributes": {"name": "cat"}}
    write(tmp_path / "via/via.json", {"b": {"filename": "b.jpg", "size": 1, "regions": [region]}})
    images(tmp_path / "createml", ".PNG", "b")
    box = {"label": "cat", "coordinates": {"x": 9, "y": 9, "width": 6, "height": 6}}
    write(tmp_path / "createml/x.json", [{"image": "b.png", "annotations": [box]}])
    for name in ("via", "createml"):
        dataset = repaired(open_dataset(tmp_path / name), NEAR)
        assert sum(len(image.annotations) for image in dataset) == 1


def test_a_data_set_of_fiftyone_is_called_by_its_name(tmp_path: Path) -> None:
    write(tmp_path / "metadata.json", {"version": "1"})
    write(tmp_path / "samples.json", {"samples": []})
    refused(lambda: open_dataset(tmp_path), "FiftyOne", "COCODetectionDataset", error=UserError)


@pytest.mark.parametrize(
    "form", ["{}.json", "annotations/instances_{}.json", "{}/labels.json", "{}/annotations/x.json"]
)
def test_labels_beside_the_splits_are_told(tmp_path: Path, form: str) -> None:
    """They were left out without a word."""
    images(tmp_path / "images")
    for name, stem in (("train", "a"), ("val", "b"), ("extra", "b")):
        path = write(tmp_path / form.format(name), document(stem))
        if "{}/" in form:
            images(tmp_path / name, stems=stem)
        assert path.is_file()
    train, val = open_pair(tmp_path)
    repaired(train, "labels beside the splits left out")
    assert "extra" in train.problems.lines()[0]
    assert val is not None and not val.problems.texts()


@pytest.mark.parametrize("other", ["extra/", ""])
def test_label_images_beside_the_splits_are_told(tmp_path: Path, other: str) -> None:
    for place in ("train/", "val/", other):
        images(tmp_path / "images" / place)
        for stem in "ab":
            label_image(tmp_path / "masks" / place / f"{stem}.png", stem)
    train, val = open_pair(tmp_path)
    repaired(train, "labels beside the splits left out")
    assert val is not None and len(train) == len(val) == 2


def test_accents_as_macos_writes_them(tmp_path: Path) -> None:
    images(tmp_path / "images", stems="b")
    (tmp_path / "images/b.png").rename(tmp_path / "images" / unicodedata.normalize("NFD", "é.png"))
    write(tmp_path / "train.json", document("b", unicodedata.normalize("NFC", "é.png")))
    assert count(repaired(open_dataset(tmp_path), NEAR)) == (1, 1)


def test_percent_signs_in_image_paths(tmp_path: Path) -> None:
    images(tmp_path, " 1.png", stems="a")
    shape = {"label": "cat", "points": [[2, 2], [9, 2], [9, 9]], "shape_type": "polygon"}
    labels = {"shapes": [shape], "imagePath": "a%201.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    write(tmp_path / "x.json", labels)
    assert [image.file_name for image in repaired(open_dataset(tmp_path))] == ["a 1.png"]


def test_points_that_are_objects(tmp_path: Path) -> None:
    images(tmp_path, stems="a")
    points = [{"x": 2, "y": 3}, {"x": 12, "y": 3}, {"x": 12, "y": 15}, {"x": 2, "y": 15}]
    shapes = [
        {"label": "cat", "points": points, "shape_type": "polygon"},
        {"label": "cat", "points": points[::2], "shape_type": "rectangle"},
    ]
    labels = {"shapes": shapes, "imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    write(tmp_path / "a.json", labels)
    assert [a.box for a in repaired(open_dataset(tmp_path)).image(0).annotations] == [(2, 3, 12, 15)] * 2
    points[2] = {"x": 12}  # type: ignore[typeddict-item]
    write(tmp_path / "a.json", labels)
    assert len(repaired(open_dataset(tmp_path), "non-finite coordinates dropped").image(0).annotations) == 1


def test_names_of_classes_in_another_encoding_are_refused(tmp_path: Path) -> None:
    """Letters became replacement characters, and so two classes one."""
    images(tmp_path, stems="a")
    shape = {"label": "x", "points": [[2, 2], [9, 2], [9, 9]], "shape_type": "polygon"}
    labels = {"shapes": [shape], "imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    write(tmp_path / "a.json", labels)
    (tmp_path / "labels.txt").write_bytes("Bär\nBör\n".encode("latin-1"))
    refused(lambda: open_dataset(tmp_path), "labels.txt", "save it as UTF-8")


def test_boxes_of_voc_that_were_passed_over(tmp_path: Path) -> None:
    """A second one of an object, and objects in a list of their own."""
    images(tmp_path, stems="a")
    box = "<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    one = f"<object><name>cat</name>{box}</object>"
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    (tmp_path / "a.xml").write_text(f"<annotation>{size}<objects>{one}</objects>{one}</annotation>")
    assert len(repaired(open_dataset(tmp_path)).image(0).annotations) == 2
    (tmp_path / "a.xml").write_text(f"<annotation>{size}{one.replace(box, 2 * box)}</annotation>")
    refused(lambda: open_dataset(tmp_path), "a.xml", "object 1 has several boxes", "make each an object")
