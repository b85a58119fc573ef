"""KITTI MOTS: label images of classes and objects in one number."""

from __future__ import annotations

from pathlib import Path

import claims
import numpy as np
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.kitti_mots import looks_like_kitti_mots, read_kitti_mots

HEIGHT, WIDTH = 20, 30


def ids() -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    found[2:8, 3:9] = 1005
    found[10:18, 3:9] = 2003
    found[10:18, 20:28] = 10_000
    return found


def write(folder: Path, images: str = "image_02", suffix: str = ".png", name: str = "0000/000003") -> Path:
    label = folder / "instances" / f"{name}.png"
    image = folder / images / f"{name}{suffix}"
    for path in (label, image):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids()).save(label)
    Image.new("RGB", (WIDTH, HEIGHT)).save(image)
    return label


def repaired(source: Path, *kinds: str) -> FileDataset:
    return claims.repaired(read_kitti_mots(source), *kinds)


@pytest.mark.parametrize(
    ("images", "suffix"), [("image_02", ".png"), ("training/image_02", ".png"), ("images", ".jpg")]
)
def test_classes_objects_and_regions(tmp_path: Path, images: str, suffix: str) -> None:
    write(tmp_path, images, suffix)
    assert detect(tmp_path).name == "kitti-mots"
    dataset = repaired(tmp_path)
    assert dataset.classes == ["car", "pedestrian"] and dataset.class_ids == [1, 2]
    (image,) = dataset
    assert image.file_name == f"0000/000003{suffix}"
    assert [(a.label, a.box, a.crowd) for a in image.annotations] == [
        (0, (3, 2, 9, 8), False),
        (1, (3, 10, 9, 18), False),
        (0, (20, 10, 28, 18), True),
        (1, (20, 10, 28, 18), True),
    ]


def test_what_is_missing(tmp_path: Path) -> None:
    label = write(tmp_path)
    write(tmp_path, name="0001/000000").unlink()
    strange = ids()
    strange[0, 0] = 7001
    Image.fromarray(strange).save(label)
    kinds = ["image without labels left out", "object of an unknown class left out"]
    assert len(repaired(tmp_path, *kinds)) == 1
    (tmp_path / "image_02/0000/000003.png").unlink()
    claims.refused(lambda: read_kitti_mots(tmp_path), "1 label image without", "0000/000003.png")
    claims.refused(lambda: read_kitti_mots(tmp_path / "none"), "image_02")
    assert not looks_like_kitti_mots(tmp_path / "none")


def subjects(folder: Path) -> list[Subject]:
    path = write(folder)
    return [Subject(folder, folder, read_kitti_mots, looks_like_kitti_mots, [path], by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, suffix=".jpg")
    claims.refused(lambda: read_kitti_mots(tmp_path), "'0000/000003.jpg' and '0000/000003.png' share a name")
