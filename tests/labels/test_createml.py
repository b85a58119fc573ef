"""CreateML's JSON, as Roboflow exports it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import claims
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.createml import looks_like_createml, read_createml

HEIGHT, WIDTH = 20, 30


def box(label: str, x: float, y: float, width: float, height: float) -> dict[str, Any]:
    return {"label": label, "coordinates": {"x": x, "y": y, "width": width, "height": height}}


def write(folder: Path, *entries: Any, images: str = ".") -> Path:
    (folder / images).mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / images / name)
    path = folder / "_annotations.createml.json"
    path.write_text(json.dumps(list(entries)))
    return path


def good() -> list[dict[str, Any]]:
    return [
        {"image": "a.jpg", "annotations": [box("dog", 10, 8, 4, 6), box("cat", 20.5, 10, 5, 5)]},
        {"image": "b.png", "annotations": []},
    ]


def repaired(source: Path, *kinds: str) -> FileDataset:
    return claims.repaired(read_createml(source), *kinds)


@pytest.mark.parametrize("images", [".", "images"])
def test_a_good_export(tmp_path: Path, images: str) -> None:
    path = write(tmp_path, *good(), images=images)
    for source in (path, tmp_path):
        assert detect(source).name == "createml"
        dataset = repaired(source)
        first, second = dataset
        assert dataset.classes == ["cat", "dog"] and not second.annotations
        assert [(a.label, a.box) for a in first.annotations] == [
            (1, (8, 5, 12, 11)),
            (0, (18, 7.5, 23, 12.5)),
        ]
        assert first.annotations[0].polygons is None


def test_other_spellings(tmp_path: Path) -> None:
    write(tmp_path, {"imagefilename": "a.jpg", "annotation": [box("dog", 10, 8, 4, 6)], "verified": True})
    assert detect(tmp_path).name == "createml" and len(repaired(tmp_path).image(0).annotations) == 1


def test_splits_of_roboflow(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write(tmp_path / split, *good())
    assert len(open_dataset(tmp_path, "train")) == len(open_dataset(tmp_path, "val")) == 2


def test_what_is_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"image": "a.jpg", "annotations": [{"label": "x"}, {"coordinates": {}}, box("x", 5, 5, 4, 4)]},
    )
    dataset = repaired(path, "non-finite coordinates dropped", "object without a class dropped")
    assert len(dataset.image(0).annotations) == 1


def test_what_is_refused(tmp_path: Path) -> None:
    for entries, word in (
        ([good()[0], good()[0]], "entry 1 is there twice"),
        ([{"image": "a.jpg", "coordinates": 1}], "entry 0 has no image name or no list"),
        ([{"image": "c.jpg", "annotations": [box("dog", 1, 1, 1, 1)]}], "'c.jpg' not found"),
    ):
        path = write(tmp_path, *entries)
        claims.refused(lambda: read_createml(tmp_path), path, word)  # noqa: B023
    path = write(tmp_path, *good())
    (tmp_path / "far").mkdir()
    (tmp_path / "a.jpg").rename(tmp_path / "far/a.jpg")
    claims.refused(lambda: read_createml(path), path, "1 of 2 image files are missing", "a.jpg'")
    (tmp_path / "b.png").rename(tmp_path / "far/b.png")
    claims.refused(lambda: read_createml(path), path, "'a.jpg' not found in")
    assert len(open_dataset(path, options=LabelOptions(images=tmp_path / "far"))) == 2
    claims.refused(lambda: read_createml(tmp_path / "far/a.jpg"), "not one .json of CreateML")


def subjects(folder: Path) -> list[Subject]:
    path = write(folder, *good())
    return [Subject(folder, path, read_createml, looks_like_createml, [path])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_two_files_are_not_told_to_be_of_a_kind_that_is_not_read(tmp_path: Path) -> None:
    Image.new("RGB", (9, 8)).save(tmp_path / "a.jpg")
    box = {"label": "cat", "coordinates": {"x": 4, "y": 4, "width": 4, "height": 2}}
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text(json.dumps([{"image": "a.jpg", "annotations": [box]}]))
    with pytest.raises(UserError, match=r"holds 'one\.json' and 'two\.json'; name the one that is meant"):
        open_dataset(tmp_path)


def test_a_suffix_in_capitals(tmp_path: Path) -> None:
    path = write(tmp_path, *good())
    path.rename(tmp_path / "_ANNOTATIONS.CREATEML.JSON")
    assert len(repaired(tmp_path)) == 2


def test_shares_of_the_image_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {"image": "a.jpg", "annotations": [box("cat", 0.5, 0.5, 0.2, 0.1)]})
    claims.refused(lambda: read_createml(path), path, "shares of the image", "multiply x and width")
