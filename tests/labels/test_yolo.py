"""YOLO data sets: boxes, polygons and poses read back to what was written, and one test for each thing gone
wrong.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.config.keypoints import COCO_NAMES, COCO_SIGMAS
from maskrcnn.errors import UserError
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.yolo import looks_like_yolo, read_yolo
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 20, 40
SQUARE = np.array([[4.0, 2.0], [14.0, 2.0], [14.0, 12.0], [4.0, 12.0]])
YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"
COCO_FLIP = "[0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]"


def polygon_line(label: int, ring: np.ndarray) -> str:
    """As Ultralytics writes it: shares with six decimals."""
    return " ".join([str(label), *(f"{share:.6f}" for share in (ring / [WIDTH, HEIGHT]).reshape(-1))]) + "\n"


def box_line(label: int, x0: float, y0: float, x1: float, y1: float) -> str:
    shares = ((x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT)
    return " ".join([str(label), *(f"{share:.6f}" for share in shares)]) + "\n"


class Files:
    """A YOLO data set to be spoilt by a test: a and b in train, c in val."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("train/a.jpg", "train/sub/b.png", "val/c.png"):
            self.write_image(f"images/{name}")
        self.write("data.yaml", YAML)
        self.write("labels/train/a.txt", polygon_line(1, SQUARE) + box_line(0, 1, 2, 11, 12))
        self.write("labels/train/sub/b.txt", "")
        self.write("labels/val/c.txt", polygon_line(0, SQUARE))

    def write_image(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def label(self, text: str) -> None:
        self.write("labels/train/a.txt", text)

    def repaired(self, *kinds: str) -> FileDataset:
        """Read; the only repairs are one of each of `kinds`."""
        return repaired(read_yolo(self.folder), *kinds)

    def refused(self, *words: str, split: str | None = None) -> None:
        refused(lambda: read_yolo(self.folder, split), self.folder, *words, error=UserError)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_good_folder(files: Files) -> None:
    assert looks_like_yolo(files.folder) and looks_like_yolo(files.folder / "data.yaml")
    dataset = files.repaired()
    assert dataset.classes == ["cat", "dog"] and dataset.class_ids == [0, 1] and dataset.keypoints is None
    first, second = dataset
    assert (first.image_id, first.file_name, first.height, first.width) == (
        1,
        "images/train/a.jpg",
        HEIGHT,
        WIDTH,
    )
    assert second.path == files.folder / "images/train/sub/b.png" and second.annotations == []
    polygon, box = first.annotations
    assert (
        polygon.label == 1
        and polygon.box == (4.0, 2.0, 14.0, 12.0)
        and polygon.area == 100
        and polygon.id == 1
    )
    np.testing.assert_allclose(polygon.polygons[0], SQUARE, atol=1e-4)
    assert box.polygons is None and box.rle is None and box.label == 0
    assert box.box == pytest.approx((1, 2, 11, 12), abs=1e-4)
    assert dataset.pixels(0).shape == (HEIGHT, WIDTH, 3)


def test_splits(files: Files) -> None:
    (image,) = read_yolo(files.folder / "data.yaml", "val")
    assert image.file_name == "images/val/c.png" and len(image.annotations) == 1
    files.refused("has no 'test' split", "train, val", split="test")
    files.write("data.yaml", YAML.replace("val:", "valid:"))
    assert len(read_yolo(files.folder, "val")) == 1


@pytest.mark.parametrize(
    "lines",
    [
        "path: /home/someone/data\ntrain: images/train\n",
        "train: ../images/train\n",
        "path: ../datasets/mine\ntrain: [images/train]\n",
        "train: ./images/train/\n",
        "train: list.txt\n",
        "train: FOLDER/images/train\n",
    ],
)
def test_where_images_are(files: Files, lines: str) -> None:
    files.write("list.txt", "./images/train/a.jpg\n\nimages/train/sub/b.png\n")
    files.write("data.yaml", lines.replace("FOLDER", str(files.folder)) + "nc: 2\nnames: [cat, dog]\n")
    assert [image.file_name for image in files.repaired()] == ["images/train/a.jpg", "images/train/sub/b.png"]


def test_roboflow_layout(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.write("data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['x']\n")
    files.write_image("train/images/a.jpg")
    files.write("train/labels/a.txt", box_line(0, 1, 2, 3, 4))
    assert [image.file_name for image in files.repaired()] == ["train/images/a.jpg"]


def test_classes_by_number_and_unused(files: Files) -> None:
    files.write("data.yaml", "train: images/train\nnames: {0: 3, 7: dog, 2: unused}\n")
    files.label(polygon_line(7, SQUARE))
    dataset = files.repaired()
    assert dataset.classes == ["3", "dog", "unused"] and dataset.class_ids == [0, 7, 2]
    assert dataset.image(0).annotations[0].label == 1
    files.write("data.yaml", "train: images/train\nnc: 8\n")
    assert files.repaired().classes[7] == "class_7"


def test_image_without_a_label_file_is_empty(files: Files) -> None:
    (files.folder / "labels/train/sub/b.txt").unlink()
    assert [len(image.annotations) for image in files.repaired()] == [2, 0]


def test_a_suffix_in_capitals(files: Files) -> None:
    """The labels of an image were passed over, so that it was empty."""
    text = files.folder / "labels/train/a.txt"
    text.rename(text.with_suffix(".TXT"))
    assert [len(image.annotations) for image in files.repaired()] == [2, 0]
    files.write("labels/train/lost.TXT", box_line(0, 1, 2, 3, 4))
    files.repaired("label file without an image left out")


def test_polygon_over_the_border(files: Files) -> None:
    files.label(polygon_line(0, SQUARE - [10.0, 0.0]))
    (annotation,) = files.repaired("outline cut at the edge of the image").image(0).annotations
    assert annotation.box == (0.0, 2.0, 4.0, 12.0)
    assert rle_bitmap(annotation_rle(annotation, HEIGHT, WIDTH)).sum() == 40


# ---- poses


def test_coco_pose(files: Files) -> None:
    files.write(
        "data.yaml", f"train: images/train\nkpt_shape: [17, 3]\nflip_idx: {COCO_FLIP}\nnames: [person]\n"
    )
    keypoints = [f"{(k + 1) / WIDTH:.6f} {k / HEIGHT:.6f} {k % 3}" for k in range(17)]
    files.label(f"{box_line(0, 1, 2, 31, 18).strip()} {' '.join(keypoints)}\n{box_line(0, 1, 2, 31, 18)}")
    dataset = files.repaired()
    assert dataset.keypoints.names == COCO_NAMES and dataset.keypoints.sigmas == COCO_SIGMAS
    assert str(dataset.keypoints.flip) == COCO_FLIP
    pose, box = dataset.image(0).annotations
    want = np.array([[k + 1, k, k % 3] if k % 3 else [0, 0, 0] for k in range(17)])
    np.testing.assert_allclose(pose.keypoints, want, atol=1e-4)
    assert (
        pose.box == pytest.approx((1, 2, 31, 18), abs=1e-4)
        and pose.polygons is None
        and box.keypoints is None
    )


def test_keypoints_without_visibility(files: Files) -> None:
    files.write("data.yaml", "train: images/train\nkpt_shape: [3, 2]\nnames: [x]\n")
    files.label(f"{box_line(0, 1, 2, 31, 18).strip()} 0.5 0.5 0 0 -0.1 0.2\n")
    dataset = files.repaired("keypoints without flip_idx left in place", "sigmas of 0.05 assumed")
    (pose,) = dataset.image(0).annotations
    np.testing.assert_allclose(pose.keypoints, [[20, 10, 2], [0, 0, 0], [0, 0, 0]])
    assert dataset.keypoints.names == [
        "keypoint_0",
        "keypoint_1",
        "keypoint_2",
    ] and dataset.keypoints.flip == [0, 1, 2]


def test_keypoint_names(files: Files) -> None:
    names = "kpt_names: {0: [left_eye, right_eye]}\n"
    files.write("data.yaml", f"train: images/train\nkpt_shape: [2, 3]\nnames: [x]\n{names}")
    files.label(f"{box_line(0, 1, 2, 31, 18).strip()} 0.5 0.5 2 0.5 0.5 1\n")
    dataset = files.repaired("sigmas of 0.05 assumed")
    assert dataset.keypoints.names == ["left_eye", "right_eye"] and dataset.keypoints.flip == [1, 0]


# ---- bad input


def test_label_without_a_image(files: Files) -> None:
    files.write("labels/train/lost.txt", box_line(0, 1, 2, 3, 4))
    files.write("labels/train/classes.txt", "cat\ndog\n")
    assert "lost.txt" in files.repaired("label file without an image left out").problems.lines()[0]


@pytest.mark.parametrize("place", ["labels/train/Sub/b.txt", "labels/old/b.txt", "labels/b.txt"])
def test_labels_in_a_folder_without_images(files: Files, place: str) -> None:
    files.write(place, box_line(0, 1, 2, 3, 4))
    dataset = files.repaired("label file without an image left out")
    assert place in dataset.problems.lines()[0]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_numbers_that_are_not_finite(files: Files, value: str) -> None:
    files.label(f"0 {value} 0.5 0.5 0.5\n0 0.1 0.1 0.5 {value} 0.3 0.3\n{polygon_line(1, SQUARE)}")
    dataset = read_yolo(files.folder)
    assert [a.label for a in dataset.image(0).annotations] == [1]
    assert sum(dataset.problems.texts().values()) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 350 20 30 40", ["350", "shares"]),
        ("0 0.1 0.1 0.2 1e308 0.2 0.3", ["1e+308", "shares"]),
        ("0 0.1 0.1", ["3 numbers"]),
        ("0 0.1 0.1 0.2 0.2 0.3", ["6 numbers"]),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.9", ["8 numbers"]),
        ("cat 0.1 0.1 0.2 0.2", ["not all numbers"]),
        ("2 0.1 0.1 0.2 0.2", ["class 2", "0 cat, 1 dog"]),
        ("-1 0.1 0.1 0.2 0.2", ["class -1"]),
        ("0.5 0.1 0.1 0.2 0.2", ["class 0.5"]),
        ("nan 0.1 0.1 0.2 0.2", ["class nan"]),
        ("1e400 0.1 0.1 0.2 0.2", ["class inf"]),
    ],
)
def test_lines_that_are_refused(files: Files, line: str, words: list[str]) -> None:
    files.label(f"\n{line}\n")
    files.refused("line 2 of 'labels/train/a.txt'", *words)


def test_zero_area_box(files: Files) -> None:
    files.label("0 0.5 0.5 0 0.5\n" + polygon_line(1, SQUARE))
    files.repaired("zero-area box dropped")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["not a list of keys"]),
        ("a: [1", ["YAML"]),
        ("- train", ["not a list of keys"]),
        ("train: images/train\n", ["names must list"]),
        ("train: images/train\nnames: [a, true]\n", ["class 1", "quotes"]),
        ("train: images/train\nnames: [a, a]\n", ["there twice"]),
        ("train: images/train\nnames: {a: b}\n", ["number"]),
        ("train: images/train\nnc: 3\nnames: [a]\n", ["nc is 3"]),
        ("train: images/train\nnc: 99999999999\n", ["nc must be"]),
        ("train: 3\nnames: [cat, dog]\n", ["train must name"]),
        ("train: ../../etc\nnames: [cat, dog]\n", ["../../etc", "not there"]),
        ("train: /etc\nnames: [cat, dog]\n", ["/etc", "not there"]),
        ("train: data.yaml\nnames: [cat, dog]\n", ["no folder"]),
        ("train: nothing\nnames: [cat, dog]\n", ["nothing"]),
        ("train: empty\nnames: [cat, dog]\n", ["no image"]),
        ("train: list.txt\nnames: [cat, dog]\n", ["line 1", "../out.png", "outside"]),
        ("train: images/train\nkpt_shape: [17]\nnames: [cat, dog]\n", ["kpt_shape"]),
        ("train: images/train\nkpt_shape: [.nan, 3]\nnames: [cat, dog]\n", ["kpt_shape"]),
        ("train: images/train\nkpt_shape: [2, 3]\nnames: [cat, dog]\n", ["asks for 11"]),
        ("train: images/train\nkpt_shape: [2, 3]\nflip_idx: [1, 2]\nnames: [cat, dog]\n", ["flip_idx"]),
        ("train: images/train\nkpt_shape: [2, 3]\nkpt_names: [a]\nnames: [cat, dog]\n", ["kpt_names"]),
        ("a: &a [x, x]\nb: [*a, *a]\ntrain: images/train\nnames: [cat, dog]\n", ["alias"]),
        ("train: !!python/object/apply:os.system ['true']\nnames: [cat]\n", ["YAML"]),
        ("train: " + "[" * 100 + "\n", ["nested"]),
        ("train: " + "[" * 1000 + "]" * 1000 + "\n", ["nest"]),  # newer PyYAML says so itself
        ("train: 2001-99-99\n", ["YAML"]),
    ],
)
def test_descriptions_that_are_refused(files: Files, text: str, words: list[str]) -> None:
    files.write("data.yaml", text)
    files.write("list.txt", "../out.png\n")
    (files.folder / "empty").mkdir()
    files.refused(*words)


def test_large_yaml(files: Files) -> None:
    files.write("data.yaml", YAML + "# " + "x" * 1_000_001)
    files.refused("larger than 1 MB")
    assert looks_like_yolo(files.folder), "the reader says why"
    (files.folder / "data.yaml").rename(files.folder / "notes.yaml")
    assert not looks_like_yolo(files.folder)


def test_no_yaml(files: Files) -> None:
    (files.folder / "data.yaml").unlink()
    files.refused("no data.yaml")
    assert not looks_like_yolo(files.folder / "nowhere")
    files.write("one.yaml", YAML)
    files.repaired()
    files.write("two.yaml", YAML)
    files.refused("one.yaml", "two.yaml")


def test_no_labels_at_all(files: Files) -> None:
    (files.folder / "labels").rename(files.folder / "elsewhere")
    files.refused("none of 2 images", "labels/train/a.txt")


def test_missing_and_unreadable_images(files: Files) -> None:
    files.write("list.txt", "images/train/a.jpg\nimages/train/gone.png\n")
    files.write("data.yaml", "train: list.txt\nnames: [cat, dog]\n")
    files.refused("gone.png", "missing")
    files.write("images/train/gone.png", "not an image")
    files.refused("gone.png", "not readable")


def test_binary_labels(files: Files) -> None:
    (files.folder / "labels/train/a.txt").write_bytes(b"\xff\xfe\x00")
    files.refused("a.txt", "not text")


@pytest.mark.parametrize("name", ["labels/train/a.txt", "labels"])
def test_labels_by_links_that_leave_the_folder(
    files: Files, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    path = files.folder / name
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)
    files.refused("symbolic link out of")


@pytest.mark.parametrize("name", ["images", "images/train", "images/train/sub", "images/train/a.jpg"])
def test_linked_images(files: Files, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    outside = tmp_path_factory.mktemp("outside")
    path = files.folder / name
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)
    assert [image.file_name for image in files.repaired()] == ["images/train/a.jpg", "images/train/sub/b.png"]


def subjects(folder: Path) -> list[Subject]:
    """One of polygons and boxes, one of poses."""
    found = []
    pose = "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n"
    for name, more, line in (
        ("segment", "", polygon_line(1, SQUARE) + box_line(0, 1, 2, 9, 9)),
        ("pose", pose, box_line(0, 1, 2, 9, 9).strip() + " 0.1 0.2 2 0.3 0.4 1\n"),
    ):
        (folder / name).mkdir()
        files = Files(folder / name)
        files.write("data.yaml", YAML + more + "nc: 2\n")
        files.label(line)
        spoilt = [files.folder / "data.yaml", files.folder / "labels/train/a.txt"]
        found.append(Subject(files.folder, files.folder, read_yolo, looks_like_yolo, spoilt))
    return found


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


@pytest.mark.parametrize("mark", [",", ", ", "\t", ";"])
@pytest.mark.parametrize("end", ["", ","])
def test_other_marks_between_numbers(mark: str, end: str, files: Files) -> None:
    files.label(box_line(0, 1, 2, 11, 12).strip().replace(" ", mark) + (end and mark) + "\n")
    assert files.repaired().image(0).annotations[0].box == pytest.approx((1, 2, 11, 12), abs=1e-3)


@pytest.mark.parametrize("mark", [" ", ";"])
def test_decimal_commas(mark: str, files: Files) -> None:
    files.label(mark.join(("0", "0,1", "0,2", "0,1", "0,1")) + "\n")
    files.refused("line 1", "not all numbers")


def test_keypoints_without_kpt_shape(files: Files) -> None:
    """They would be read as the points of a polygon."""
    files.label("0 0.5 0.5 0.4 0.4 0.4 0.4 2 0.6 0.6 0\n")
    files.refused("line 1", "2 keypoints", "kpt_shape: [2, 3]")


def test_keypoints_with_visibilities_of_0_and_1_without_kpt_shape(files: Files) -> None:
    files.label("0 0.5 0.5 0.4 0.4 0.4 0.4 1 0.6 0.4 1 0.4 0.6 0 0.6 0.6 1\n" * 5)
    files.refused("5 lines", "4 keypoints with their visibility", "kpt_shape: [4, 3]")


def test_corners_for_a_centre_and_a_size(files: Files) -> None:
    files.label("0 0.1 0.1 0.9 0.9\n0 0.5 0.5 0.95 0.98\n0 0.6 0.2 0.9 0.5\n1 0.2 0.2 0.9 0.9\n")
    files.refused("3 of 4 boxes", "x1, y1, x2, y2", "the centre")


def test_classes_that_are_alike(files: Files) -> None:
    files.write("data.yaml", "train: images/train\nnames: [traffic light, Traffic_Light]\n")
    dataset = files.repaired("classes whose names differ only in case, spaces or dashes")
    assert "'traffic light' and 'Traffic_Light'" in dataset.problems.lines()[0]
