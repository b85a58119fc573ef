"""Cityscapes: the same scenes as images of ids and as polygons, and what is wrong with either."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image, ImageDraw

from maskrcnn.errors import UserError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.cityscapes import CLASSES, looks_like_cityscapes, read_cityscapes
from maskrcnn.masks.rle import rle_bitmap, rle_box

HEIGHT, WIDTH = 24, 40
ROAD, POLE = 7, 17
STUFF = {"road": ROAD, "pole": POLE, "license plate": -1, "caravan": 29}
# from back to front: label and box xyxy, the last pixel inside, as Pillow draws a polygon
SCENE: list[tuple[str, tuple[int, int, int, int]]] = [
    ("road", (0, 10, 39, 23)),
    ("car", (2, 4, 19, 15)),
    ("car", (10, 8, 29, 19)),
    ("license plate", (14, 12, 16, 13)),
    ("persongroup", (30, 2, 33, 9)),
    ("person", (33, 3, 36, 12)),
    ("persongroup", (0, 18, 5, 20)),
    ("pole", (22, 0, 23, 23)),
]
KEY = "ulm/ulm_000000_000019"


def corners(box: tuple[int, int, int, int]) -> list[list[int]]:
    x0, y0, x1, y1 = box
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def polygons_of(scene: list[tuple[str, tuple[int, int, int, int]]]) -> dict[str, Any]:
    objects = [{"label": label, "polygon": corners(box)} for label, box in scene]
    return {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects}


def ids_of(scene: list[tuple[str, tuple[int, int, int, int]]]) -> np.ndarray:
    """As json2instanceImg.py writes it."""
    image = Image.new("I", (WIDTH, HEIGHT), 0)
    counts: dict[str, int] = {}
    for label, (x0, y0, x1, y1) in scene:
        name = label.removesuffix("group")
        value = {**CLASSES, **STUFF}[name]
        if label in CLASSES or label == "caravan":
            value = value * 1000 + counts.setdefault(label, 0)
            counts[label] += 1
        if value >= 0:
            ImageDraw.Draw(image).rectangle((x0, y0, x1, y1), fill=value)
    return np.asarray(image).astype(np.uint16)


class Folder:
    """gtFine beside leftImg8bit, to be spoilt by a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.document = polygons_of(SCENE)
        self.ids = root / f"gtFine/train/{KEY}_gtFine_instanceIds.png"
        self.polygons = root / f"gtFine/train/{KEY}_gtFine_polygons.json"
        self.image = root / f"leftImg8bit/train/{KEY}_leftImg8bit.png"
        for path in (self.polygons, self.image):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(self.image)

    def write(self, document: Any = None) -> None:
        self.polygons.write_text(json.dumps(self.document if document is None else document))

    def repaired(self, **kinds: int) -> FileDataset:
        counts = Counter({kind.replace("_", " "): count for kind, count in kinds.items()})
        return repaired(read_cityscapes(self.root), *counts.elements())

    def refused(self, *words: str) -> None:
        refused(lambda: read_cityscapes(self.root), *words)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize("source", ["ids", "polygons"])
def test_a_scene(folder: Folder, source: str) -> None:
    ids = ids_of(SCENE)
    if source == "ids":
        Image.fromarray(ids).save(folder.ids)
        folder.polygons.write_text("not read where there are ids")
    else:
        folder.write()
    dataset = folder.repaired()
    assert looks_like_cityscapes(folder.root)
    assert dataset.classes == list(CLASSES) and dataset.class_ids == [24, 25, 26, 27, 28, 31, 32, 33]
    (image,) = dataset
    assert (image.file_name, image.height, image.width) == (f"{KEY}_leftImg8bit.png", HEIGHT, WIDTH)
    assert dataset.pixels(0).shape == (HEIGHT, WIDTH, 3)
    # both groups are one crowd, and the first car is behind the second
    expected = [("person", 24, True), ("person", 24000, False), ("car", 26000, False), ("car", 26001, False)]
    assert [(dataset.classes[a.label], a.crowd) for a in image.annotations] == [
        (n, c) for n, _, c in expected
    ]
    for annotation, (_, value, _) in zip(image.annotations, expected, strict=True):
        np.testing.assert_array_equal(rle_bitmap(annotation.rle), ids == value)
        assert annotation.box == rle_box(annotation.rle) and annotation.area == (ids == value).sum() > 0


def test_splits(folder: Folder) -> None:
    folder.write()
    for split, key in (("val", "bonn/bonn_1"), ("val", "bonn/bonn_0"), ("extra", "x/x_1")):
        for old, parent, ending in (
            (folder.polygons, "gtFine", "_gtFine_polygons.json"),
            (folder.image, "leftImg8bit", "_leftImg8bit.png"),
        ):
            path = folder.root / parent / split / f"{key}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(old.read_bytes())
    assert [p.file_name for p in read_cityscapes(folder.root)] == [f"{KEY}_leftImg8bit.png"]
    names = [p.file_name for p in read_cityscapes(folder.root, "val")]
    assert names == ["bonn/bonn_0_leftImg8bit.png", "bonn/bonn_1_leftImg8bit.png"]
    assert len(read_cityscapes(folder.root, "extra")) == 1
    for split in ("test", "../train", ""):
        with pytest.raises(UserError, match="train, val, extra"):
            read_cityscapes(folder.root, split)


# ---- what is counted


def test_image_without_labels(folder: Folder) -> None:
    folder.write()
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder.image.with_name("ulm_1_leftImg8bit.png"))
    repaired(read_cityscapes(folder.root), "image without gtFine labels left out")


@pytest.mark.parametrize("source", ["ids", "polygons"])
def test_caravan(folder: Folder, source: str) -> None:
    scene = [*SCENE, ("caravan", (0, 0, 3, 3))]
    if source == "ids":
        Image.fromarray(ids_of(scene)).save(folder.ids)
    folder.write(polygons_of(scene))
    assert len(folder.repaired(caravan_or_trailer_left_out=1).image(0).annotations) == 4


def test_unknown_id(folder: Folder) -> None:
    ids = ids_of(SCENE)
    ids[0, 0], ids[0, 1] = 65535, 999
    Image.fromarray(ids).save(folder.ids)
    folder.repaired(instance_of_an_unknown_class_dropped=1)


def test_unknown_label(folder: Folder) -> None:
    """It hides what is behind it, as all that is drawn does."""
    folder.document["objects"] += [
        {"label": "bicyclist", "polygon": corners((0, 0, 3, 3))},
        {"label": "carsgroup", "polygon": corners((0, 0, 3, 3))},
    ]
    folder.write()
    folder.repaired(label_that_Cityscapes_does_not_have_taken_as_background=2)


def test_hidden_object(folder: Folder) -> None:
    folder.document["objects"].insert(0, {"label": "bus", "polygon": corners((3, 12, 8, 14))})
    folder.write()
    folder.repaired(object_hidden_by_later_ones_dropped=1)


def test_deleted_object(folder: Folder) -> None:
    folder.document["objects"].append({"label": "bus", "polygon": corners((0, 0, 39, 23)), "deleted": 1})
    folder.write()
    assert len(folder.repaired().image(0).annotations) == 4


@pytest.mark.parametrize(
    ("polygon", "kind"),
    [
        ([[1, 2], [3, 4]], "polygon that is no ring of three points dropped"),
        ([[1, 2, 3]] * 4, "polygon that is no ring of three points dropped"),
        ([[1, "x"]] * 4, "polygon that is no ring of three points dropped"),
        ([[10**400, 2], [3, 4], [5, 6]], "polygon that is no ring of three points dropped"),
        (None, "polygon that is no ring of three points dropped"),
        ([[1, 2], [3, 4], [5, float("nan")]], "non-finite coordinates dropped"),
        ([[1, None], [3, 4], [5, 6]], "non-finite coordinates dropped"),
    ],
)
def test_polygon_that_is_none(folder: Folder, polygon: Any, kind: str) -> None:
    folder.document["objects"].append({"label": "bus", "polygon": polygon})
    folder.write()
    repaired(read_cityscapes(folder.root), kind)


@pytest.mark.parametrize("record", [None, {}, {"label": 3}, {"label": ""}, []])
def test_object_without_a_class(folder: Folder, record: Any) -> None:
    folder.document["objects"].append(record)
    folder.write()
    folder.repaired(object_without_a_class_dropped=1)


def test_polygon_far_outside(folder: Folder) -> None:
    folder.document["objects"].append({"label": "bus", "polygon": [[-1e308, 20], [1e308, 20], [0, 1e308]]})
    folder.write()
    bus = folder.repaired().image(0).annotations[-1]
    assert bus.box == (0, 20, 40, 24)


def test_more_than_a_thousand(folder: Folder) -> None:
    cars = [("car", (k % 40, k // 40 % 24, k % 40, k // 40 % 24)) for k in range(1200)]
    folder.write(polygons_of(cars))
    dataset = folder.repaired(object_hidden_by_later_ones_dropped=240)
    assert len(dataset.image(0).annotations) == 960


# ---- what is refused


def test_nothing_there(folder: Folder, tmp_path: Path) -> None:
    folder.refused("_gtFine_polygons.json")
    folder.write(polygons_of([("road", (0, 0, 9, 9))]))
    folder.refused("no object")
    with pytest.raises(UserError, match="gtFine"):
        read_cityscapes(tmp_path / "none")
    assert not looks_like_cityscapes(tmp_path / "none")


def test_missing_image(folder: Folder) -> None:
    folder.write()
    folder.image.unlink()
    folder.refused("_leftImg8bit.png")
    Image.fromarray(ids_of(SCENE)).save(folder.ids)
    folder.refused("1 of 1 image files")


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH + 1), (10**9, 10**9), (10**400, None), ("x", [])])
def test_size_that_disagrees(folder: Folder, size: tuple[Any, Any]) -> None:
    folder.document["imgHeight"], folder.document["imgWidth"] = size
    folder.write()
    folder.refused("imgHeight", "24 x 40")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"objects": 3}', "[" * 100_000, "\xff", '{"objects": []' + "9" * 5000]
)
def test_broken_json(folder: Folder, text: str) -> None:
    folder.polygons.write_text(text, encoding="latin-1")
    folder.refused("polygons.json")


def test_broken_ids(folder: Folder) -> None:
    Image.fromarray(ids_of(SCENE)).save(folder.ids)
    good = folder.ids.read_bytes()
    folder.ids.write_bytes(good[: len(good) // 2])
    folder.refused("instanceIds.png", "not readable")
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder.ids)
    folder.refused("mode RGB")
    for value in (-1, 2**16):
        Image.fromarray(np.full((HEIGHT, WIDTH), value, dtype=np.int32)).save(folder.ids, format="TIFF")
        folder.refused("beyond 65535")


def test_link_that_leaves(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "a.json"
    outside.write_text(json.dumps(folder.document))
    folder.polygons.symlink_to(outside)
    folder.refused("link")


def subjects(folder: Path) -> list[Subject]:
    """One with polygons, one with ids, in which one image has only one or the other."""
    found = []
    for source in ("ids", "polygons"):
        spoilt = Folder(folder / source)
        spoilt.write()
        if source == "ids":
            Image.fromarray(ids_of(SCENE)).save(spoilt.ids)
        path = spoilt.ids if source == "ids" else spoilt.polygons
        found.append(
            Subject(spoilt.root, spoilt.root, read_cityscapes, looks_like_cityscapes, [path], by_folder=True)
        )
    return found


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))
