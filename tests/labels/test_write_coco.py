"""What is written is read again as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from maskrcnn.config.model import KeypointSchema
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.masks.rle import bitmap_rle, rle_bitmap, runs_rle, string_runs

SHARED = Path(__file__).parents[3] / "shared"
HEIGHT, WIDTH = 24, 36
SCHEMA = KeypointSchema(
    names=["tip", "left", "right"], flip=[0, 2, 1], skeleton=[(0, 1)], sigmas=[0.1, 0.2, 0.3]
)


@st.composite
def annotations(draw: st.DrawFn, number: int) -> Annotation:
    def side(limit: int) -> tuple[float, float]:
        low = draw(st.floats(0, limit - 2))
        return low, draw(st.floats(low + 1, limit))

    (x0, x1), (y0, y1) = side(WIDTH), side(HEIGHT)
    annotation = Annotation((x0, y0, x1, y1), draw(st.integers(0, 2)), crowd=draw(st.booleans()), id=number)
    annotation.area = draw(st.floats(0.5, 1000))
    kind = draw(st.sampled_from(["box", "polygons", "rle"]))
    if kind == "polygons":
        annotation.polygons = [
            np.array([[x0, y0], [x1, y0], [x1, y1]]),
            np.array([[x0, y0], [x1, y1], [x0, y1]]),
        ]
    if kind == "rle":
        bitmap = np.random.default_rng(draw(st.integers(0, 99))).random((HEIGHT, WIDTH)) < 0.3
        annotation.rle = bitmap_rle(bitmap)
    if annotation.label == 1:
        annotation.keypoints = np.array([[x0, y0, 2], [x1, y1, 1], [0, 0, 0]], dtype=float)
    return annotation


@st.composite
def datasets(draw: st.DrawFn) -> FileDataset:
    images = []
    number = draw(st.integers(0, 5))
    for index in range(draw(st.integers(1, 3))):
        image = LabelledImage(
            draw(st.sampled_from([index, f"id {index}"])), f"{index}.png", None, HEIGHT, WIDTH
        )
        for _ in range(draw(st.integers(0, 3))):
            number += draw(st.integers(1, 3))
            image.annotations.append(draw(annotations(number)))
        images.append(image)
    number += 1
    images[0].annotations.append(Annotation((1, 1, 2, 2), 1, keypoints=np.ones((3, 3)), area=1.0, id=number))
    return FileDataset(
        images,
        DatasetInfo(
            name="drawn",
            classes=["a", "b", "c"],
            class_ids=draw(st.permutations([0, 7, 90])),
            keypoints=SCHEMA,
        ),
    )


def assert_same(found: LabelledImage, expected: LabelledImage) -> None:
    assert (found.image_id, found.height, found.width) == (expected.image_id, expected.height, expected.width)
    assert len(found.annotations) == len(expected.annotations)
    for a, b in zip(found.annotations, expected.annotations, strict=True):
        np.testing.assert_allclose(a.box, b.box, atol=1e-9)
        assert (a.label, a.crowd, a.area, a.id, a.rle) == (b.label, b.crowd, b.area, b.id, b.rle)
        assert (a.polygons is None) == (b.polygons is None)
        for ring, other in zip(a.polygons or [], b.polygons or [], strict=True):
            np.testing.assert_array_equal(ring, other)
        assert (a.keypoints is None) == (b.keypoints is None)
        if a.keypoints is not None:
            np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(datasets())
def test_round_trip(dataset: FileDataset) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out/labels.json"
        write_coco(dataset, path)
        for image in dataset:
            Image.new("L", (WIDTH, HEIGHT)).save(path.parent / image.file_name)
        again = read_coco(path)
        assert not again.problems, again.problems.lines()
        assert (again.classes, again.class_ids, again.keypoints) == (
            dataset.classes,
            dataset.class_ids,
            SCHEMA,
        )
        assert len(again) == len(dataset)
        for found, expected in zip(again, dataset, strict=True):
            assert_same(found, expected)
        assert sorted(p.name for p in path.parent.iterdir() if p.suffix != ".png") == ["labels.json"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=12))
def test_runs_of_compressed_strings(runs: list[int]) -> None:
    total = sum(runs)
    if total == 0:
        return
    np.testing.assert_array_equal(string_runs(runs_rle(runs, total, 1)["counts"]), runs)


def test_bitmaps() -> None:
    bitmap = np.random.default_rng(0).random((7, 9)) < 0.5
    for same in (bitmap, bitmap.astype(np.uint8) * 255, np.asfortranarray(bitmap), bitmap.astype(float)):
        np.testing.assert_array_equal(rle_bitmap(bitmap_rle(same)), bitmap)


class Drawn(FileDataset):
    """Images that are not in files."""

    def pixels(self, index: int) -> np.ndarray:
        return np.full((HEIGHT, WIDTH, 3), index, dtype=np.uint8)


def drawn(*file_names: str) -> Drawn:
    images = [
        LabelledImage(n, name, None, HEIGHT, WIDTH, [Annotation((1, 2, 5, 6), 0, area=16.0)])
        for n, name in enumerate(file_names)
    ]
    return Drawn(images, DatasetInfo("drawn", ["a"], [5]))


def test_images_are_written(tmp_path: Path) -> None:
    dataset = drawn("a.jpg", "a.png", "sub/b", "../c.png", "/etc/d.png")
    write_coco(dataset, tmp_path / "set.json", tmp_path / "images")
    again = read_coco(tmp_path / "set.json")
    assert len(again) == 5 and again.class_ids == [5]
    assert [int(again.pixels(index)[0, 0, 0]) for index in range(5)] == list(range(5))
    assert all(tmp_path / "images" in path.resolve().parents for path in tmp_path.rglob("*.png"))
    assert [image.annotations[0].id for image in again] == [1, 2, 3, 4, 5], "equal ids become numbers from 1"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text("old")
    dataset = drawn("a")
    dataset.class_ids[:] = [object()]  # type: ignore[list-item]
    with pytest.raises(TypeError):
        write_coco(dataset, path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["set.json"]


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_pycocotools_reads_the_same_masks(tmp_path: Path) -> None:
    source = SHARED / "data/coco_person_480/val.json"
    write_coco(read_coco(source), tmp_path / "val.json")
    ours, theirs = COCO(str(tmp_path / "val.json")), COCO(str(source))
    assert ours.anns.keys() == theirs.anns.keys()
    for number, annotation in list(theirs.anns.items())[:200]:
        same: dict[str, Any] = ours.anns[number]
        assert same["category_id"] == annotation["category_id"] and same["image_id"] == annotation["image_id"]
        np.testing.assert_allclose(same["bbox"], annotation["bbox"], atol=1e-9)
        assert coco_mask.area(ours.annToRLE(same)) == coco_mask.area(theirs.annToRLE(annotation))
        assert same["num_keypoints"] == annotation["num_keypoints"]
        labelled = np.reshape(annotation["keypoints"], (-1, 3))
        labelled = labelled * (labelled[:, 2:] > 0)
        np.testing.assert_allclose(np.reshape(same["keypoints"], (-1, 3)), labelled, atol=1e-6)
