"""Supervisely projects: polygons with holes, bitmaps, rectangles, and what broken files come to."""

from __future__ import annotations

import base64
import copy
import io
import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused
from fuzz import Subject, check_spoilt
from PIL import Image
from samples_masks import packed_bitmap

from maskrcnn.errors import DataError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.supervisely import looks_like_supervisely, read_supervisely
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 40, 60


def blob() -> np.ndarray:
    mask = np.ones((5, 7), dtype=np.uint8)
    mask[1, 2] = mask[0, 0] = 0
    return mask


def figure(title: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": 1, "classTitle": title, "geometryType": kind, "tags": [], "description": ""} | fields


def rings(exterior: list[list[float]], interior: list[Any] | None = None) -> dict[str, Any]:
    return {"exterior": exterior, "interior": interior or []}


META = {
    "classes": [
        {"title": "car", "shape": "any", "color": "#F00", "id": 901},
        {"title": "cell", "shape": "bitmap", "color": "#0F0", "id": 17},
    ],
    "tags": [],
}
HOLE = [[24, 14], [32, 14], [32, 22], [24, 22]]
GOOD: dict[str, Any] = {
    "description": "",
    "size": {"height": HEIGHT, "width": WIDTH},
    "tags": [],
    "objects": [
        figure("car", "rectangle", points=rings([[4, 2], [13, 11]])),
        figure("car", "polygon", points=rings([[20, 10], [40, 10], [40, 30], [20, 30]], [HOLE])),
        figure("car", "polygon", points=rings([[45, 10], [55, 10], [55, 20]])),
        figure("cell", "bitmap", bitmap={"data": packed_bitmap(blob()), "origin": [8, 30]}),
    ],
}


class Files:
    """A project with one data set, to be spoilt by a test."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.ann = self.project / "ds0/ann/a.png.json"
        self.image = self.project / "ds0/img/a.png"
        self.ann.parent.mkdir(parents=True, exist_ok=True)
        self.image.parent.mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(self.image)
        self.meta = copy.deepcopy(META)
        self.document = copy.deepcopy(GOOD)
        self.figures: list[Any] = self.document["objects"]

    def write(self) -> None:
        (self.project / "meta.json").write_text(json.dumps(self.meta))
        self.ann.write_text(json.dumps(self.document))

    def read(self) -> FileDataset:
        self.write()
        return read_supervisely(self.project)

    def refused(self, *words: str) -> None:
        refused(self.read, *words)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_project(files: Files) -> None:
    dataset = files.read()
    assert looks_like_supervisely(files.project) and looks_like_supervisely(files.project / "ds0")
    assert not looks_like_supervisely(files.project / "ds0/ann")
    assert dataset.classes == ["car", "cell"] and dataset.class_ids == [901, 17] and not dataset.problems
    image = dataset.image(0)
    assert (image.image_id, image.file_name, image.width) == (1, "ds0/img/a.png", WIDTH)
    box, holed, plain, bitmap = image.annotations
    assert box.box == (4.0, 2.0, 14.0, 12.0) and box.rle is None  # pixel 13 is inside
    mask = rle_bitmap(holed.rle)
    assert mask[18, 28] == 0 and mask[12, 22] == 1 and holed.area == 20 * 20 - 8 * 8
    np.testing.assert_array_equal(plain.polygons[0], [[45.5, 10.5], [55.5, 10.5], [55.5, 20.5]])
    expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    expected[30:35, 8:15] = blob()
    np.testing.assert_array_equal(rle_bitmap(bitmap.rle), expected)
    assert bitmap.label == 1 and bitmap.box == (8.0, 30.0, 15.0, 35.0)


def test_coordinates_with_fractions_are_continuous(files: Files) -> None:
    files.figures[2]["points"]["exterior"][0] = [45.25, 10]
    box, _, plain, _ = files.read().image(0).annotations
    assert box.box == (4.0, 2.0, 13.0, 11.0)
    np.testing.assert_array_equal(plain.polygons[0], [[45.25, 10], [55, 10], [55, 20]])


def test_data_sets_of_a_project(files: Files) -> None:
    files.write()
    nested = files.project / "ds0/datasets/inner"
    (nested / "img").mkdir(parents=True)
    (nested / "ann").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(nested / "img/b.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(nested / "img/c.png")
    (nested / "ann/b.png.json").write_text(json.dumps(GOOD))
    dataset = read_supervisely(files.project)
    assert [image.file_name for image in dataset] == ["ds0/img/a.png", "ds0/datasets/inner/img/b.png"]
    assert dataset.problems.texts() == {"image without an annotation file left out": 1}
    alone = read_supervisely(nested)
    assert [image.file_name for image in alone] == ["img/b.png"]


@pytest.mark.parametrize("mode", ["L", "1", "RGBA", "LA", "RGB"])
def test_bitmaps_of_every_mode(files: Files, mode: str) -> None:
    image = Image.fromarray(blob() * 255)
    if mode in ("RGBA", "LA"):
        image.putalpha(image.copy())
    file = io.BytesIO()
    image.convert(mode).save(file, format="PNG")
    files.figures[3]["bitmap"]["data"] = base64.b64encode(zlib.compress(file.getvalue())).decode()
    assert files.read().image(0).annotations[3].area == blob().sum()


@pytest.mark.parametrize(
    ("change", "kind", "count"),
    [
        ({"tags": [{"name": "x"}, {"name": "y"}]}, "tag left out", 2),
        ({"geometryType": "line"}, "shape of an unread kind left out", 1),
        ({"geometryType": "graph", "nodes": {}}, "shape of an unread kind left out", 1),
        ({"instance": "abc"}, "figure bound to others kept apart", 1),
        ({"points": rings([[1, 1], [5, 5]])}, "polygon that is no ring of three points dropped", 1),
        ({"points": rings([[1e308, 1], [5, 5], [1, 5]])}, "outline too long to draw dropped", 1),
        ({"points": rings([[10**400, 1], [5, 5], [1, 5]])}, "non-finite coordinates dropped", 1),
        ({"points": None}, "annotation without a usable box dropped", 1),
        ({"geometryType": "rectangle", "points": rings([[1, 1]])}, "non-finite coordinates dropped", 1),
        ({"geometryType": "bitmap", "bitmap": {"data": packed_bitmap(blob()), "origin": [57, 3]}},
         "mask clipped to the image", 1),
    ],
)  # fmt: skip
def test_counted(files: Files, change: dict[str, Any], kind: str, count: int) -> None:
    files.figures[2] |= change
    dataset = files.read()
    assert dataset.problems.texts()[kind] == count and any(kind in line for line in dataset.problems.lines())


def test_tags_of_a_image(files: Files) -> None:
    files.document["tags"] = [{"name": "night"}]
    assert files.read().problems.texts() == {"tag left out": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.figures[0].update(classTitle="bus"), ["object 0 of a.png.json", "'bus'"]),
        (lambda f: f.figures.append(3), ["object 4"]),
        (lambda f: f.document.pop("objects"), ["objects"]),
        (lambda f: f.document["size"].update(width=10**400), ["real size"]),
        (lambda f: f.document.update(size={"height": 1e308, "width": 3}), ["real size"]),
        (lambda f: f.figures[3]["bitmap"].update(data="!!"), ["object 3", "base64"]),
        (
            lambda f: f.figures[3]["bitmap"].update(data=base64.b64encode(zlib.compress(b"x")).decode()),
            ["PNG"],
        ),
        (lambda f: f.figures[3]["bitmap"].update(origin=[1.5, 2]), ["origin"]),
        (lambda f: f.figures[3]["bitmap"].update(origin=None), ["origin"]),
        (lambda f: f.figures[3]["bitmap"].update(data=packed_bitmap(np.ones((900, 900)))), ["900 x 900"]),
        (lambda f: f.image.unlink(), ["missing"]),
        (lambda f: f.meta.update(classes=[]), ["classes"]),
        (lambda f: f.meta.update(classes=[{"id": 3}]), ["entry 0"]),
    ],
)
def test_refused(files: Files, change: Any, words: list[str]) -> None:
    change(files)
    files.refused(*words)


def test_a_bomb(files: Files) -> None:
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(100)) + packer.flush()
    files.figures[3]["bitmap"]["data"] = base64.b64encode(bomb).decode()
    files.refused("object 3", "64 MB")


def test_a_bitmap_that_claims_gigabytes(files: Files) -> None:
    raw = bytearray(zlib.decompress(base64.b64decode(packed_bitmap(blob()))))
    raw[16:24] = (10_000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    files.figures[3]["bitmap"]["data"] = base64.b64encode(zlib.compress(raw)).decode()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        files.refused("object 3", "10000 x 10000")


def test_json_nested_too_deep_and_links(files: Files) -> None:
    files.write()
    outside = files.project.parent / "b.json"
    outside.write_text(json.dumps(GOOD))
    (files.ann.parent / "b.png.json").symlink_to(outside)
    with pytest.raises(DataError, match="symbolic link"):
        read_supervisely(files.project)
    (files.ann.parent / "b.png.json").unlink()
    files.ann.write_bytes(b"[" * 100_000)
    with pytest.raises(DataError, match="not readable as JSON"):
        read_supervisely(files.project)
    with pytest.raises(DataError, match="no meta.json"):
        read_supervisely(files.project.parent)


def subjects(folder: Path) -> list[Subject]:
    files = Files(folder)
    files.write()
    meta = files.project / "meta.json"
    return [
        Subject(
            folder, files.project, read_supervisely, looks_like_supervisely, [meta, files.ann], by_folder=True
        )
    ]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))
