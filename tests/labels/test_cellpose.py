"""Folders of Cellpose: an image and its masks side by side."""

from __future__ import annotations

from pathlib import Path

import claims
import numpy as np
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.cellpose import looks_like_cellpose, read_cellpose

HEIGHT, WIDTH = 20, 30


def ids() -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    found[2:8, 3:9] = 1
    found[10:18, 12:28] = 40_000
    return found


def write(folder: Path, image: str, masks: str | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", (WIDTH, HEIGHT)).save(folder / image)
    if masks is not None:
        Image.fromarray(ids()).save(folder / masks)
    return folder


def refused(folder: Path, *words: str) -> None:
    claims.refused(lambda: read_cellpose(folder), folder, *words)


@pytest.mark.parametrize(
    ("image", "masks"),
    [
        ("well_1.tif", "well_1_masks.tif"),
        ("000_img.png", "000_masks.png"),
        ("a.jpg", "a_cp_masks.png"),
        ("a b.png", "a b_masks.tiff"),
    ],
)
def test_names_of_cellpose(tmp_path: Path, image: str, masks: str) -> None:
    write(tmp_path, image, masks)
    for extra in ("_flows.tif", "_cp_outlines.png", "_cp_output.png"):
        Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / f"{Path(image).stem}{extra}")
    found = detect(tmp_path)
    assert found is not None and found.name == "cellpose"
    dataset = read_cellpose(tmp_path)
    (only,) = dataset
    assert only.file_name == image and not dataset.problems
    assert [a.box for a in only.annotations] == [(3, 2, 9, 8), (12, 10, 28, 18)]


def test_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / split, "a.tif", "a_masks.tif")
    assert len(open_dataset(tmp_path, "train")) == len(open_dataset(tmp_path, "test")) == 1


def test_parts(tmp_path: Path) -> None:
    write(tmp_path, "a.tif", None)
    Image.fromarray(np.uint8(ids() > 0) * 255).save(tmp_path / "a_masks.png")
    dataset = read_cellpose(tmp_path)
    assert dataset.problems.texts() == {"separate parts that share a number": 2}
    dataset = open_dataset(tmp_path, options=LabelOptions(split_parts=True))
    assert len(dataset.image(0).annotations) == 2 and not dataset.problems


def test_pickles_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, "a.tif", None)
    np.save(tmp_path / "a_seg.npy", np.array({"masks": ids()}, dtype=object), allow_pickle=True)
    assert looks_like_cellpose(tmp_path)
    refused(tmp_path, "a_seg.npy", "pickle", "a_cp_masks.png")
    write(tmp_path, "a.tif", "a_cp_masks.png")
    assert len(read_cellpose(tmp_path)) == 1


def test_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, "a.tif", "a_masks.tif")
    write(tmp_path, "b.tif", None)
    claims.repaired(read_cellpose(tmp_path), "image without labels left out")
    (tmp_path / "a.tif").unlink()
    refused(tmp_path, "1 label image without", "a_masks.tif")
    write(tmp_path, "a.tif", "a_cp_masks.png")
    refused(tmp_path, "a_masks.tif", "a_cp_masks.png")
    assert not looks_like_cellpose(tmp_path / "a.tif") and not looks_like_cellpose(tmp_path / "none")


def subjects(folder: Path) -> list[Subject]:
    write(folder, "a.png", "a_masks.png")
    write(folder, "b.png", "b_cp_masks.png")
    files = [folder / name for name in ("a_masks.png", "b_cp_masks.png", "a.png")]
    return [Subject(folder, folder, read_cellpose, looks_like_cellpose, files, by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))
