"""Folders of Cellpose: an image and its masks side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("mark", ["_mask", "_label", "_seg", "_GT"])
def test_marks_of_other_programs(tmp_path: Path, mark: str) -> None:
    """a.jpg and a_mask.png; not beside other labels, where both may be images."""
    write(tmp_path, "a.jpg", f"a{mark}.png")
    write(tmp_path, f"lone{mark}.png", None)
    dataset = open_dataset(tmp_path)
    assert [image.file_name for image in dataset] == ["a.jpg"] and len(dataset.image(0).annotations) == 2
    assert dataset.problems.texts() == {"image without labels left out": 1}
    (tmp_path / "a.json").write_text("{}")
    assert not looks_like_cellpose(tmp_path)


def test_masks_of_classes(tmp_path: Path) -> None:
    write(tmp_path, "a.jpg", "a_mask.png")
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, cat\n")
    refused(tmp_path, "Roboflow", "classes", "COCO JSON")


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


def saved(path: Path, masks: Any, **more: Any) -> None:
    """As Cellpose's window saves it."""
    content = {"outlines": np.zeros((HEIGHT, WIDTH), np.uint16), "colors": np.zeros((2, 3), np.uint8)}
    content |= {
        "masks": masks,
        "chan_choose": [0, 0],
        "filename": "/home/me/a.tif",
        "flows": [flow(), [], []],
    }
    content |= {"ismanual": np.zeros(2, bool), "manual_changes": [["11/28/2026", "added mask", [1, 2]]]}
    content |= {"model_path": 0, "normalize_params": {"lowhigh": None, "percentile": [1.0, 99.0]}}
    content |= {"restore": None, "ratio": 1.0, "diameter": np.float64("nan")}
    np.save(path, content | more, allow_pickle=True)  # type: ignore[arg-type]


def flow() -> np.ndarray:
    return np.random.default_rng(0).random((1, HEIGHT, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("form", ["usual", "one plane", "counted from -1", "NumPy 1"])
def test_pickles_of_its_window(tmp_path: Path, form: str) -> None:
    path = write(tmp_path, "a.tif", None) / "a_seg.npy"
    masks = {"one plane": ids()[None], "counted from -1": ids().astype(np.int32) - 1}.get(form, ids())
    saved(path, masks)
    if form == "NumPy 1":
        path.write_bytes(path.read_bytes().replace(b"\x16numpy._core.", b"\x15numpy.core."))
    assert detect(tmp_path).name == "cellpose"
    (only,) = read_cellpose(tmp_path)
    assert [a.box for a in only.annotations] == [(3, 2, 9, 8), (12, 10, 28, 18)]


def test_a_pickle_beside_a_label_image(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tif", "a_cp_masks.png") / "a_seg.npy"
    saved(path, ids())
    assert len(read_cellpose(tmp_path).image(0).annotations) == 2
    saved(path, ids() * (ids() == 1))
    refused(tmp_path, "a_seg.npy", "a_cp_masks.png", "not those of")
    path.write_bytes(b"nothing")
    assert len(read_cellpose(tmp_path).image(0).annotations) == 2


class Call:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("ran",))


@pytest.mark.parametrize(
    ("masks", "word"),
    [
        (Call(), "asks for posix.mkdir"),
        (np.array([Call()]), "asks for posix.mkdir"),
        (np.array([[1], "a"], object), "Python objects"),
        ([[1, 2]], "no array"),
        (np.zeros((4, HEIGHT, WIDTH), np.uint16), "shape (4, 20, 30)"),
        (np.zeros((HEIGHT, WIDTH)), "are float64"),
        (np.zeros((WIDTH, HEIGHT), np.uint8), "the masks 20 x 30"),
    ],
)
def test_pickles_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: Any, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(write(tmp_path / "in", "a.tif", None) / "a_seg.npy", masks)
    claims.refused(lambda: read_cellpose(tmp_path / "in"), tmp_path / "in" / "a_seg.npy", word)
    assert not (tmp_path / "ran").exists()


def test_pickles_of_others(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tif", None) / "a_seg.npy"
    for content in (ids(), np.array(["a", None], object), np.array([{"masks": ids()}], object)):
        np.save(path, content, allow_pickle=True)
        refused(tmp_path, "a_seg.npy", "a_cp_masks.png")


def test_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, "a.tif", "a_masks.tif")
    write(tmp_path, "b.tif", None)
    claims.repaired(read_cellpose(tmp_path), "image without labels left out")
    (tmp_path / "a.tif").unlink()
    refused(tmp_path, "1 label file without", "a_masks.tif")
    write(tmp_path, "a.tif", "a_cp_masks.png")
    refused(tmp_path, "a_masks.tif", "a_cp_masks.png")
    assert not looks_like_cellpose(tmp_path / "a.tif") and not looks_like_cellpose(tmp_path / "none")


def subjects(folder: Path) -> list[Subject]:
    write(folder, "a.png", "a_masks.png")
    write(folder, "b.png", "b_cp_masks.png")
    saved(write(folder, "c.png", None) / "c_seg.npy", ids())
    files = [folder / name for name in ("a_masks.png", "b_cp_masks.png", "a.png", "c_seg.npy")]
    return [Subject(folder, folder, read_cellpose, looks_like_cellpose, files, by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


@pytest.mark.parametrize("suffix", [".gif", ".bmp"])
def test_masks_in_other_lossless_formats(suffix: str, tmp_path: Path) -> None:
    ids = np.zeros((20, 30), np.uint8)
    ids[2:8, 2:8], ids[10:16, 10:16] = 1, 2
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    Image.fromarray(ids).save(tmp_path / f"a_cp_masks{suffix}")
    assert [a.area for a in read_cellpose(tmp_path).image(0).annotations] == [36.0, 36.0]
