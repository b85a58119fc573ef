"""DOTA's labels: corners of turned boxes in text files."""

from __future__ import annotations

from pathlib import Path

import claims
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.readers.dota import looks_like_dota, read_dota

HEIGHT, WIDTH = 20, 30
HEAD = "imagesource:GoogleEarth\ngsd:0.146343590398\n"
UPRIGHT = "4.0 2.0 14.0 2.0 14.0 12.0 4.0 12.0 small-vehicle 0\n"
TURNED = "10 2 18 6 14 14 6 10 plane 1\n"


def write(
    folder: Path, text: str = HEAD + UPRIGHT + TURNED, labels: str = "labelTxt", name: str = "P0001"
) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / labels).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"images/{name}.png")
    (folder / labels / f"{name}.txt").write_text(text)
    return folder / labels / f"{name}.txt"


def repaired(source: Path, *kinds: str) -> FileDataset:
    return claims.repaired(read_dota(source), *kinds)


@pytest.mark.parametrize("labels", ["labelTxt", "labelTxt-v1.5/DOTA-v1.5_train", "labelTxt-v1.0/labelTxt"])
def test_boxes_around(tmp_path: Path, labels: str) -> None:
    write(tmp_path, labels=labels)
    assert detect(tmp_path).name == "dota"
    dataset = repaired(tmp_path, "turned box replaced by the box around it", "attribute left out")
    assert dataset.classes == ["plane", "small-vehicle"]
    (image,) = dataset
    assert [(a.label, a.box, a.polygons) for a in image.annotations] == [
        (1, (4, 2, 14, 12), None),
        (0, (6, 2, 18, 14), None),
    ]


def test_splits_and_images_without_labels(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / split, UPRIGHT)
    assert len(open_dataset(tmp_path, "train")) == len(open_dataset(tmp_path, "val")) == 1
    write(tmp_path / "train", "", name="P0002")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "train/images/P0003.png")
    dataset = repaired(tmp_path / "train", "image without an annotation file left out")
    assert [len(image.annotations) for image in dataset] == [1, 0]


def test_what_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "1 2 3 4 plane\n")
    claims.refused(lambda: read_dota(tmp_path), path, "line 1 has 5 words")
    write(tmp_path, UPRIGHT)
    (tmp_path / "images/P0001.png").unlink()
    claims.refused(lambda: read_dota(tmp_path), path, "no image of its name")
    write(tmp_path, UPRIGHT, labels="labelTxt-v1.5")
    claims.refused(lambda: read_dota(tmp_path), "labelTxt and labelTxt-v1.5")
    claims.refused(lambda: read_dota(tmp_path / "images"), "no folder labelTxt")
    assert not looks_like_dota(tmp_path / "none")


def subjects(folder: Path) -> list[Subject]:
    path = write(folder)
    return [Subject(folder, folder, read_dota, looks_like_dota, [path], by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_a_line_is_counted_as_an_editor_does(tmp_path: Path) -> None:
    write(tmp_path, f"\n{UPRIGHT}\n1 2 3\n")
    claims.refused(lambda: read_dota(tmp_path), "line 4", "has 3 words")


def test_labels_in_folders_of_splits(tmp_path: Path) -> None:
    for split, side in (("train", 30), ("val", 40)):
        for folder in ("images", "labelTxt"):
            (tmp_path / folder / split).mkdir(parents=True)
        for name in ("a", "b"):
            Image.new("RGB", (50, 50)).save(tmp_path / f"images/{split}/{name}.png")
        line = f"1 1 {side} 1 {side} {side} 1 {side} plane 0"
        (tmp_path / f"labelTxt/{split}/a.txt").write_text(line)
    for split, side in (("train", 30), ("val", 40)):
        dataset = open_dataset(tmp_path, split)
        (image,) = dataset
        assert image.file_name == f"images/{split}/a.png" and image.annotations[0].box == (1, 1, side, side)
        assert "1" in str(dataset.problems.lines())  # b, of this split alone
