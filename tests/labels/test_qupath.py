"""QuPath's GeoJSON: what it exports read back, and one test for each thing gone wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import claims
import pytest
from claims import bitmap
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.options import LabelOptions
from maskrcnn.labels.readers.qupath import looks_like_qupath, read_qupath
from maskrcnn.masks.rle import rle_area

HEIGHT, WIDTH = 20, 30
PLANE = {"c": -1, "z": 0, "t": 0}


def ring(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def feature(name: str | None, *rings: Any, kind: str = "annotation", **properties: Any) -> dict[str, Any]:
    """As QuPath 0.5 writes one."""
    said = {"objectType": kind, **properties}
    if name is not None:
        said["classification"] = {"name": name, "color": [200, 0, 0]}
    geometry = {"type": "Polygon", "coordinates": list(rings), "plane": PLANE}
    return {"type": "Feature", "id": "8f6e-1", "geometry": geometry, "properties": said}


def write(folder: Path, *features: Any, name: str = "a.tif.geojson", plain: bool = False) -> Path:
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.tif")
    document = list(features) if plain else {"type": "FeatureCollection", "features": list(features)}
    (folder / name).write_text(json.dumps(document))
    return folder / name


def repaired(source: Path, *kinds: str, **arguments: Any) -> FileDataset:
    return claims.repaired(read_qupath(source, **arguments), *kinds)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", ["a.geojson", "a.tif.geojson", "x/a.geojson", "a.json"])
def test_a_good_export(tmp_path: Path, name: str, plain: bool) -> None:
    (tmp_path / "x").mkdir()
    square = feature("Tumor", ring(4, 2, 14, 12), ring(6, 4, 9, 8), isLocked=True, measurements={"Area": 9.5})
    both = feature("Stroma")
    both["geometry"] = {"type": "MultiPolygon", "coordinates": [[ring(1, 1, 3, 3)], [ring(20, 5, 25, 9)]]}
    path = write(tmp_path, square, both, name=name, plain=plain)
    assert looks_like_qupath(path) and detect(tmp_path).name == "qupath"
    dataset = repaired(tmp_path)
    assert dataset.classes == ["Stroma", "Tumor"]
    (image,) = dataset
    first, second = image.annotations
    assert image.file_name == "a.tif" and first.label == 1 and first.box == (4, 2, 14, 12)
    assert bitmap(first, image).sum() == 100 - 12
    assert second.box == (1, 1, 25, 9) and second.area == 4 + 20


def test_classes(tmp_path: Path) -> None:
    """Names of QuPath 0.6 are lists; without classes all are objects, or what was detected."""
    square = ring(4, 2, 14, 12)
    several = feature(None, square)
    several["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    path = write(tmp_path, several, feature(None, square), feature("Ignore*", square))
    kinds = ["object without a class dropped", "object of a class that QuPath ignores left out"]
    assert repaired(path, *kinds).classes == ["Tumor: Positive"]
    write(tmp_path, feature(None, square), feature(None, square))
    assert repaired(path).classes == ["object"]
    write(tmp_path, feature(None, square), feature(None, square, kind="detection"))
    dataset = repaired(path, "object without a class dropped")
    assert dataset.classes == ["object"] and len(dataset.image(0).annotations) == 1
    named = [feature("x", square), feature("x", square)]
    for one, name in zip(named, ("one", "two"), strict=True):
        one["properties"]["name"] = name
    write(tmp_path, *named)
    assert open_dataset(path, options=LabelOptions(class_attribute="name")).classes == ["one", "two"]


def test_classes_of_other_tools(tmp_path: Path) -> None:
    """Without a classification any text may be the class, which is said."""
    trees = [feature(None, ring(4, 2, 14, 12), species=name) for name in ("oak", "elm")]
    path = write(tmp_path, *trees)
    assert repaired(path, *["property that may be the class left out"] * 2).classes == ["object"]
    assert repaired(path, class_attribute="species").classes == ["elm", "oak"]
    claims.refused(
        lambda: read_qupath(path, class_attribute="specis"), path, "'specis'", "there are: 'species'"
    )


def test_cells_and_what_they_lie_in(tmp_path: Path) -> None:
    cell = feature("Cell", ring(5, 5, 9, 9), kind="cell")
    cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": [ring(6, 6, 7, 7)]}
    region = feature("Region", ring(1, 1, 20, 18), childObjects=[cell])
    (image,) = repaired(write(tmp_path, region))
    assert [a.box for a in image.annotations] == [(1, 1, 20, 18), (5, 5, 9, 9)]


def test_kinds_of_objects_as_qupath_02_writes_them(tmp_path: Path) -> None:
    """As the id of a feature: cells were read beside the region that they lie in, and tiles as objects."""
    features = []
    for kind in ("Annotation", "Cell", "Tile"):
        features.append(feature(None, ring(5, 5, 9, 9)) | {"id": f"Path{kind}Object"})
        del features[-1]["properties"]["objectType"]
    kinds = ["object without a class dropped", "shape of an unread kind left out"]
    (image,) = repaired(write(tmp_path, *features, plain=True), *kinds)
    assert len(image.annotations) == 1


def test_what_is_no_object(tmp_path: Path) -> None:
    point, line, none = feature("a"), feature("a"), feature("a")
    point["geometry"] = {"type": "MultiPoint", "coordinates": [[1, 1]]}
    line["geometry"] = {"type": "LineString", "coordinates": [[1, 1], [2, 2]]}
    none["geometry"] = None
    other = feature("a", ring(1, 1, 5, 5))
    other["geometry"]["plane"] = {"z": 3, "t": 0}
    tile = feature("a", ring(1, 1, 5, 5), kind="tile")
    kinds = ["shape of an unread kind left out"] * 4 + ["shape on another page of a stack left out"]
    path = write(tmp_path, point, line, none, other, tile, feature("a", ring(1, 1, 5, 5)))
    assert len(repaired(path, *kinds).image(0).annotations) == 1


def test_what_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 7)
    claims.refused(lambda: read_qupath(path), path, "feature 1", "export the objects again")
    write(tmp_path, feature("a", ring(1, 1, 5, 5)), name="b.geojson")
    claims.refused(lambda: read_qupath(tmp_path), "b.geojson", "no image of its name")
    (tmp_path / "b.geojson").rename(tmp_path / "a.geojson")
    write(tmp_path, feature("a", ring(1, 1, 5, 5)))
    claims.refused(lambda: read_qupath(tmp_path), "'a.geojson' is for image 'a.tif' too")
    (tmp_path / "a.tif").unlink()
    claims.refused(lambda: read_qupath(tmp_path), "no image of its name")


def test_an_image_without_a_file(tmp_path: Path) -> None:
    write(tmp_path, feature("a", ring(1, 1, 5, 5)))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "b.png")
    assert len(repaired(tmp_path, "image without an annotation file left out")) == 1


def test_files_beside_the_splits_are_told(tmp_path: Path) -> None:
    for place in (".", "train", "val"):
        (tmp_path / place).mkdir(exist_ok=True)
        write(tmp_path / place, feature("a", ring(1, 1, 5, 5)))
    dataset = claims.repaired(open_dataset(tmp_path, "train"), "labels beside the splits left out")
    assert len(dataset) == 1 and "'a.tif.geojson'" in dataset.problems.lines()[0]


def subjects(folder: Path) -> list[Subject]:
    cell = feature("Cell", ring(5, 5, 9, 9), ring(6, 6, 7, 7), kind="cell")
    path = write(
        folder, feature("Tumor", ring(4, 2, 14, 12), childObjects=[cell]), feature("b", ring(1, 1, 3, 4))
    )
    return [Subject(folder, folder, read_qupath, looks_like_qupath, [path])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_folders_of_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for folder in ("images", "annotations"):
            (tmp_path / folder / split).mkdir(parents=True)
        Image.new("RGB", (50, 50)).save(tmp_path / f"images/{split}/{split}.png")
        ring = [[1, 1], [9, 1], [9, 9], [1, 1]]
        feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
                   "properties": {"objectType": "annotation", "classification": {"name": "a"}}}  # fmt: skip
        collection = {"type": "FeatureCollection", "features": [feature]}
        (tmp_path / f"annotations/{split}/{split}.geojson").write_text(json.dumps(collection))
    for split in ("train", "val"):
        assert [image.file_name for image in open_dataset(tmp_path, split)] == [f"images/{split}/{split}.png"]


def test_a_ring_that_encloses_nothing_fills_no_hole(tmp_path: Path) -> None:
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    outer = [[5, 5], [55, 5], [55, 55], [5, 55], [5, 5]]
    hole = [[20, 20], [40, 20], [40, 40], [20, 40], [20, 20]]
    geometry = {"type": "MultiPolygon", "coordinates": [[outer, hole], [[[1, 1], [2, 2], [1, 1]]]]}
    feature = {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": "a"}}}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    dataset = repaired(tmp_path, "polygon that is no ring of three points dropped")
    assert rle_area(dataset.image(0).annotations[0].rle or {}) == 2500 - 400
