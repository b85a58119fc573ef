"""Label images of instance ids."""

from __future__ import annotations

import time
import warnings
import zlib
from pathlib import Path

import claims
import numpy as np
import pytest
from fuzz import Subject, bounded, check_spoilt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from maskrcnn.images.header import upright_size
from maskrcnn.labels.detect import looks_like_instance_png
from maskrcnn.labels.image_files import check_sizes
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.instance_png import read_instance_labels
from maskrcnn.labels.readers.label_image import read_ids, rles_by_id
from maskrcnn.masks.rle import rle_area, rle_bitmap, rle_box

SHARED = Path(__file__).parents[3] / "shared"


def save(folder: Path, stem: str, ids: np.ndarray, image: str = ".png") -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (ids.shape[1], ids.shape[0])).save(folder / "images" / f"{stem}{image}")
    Image.fromarray(ids).save(folder / "labels" / f"{stem}.png")


def one_object(height: int = 8, width: int = 10, value: int = 40_000) -> np.ndarray:
    ids = np.zeros((height, width), dtype=np.uint16)
    ids[2:5, 3:9] = value
    return ids


def refused(folder: Path, *words: str) -> None:
    claims.refused(lambda: check_sizes(read_instance_labels(folder)), *words)


def test_images_and_their_labels(tmp_path: Path) -> None:
    ids = one_object()
    ids[7, 9] = 2
    save(tmp_path, "b", ids, ".jpg")
    save(tmp_path, "a", np.zeros((4, 5), dtype=np.uint8))
    dataset = read_instance_labels(tmp_path)
    assert dataset.classes == ["object"] and dataset.class_ids == [1] and not dataset.problems
    empty, image = dataset
    assert (empty.image_id, empty.file_name, empty.annotations) == (1, "a.png", [])
    assert (image.image_id, image.file_name, image.height, image.width) == (2, "b.jpg", 8, 10)
    assert [a.box for a in image.annotations] == [(9, 7, 10, 8), (3, 2, 9, 5)]
    assert [a.area for a in image.annotations] == [1, 18] and [a.id for a in image.annotations] == [1, 2]
    assert dataset.pixels(1).shape == (8, 10, 3)


def test_the_class_is_a_setting_and_not_in_the_path(tmp_path: Path) -> None:
    save(tmp_path / "Nuclei/train", "a", one_object())
    assert open_dataset(tmp_path / "Nuclei", "train").classes == ["object"]
    assert open_dataset(tmp_path / "Nuclei", "train", options=LabelOptions("cell")).classes == ["cell"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, bool])
def test_depths(tmp_path: Path, dtype: type) -> None:
    save(tmp_path, "a", one_object())
    (tmp_path / "labels/a.png").unlink()
    # Pillow writes 32 bits as TIFF only
    Image.fromarray(one_object(value=200).astype(dtype)).save(tmp_path / "labels/a.tiff")
    assert len(read_instance_labels(tmp_path).image(0).annotations) == 1


def test_palette_indices_are_ids(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    label = Image.fromarray(one_object(value=3).astype(np.uint8), mode="P")
    label.putpalette([0, 0, 0] * 4)
    label.save(tmp_path / "labels/a.png")
    assert len(read_instance_labels(tmp_path).image(0).annotations) == 1


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 5, 65535])
    )
)
def test_rles_are_the_pixels_of_each_id(ids: np.ndarray) -> None:
    rles = list(rles_by_id(ids).values())
    values = [value for value in np.unique(ids) if value]
    assert len(rles) == len(values)
    for value, rle in zip(values, rles, strict=True):
        np.testing.assert_array_equal(rle_bitmap(rle), ids == value)
        rows, columns = np.nonzero(ids == value)
        assert rle_box(rle) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert rle_area(rle) == len(rows)


def test_image_without_labels_is_left_out_and_counted(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    save(tmp_path, "b", one_object())
    (tmp_path / "labels/a.png").unlink()
    dataset = read_instance_labels(tmp_path)
    assert len(dataset) == 1 and dataset.problems.texts() == {"image without labels left out": 1}
    assert "'a.png'" in dataset.problems.lines()[0]


def test_labels_without_a_image(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    save(tmp_path, "b", one_object())
    (tmp_path / "images/b.png").unlink()
    refused(tmp_path, "1 label images", "'b.png'")


def test_colour_labels(tmp_path: Path) -> None:
    save(tmp_path, "a", np.zeros((4, 5, 3), dtype=np.uint8))
    refused(tmp_path, "a.png", "mode RGB", "16-bit PNG")


def test_size_that_disagrees(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    Image.new("RGB", (11, 8)).save(tmp_path / "images/a.png")
    refused(tmp_path, "a.png", "11 x 8", "10 x 8")


def test_damaged_labels(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    label = tmp_path / "labels/a.png"
    label.write_bytes(label.read_bytes()[:50])
    refused(tmp_path, "labels/a.png", "not readable")


def test_labels_that_claim_to_be_huge(tmp_path: Path) -> None:
    """A header of 160 million pixels, and few bytes: not decoded, since its image is 10 x 8."""
    save(tmp_path, "a", one_object())
    path = tmp_path / "labels/a.png"
    data = bytearray(path.read_bytes())
    data[20:24] = (16_000_000).to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with bounded(megabytes=50):
        refused(tmp_path, "labels/a.png", "10 x 8", "10 x 16000000")


def test_large_labels_without_a_warning(tmp_path: Path) -> None:
    """Pillow warns of images that we allow, by two lines on the terminal for each."""
    save(tmp_path, "a", one_object())
    Image.new("1", (9_500, 9_500)).save(tmp_path / "labels/a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_ids(tmp_path / "labels/a.png", (9_500, 9_500)).shape == (9_500, 9_500)
        assert upright_size(tmp_path / "labels/a.png") == (9_500, 9_500)


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    save(tmp_path, "a", one_object())
    save(tmp_path, "a", one_object(), ".jpg")
    refused(tmp_path, "'a.jpg'", "'a.png'", "stem")


def test_nothing_labelled(tmp_path: Path) -> None:
    refused(tmp_path, "images", "no such folder")
    save(tmp_path, "a", np.zeros((4, 5), dtype=np.uint8))
    refused(tmp_path, "0 everywhere")
    (tmp_path / "labels/a.png").unlink()
    refused(tmp_path, "empty data set")


def subjects(folder: Path) -> list[Subject]:
    ids = one_object()
    ids[6:8, 1:3] = 7
    save(folder, "a", ids)
    save(folder, "b", np.zeros((4, 5), dtype=np.uint8))
    spoilt = [folder / name for name in ("labels/a.png", "labels/b.png", "images/a.png")]
    return [Subject(folder, folder, read_instance_labels, looks_like_instance_png, spoilt, by_folder=True)]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_nuclei() -> None:
    begin = time.process_time()
    dataset = read_instance_labels(SHARED / "data/nuclei/val")
    assert time.process_time() - begin < 5
    assert len(dataset) == 66 and dataset.classes == ["object"] and not dataset.problems
    image = dataset.image(0)
    assert dataset.pixels(0).shape == (image.height, image.width, 3)
    ids = np.asarray(Image.open(SHARED / "data/nuclei/val/labels" / image.file_name))
    assert len(image.annotations) == len(np.unique(ids[ids > 0]))
