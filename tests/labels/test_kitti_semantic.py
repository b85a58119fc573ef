"""KITTI's benchmark of instance segmentation: class and number in one 16-bit pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.readers.kitti_semantic import looks_like_kitti_semantic, read_kitti_semantic

HEIGHT, WIDTH = 20, 30


def write(folder: Path, name: str = "000003_10.png") -> Path:
    ids = np.full((HEIGHT, WIDTH), 11 << 8 | 2, dtype=np.uint16)  # a building, which has a number too
    ids[2:8, 3:9] = 26 << 8 | 1
    ids[10:18, 3:9] = 24 << 8 | 200
    ids[10:18, 20:28] = 26 << 8  # cars that nobody could tell apart
    ids[0, :] = 29 << 8 | 1  # a caravan
    for place, image in (("instance", Image.fromarray(ids)), ("image_2", Image.new("RGB", (WIDTH, HEIGHT)))):
        (folder / place).mkdir(parents=True, exist_ok=True)
        image.save(folder / place / name)
    return folder / "instance" / name


@pytest.mark.parametrize("above", [False, True])
def test_objects_and_groups(tmp_path: Path, above: bool) -> None:
    write(tmp_path / "training")
    source = tmp_path if above else tmp_path / "training"
    found = detect(source)
    assert found is not None and found.name == "kitti-semantic"
    (image,) = dataset = repaired(found.read(source), "caravan or trailer left out")
    assert [(dataset.class_ids[a.label], a.box, a.crowd) for a in image.annotations] == [
        (26, (20, 10, 28, 18), True),
        (24, (3, 10, 9, 18), False),
        (26, (3, 2, 9, 8), False),
    ]
    assert dataset.classes[dataset.class_ids.index(26)] == "car"


def test_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "000004_10.png").unlink()
    kinds = ["image without labels left out", "caravan or trailer left out"]
    assert len(repaired(read_kitti_semantic(tmp_path), *kinds)) == 1
    (tmp_path / "image_2/000003_10.png").unlink()
    refused(lambda: read_kitti_semantic(tmp_path), "1 label image without", "000003_10.png", "restore")


def subjects(folder: Path) -> list[Subject]:
    label = write(folder)
    return [Subject(folder, folder, read_kitti_semantic, looks_like_kitti_semantic, [label], by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))
