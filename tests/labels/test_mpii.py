"""MPII's persons as JSON: sixteen joints, and boxes around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import claims
import numpy as np
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.mpii import JOINTS, looks_like_mpii, read_mpii

HEIGHT, WIDTH = 40, 60
BOX = "box taken from the keypoints"


def person(image: str = "a.jpg", **more: Any) -> dict[str, Any]:
    joints = [[10.0 + 2 * k, 5.0 + k] for k in range(16)]
    said = {"joints_vis": [1] * 16, "joints": joints, "image": image, "scale": 0.2, "center": [25.0, 12.0]}
    return said | more


def write(folder: Path, *persons: Any) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / name)
    (folder / "train.json").write_text(json.dumps(list(persons)))
    return folder / "train.json"


def repaired(source: Path, *kinds: str) -> FileDataset:
    kinds = ("sigmas of 0.05 assumed", *kinds)
    return claims.repaired(read_mpii(source), *kinds)


def test_persons(tmp_path: Path) -> None:
    second = person()
    second["joints"][0] = [-1.0, -1.0]
    second["joints"][15] = [0.0, 0.0]
    second["joints_vis"] = [0, 0, *[1] * 14]
    path = write(tmp_path, person(), second, person("b.jpg"))
    assert detect(path).name == "mpii"
    dataset = repaired(path, *[BOX] * 3)
    assert dataset.classes == ["person"] and dataset.keypoints.names == JOINTS
    flip = dataset.keypoints.flip
    assert JOINTS[flip[0]] == "left_ankle" and flip[6] == 6 and len(dataset.keypoints.skeleton) == 15
    first, other = dataset
    assert [len(first.annotations), len(other.annotations)] == [2, 1]
    whole, parts = first.annotations
    assert whole.box == (9.5, 4.5, 39.5, 19.5)  # pixels are counted from 1
    assert (whole.keypoints[:, 2] == 2).all()
    np.testing.assert_array_equal(parts.keypoints[[0, 1, 2, 15], 2], [0, 1, 2, 0])
    assert parts.box == (11.5, 5.5, 37.5, 18.5)


@pytest.mark.parametrize(
    ("more", "word"),
    [({"joints": [[1, 1]]}, "16 joints"), ({"joints_vis": 7}, "16 joints"), ({"image": 7}, "no image")],
)
def test_what_is_refused(tmp_path: Path, more: dict[str, Any], word: str) -> None:
    path = write(tmp_path, person(), person(**more))
    claims.refused(lambda: read_mpii(path), path, "person 1", word)


def test_nobody_labelled(tmp_path: Path) -> None:
    path = write(tmp_path, person(), person(joints=[[0, 0]] * 16))
    assert len(repaired(path, BOX, "annotation without a usable box dropped").image(0).annotations) == 1
    claims.refused(lambda: read_mpii(tmp_path / "images"), "not one .json of MPII")


def subjects(folder: Path) -> list[Subject]:
    path = write(folder, person(), person("b.jpg"))
    return [Subject(folder, path, read_mpii, looks_like_mpii, [path])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))
