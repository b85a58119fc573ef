"""Label files of what was found are read back by our own readers as the same objects."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from blob_model import BlobModel, blobs
from fixed_model import FixedModel, image
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.images.read import read_image
from maskrcnn.images.regions import ArrayRegions
from maskrcnn.instances import Instances, Masks
from maskrcnn.labels.annotation_masks import annotation_window
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.types import Annotation, DatasetInfo
from maskrcnn.labels.writers.label_tiff import LabelTiffWriter
from maskrcnn.labels.writers.labelme import LabelMeWriter
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.masks.rle import bitmap_rle, polygons_rle, rle_bitmap
from maskrcnn.predict.files import predict_files
from maskrcnn.predict.kinds import LABELS
from maskrcnn.predict.predictor import predict
from maskrcnn.predict.writers.labels import LabelsWriter, annotations_of
from maskrcnn.predict.writers.writer import WrittenImage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of one name."""
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        Image.fromarray(image()).save(tmp_path / place / "a.png")
    return tmp_path


def save(folder: Path, kind: str, simplify: float = 0.0) -> Path:
    if kind == "labels":
        pytest.importorskip("tifffile")
    sources = [folder / "one", folder / "two"]
    summary = predict_files(FixedModel(), sources, folder / "out", save=[kind], simplify=simplify)
    assert summary.images == 2
    return folder / "out" / kind


@pytest.mark.parametrize("kind", sorted(set(LABELS) - {"map"}))
def test_the_same_objects_come_back(kind: str, folder: Path) -> None:
    written = save(folder, kind)
    found = predict(FixedModel(), folder / "one" / "a.png")
    assert isinstance(found, Instances) and found.masks is not None
    if kind == "label-studio":  # a person accepts the proposals
        tasks = json.loads((written / "tasks.json").read_text())
        assert [task["predictions"][0]["score"] for task in tasks] == [pytest.approx(0.6)] * 2
        for task in tasks:
            task["annotations"] = task.pop("predictions")
        (written / "tasks.json").write_text(json.dumps(tasks))
    if kind in ("geojson", "labels"):
        place = written / "images" if kind == "labels" else written
        place.mkdir(exist_ok=True)
        for number, name in enumerate(("a.png", "a_2.png")):
            (place / name).write_bytes((folder / ("one", "two")[number] / "a.png").read_bytes())
    again = open_dataset(written, "train")
    assert len(again) == 2
    for index in range(2):
        labelled = again.image(index)
        assert labelled.file_name.rpartition("/")[2] == ("a.png", "a_2.png")[index]
        assert np.array_equal(again.pixels(index), image())
        assert len(labelled.annotations) == len(found) == 2
        ids = np.zeros(labelled.size, int)
        for row, one in enumerate(labelled.annotations):
            if kind != "labels":
                assert again.classes[one.label] == found.names[row]
                window = annotation_window(one, labelled)
                assert window is not None
                x0, y0, bitmap = window
                ids[y0 : y0 + bitmap.shape[0], x0 : x0 + bitmap.shape[1]] |= bitmap << row
            else:
                ids |= (rle_bitmap(one.rle or {}) > 0) << row
        expected = sum(bitmap.astype(int) << row for row, bitmap in enumerate(found.masks.bitmaps()))
        assert np.array_equal(ids, expected)


def test_cvat_has_its_labels_where_other_tools_look(folder: Path) -> None:
    """As in an export of a task: Datumaro refuses a file without `meta/task` (its 1.13 was tried)."""
    document = ElementTree.parse(save(folder, "cvat") / "annotations.xml")
    assert [each.text for each in document.iterfind("meta/task/labels/label/name")] == ["cat", "dog"]


def blob(height: int, waves: int) -> np.ndarray:
    """A shape without straight edges: of few waves a nucleus, of more a person with arms and legs."""
    y, x = (np.mgrid[:height, : height * 2 // 3] + 0.5) / height * 2 - np.array([1, 2 / 3])[:, None, None]
    turn, radius = np.arctan2(y, x * 1.5), np.hypot(y, x * 1.5)
    inside: np.ndarray = radius < 0.7 + 0.15 * np.sin(waves * turn) + 0.1 * np.cos(3 * turn)
    return inside


EDITED = ("labelme", "label-studio", "cvat", "yolo", "geojson")


@pytest.mark.parametrize("kind", EDITED)
@pytest.mark.parametrize(("height", "waves"), [(15, 1), (400, 7)])
def test_outlines_for_editing_have_a_third_of_the_points(
    kind: str, height: int, waves: int, tmp_path: Path
) -> None:
    bitmap = blob(height, waves)
    Image.new("RGB", (400, 500)).save(tmp_path / "a.png")
    box = np.array([[20, 30, 20 + bitmap.shape[1], 30 + height]], np.float32)
    masks = Masks(np.zeros((1, 1, 1), np.float32), box, (500, 400), 0.5, {0: (20, 30, bitmap)})
    found = Instances(box, np.array([0.9]), np.zeros(1, int), ["cell"], (500, 400), masks)
    out = tmp_path / "out"
    writer = LabelsWriter(LABELS[kind](out, LeftOut(), tolerance=0.5), DatasetInfo("x", ["cell"], [1]))
    pixels = ArrayRegions(np.zeros((500, 400, 3), np.uint8))
    writer.begin(WrittenImage(1, "a.png", tmp_path / "a.png", "a", (500, 400), pixels))
    writer.add(found)
    writer.end()
    writer.close()
    if kind == "geojson":
        (out / "a.png").write_bytes((tmp_path / "a.png").read_bytes())
    (again,) = open_dataset(out, "train").image(0).annotations
    mask = polygons_rle(again.polygons or [], 500, 400)
    assert mask is not None
    back, exact = rle_bitmap(mask) > 0, masks.bitmaps()[0]
    iou, points = (back & exact).sum() / (back | exact).sum(), len((again.polygons or [])[0])
    full = len(masks.polygons()[0][0])
    print(f"{kind}, {height} pixels: {full} points, simplified {points}, IoU {iou:.4f}")
    assert iou > 0.98 and points <= full / 3


def test_geojson_is_what_qupath_reads(tmp_path: Path) -> None:
    """Key by key as `QuPathTypeAdapters` of QuPath 0.4 to 0.6 parses a FeatureCollection."""
    bitmap = np.zeros((60, 60), bool)
    bitmap[5:25, 5:25], bitmap[10:14, 10:14], bitmap[40:50, 30:55] = True, False, True
    box = np.array([[0, 0, 60, 60]] * 2, np.float32)
    known = {0: (20, 30, bitmap), 1: (20, 30, bitmap[:30])}
    masks = Masks(np.zeros((2, 1, 1), np.float32), box, (100, 100), 0.5, known)
    found = Instances(box, np.array([0.9, 0.8]), np.array([0, 1]), ["cell", "b"], (100, 100), masks)
    info = DatasetInfo("x", ["cell", "b"], [1, 2])
    writer = LabelsWriter(LABELS["geojson"](tmp_path, LeftOut(), tolerance=0.5, drafts=True), info)
    pixels = ArrayRegions(np.zeros((100, 100, 3), np.uint8))
    writer.begin(WrittenImage(1, "a.png", tmp_path / "a.png", "a", (100, 100), pixels))
    writer.add(found)
    writer.end()
    writer.close()
    document = json.loads((tmp_path / "a.geojson").read_text(), parse_constant=pytest.fail)
    assert document["type"] == "FeatureCollection"
    kinds = [feature["geometry"]["type"] for feature in document["features"]]
    assert kinds == ["MultiPolygon", "Polygon"]
    for feature, name in zip(document["features"], found.names, strict=True):
        assert feature["type"] == "Feature" and "id" not in feature  # an id has to be a UUID
        about = feature["properties"]
        assert set(about) == {"objectType", "classification", "measurements"}
        assert about["objectType"] == "detection" and about["classification"]["name"] == name
        colour = about["classification"]["color"]
        assert len(colour) == 3 and all(type(part) is int and 0 <= part <= 255 for part in colour)
        assert all(type(value) is float for value in about["measurements"].values())
        polygons = feature["geometry"]["coordinates"]
        polygons = polygons if feature["geometry"]["type"] == "MultiPolygon" else [polygons]
        assert [len(rings) for rings in polygons] == [2, 1][: len(polygons)]  # the first has a hole
        for ring in (ring for rings in polygons for ring in rings):
            assert len(ring) >= 4 and ring[0] == ring[-1]
            assert all(len(point) == 2 and 0 <= min(point) and max(point) <= 100 for point in ring)


def test_corrected_files_stay_when_an_image_is_done(tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.png")
    found = predict(FixedModel(), tmp_path / "a.png")
    assert isinstance(found, Instances)
    info = DatasetInfo("x", ["cat", "dog"], [1, 2])
    for done in (False, True):
        writer = LabelsWriter(LABELS["labelme"](tmp_path / "out", LeftOut()), info)
        writer.begin(WrittenImage(1, "a.png", tmp_path / "a.png", "a", found.size, None, done))  # type: ignore[arg-type]
        writer.add(found)
        writer.end()
        writer.close()
        path = tmp_path / "out" / "a.json"
        if not done:
            path.write_text("corrected")
    assert path.read_text() == "corrected"


def test_label_images_are_written_in_parts(tmp_path: Path) -> None:
    """The best object owns a pixel; what an image that never ended had is gone."""
    tifffile = pytest.importorskip("tifffile")
    lost = LeftOut()
    writer = LabelTiffWriter(tmp_path, lost)
    size, bitmap = (300, 400), np.ones((50, 60), bool)
    known = {0: (10, 20, bitmap), 1: (30, 40, bitmap), 2: (300, 200, bitmap)}
    boxes = np.array([(x, y, x + 60, y + 50) for x, y, _ in known.values()], np.float32)
    found = Instances(
        boxes, np.array([0.9, 0.8, 0.7]), np.zeros(3, int), ["cell"] * 3, size,
        Masks(np.zeros((3, 1, 1), np.float32), boxes, size, 0.5, known),
    )  # fmt: skip
    labels = LabelsWriter(writer, DatasetInfo("x", ["cell"], [1]))
    for name in ("a", "b"):
        labels.begin(WrittenImage(1, name, Path(f"{name}.png"), name, size, None))  # type: ignore[arg-type]
        labels.add(found[:2])
        labels.add(found[2:])
        writer.add([Annotation((1, 1, 2, 2), 0, rle=bitmap_rle(np.zeros(size, np.uint8)), area=0)])
        if name == "a":
            labels.end()
    labels.close()
    ids = tifffile.imread(tmp_path / "labels" / "a.tif")
    expected = np.zeros(size, np.uint32)
    expected[200:250, 300:360] = 3
    expected[40:90, 30:90] = 2
    expected[20:70, 10:70] = 1
    assert ids.dtype == np.uint32 and np.array_equal(ids, expected)
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["a.tif"]
    assert lost.counts["pixels that two objects share"] == 2 * 40 * 30


def test_keypoints_and_empty_masks_as_labels() -> None:
    boxes = np.array([[1, 2, 5, 9]], np.float32)
    found = Instances(
        boxes, np.array([0.9]), np.zeros(1, int), ["cell"], (20, 20),
        Masks(np.zeros((1, 1, 1), np.float32), boxes, (20, 20), 0.5, {0: (1, 2, np.zeros((2, 2), bool))}),
        keypoints=np.array([[[3, 4, 0.2]]], np.float32),
    )  # fmt: skip
    (one,) = annotations_of(found)
    assert one.rle is None and one.area == 28 and one.keypoints is not None
    assert one.keypoints.tolist() == [[3, 4, 2]]


def test_outlines_in_the_coordinates_of_a_map(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = image()
    transform = rasterio.Affine(0.5, 0, 600_000, 0, -0.5, 5_000_000)
    shape = {"width": 256, "height": 128, "count": 3, "dtype": "uint8"}
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32632", transform=transform, **shape) as file:
        file.write(pixels.transpose(2, 0, 1))
    Image.fromarray(pixels).save(tmp_path / "b.png")
    sources, out = [path, tmp_path / "b.png"], tmp_path / "out"
    summary = predict_files(FixedModel(), sources, out, save=["map", "geojson"])
    assert any(line.startswith("lost: image without a georeference: 1") for line in summary.notes)
    assert [each.name for each in (out / "map").iterdir()] == ["a.geojson"]
    mapped, plain = (json.loads((out / kind / "a.geojson").read_text()) for kind in ("map", "geojson"))
    assert mapped["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632" and "crs" not in plain
    assert len(mapped["features"]) == len(plain["features"]) == 2
    for one, other in zip(mapped["features"], plain["features"], strict=True):
        ring = np.array(one["geometry"]["coordinates"][0])
        back = (ring - (600_000, 5_000_000)) / (0.5, -0.5)
        # the way round is that of the map, whose y goes up
        expected = np.array(other["geometry"]["coordinates"][0])
        assert np.allclose(np.unique(back.round(6), axis=0), np.unique(expected.round(6), axis=0))


@pytest.mark.parametrize(
    ("kind", "channels"),
    [("labelme", 3), ("labelme", 4), ("cvat", 3), ("yolo", 3), ("coco-dataset", 3), ("coco-dataset", 4)],
)
def test_zarrs_and_pages_lie_beside_their_labels_as_images(kind: str, channels: int, tmp_path: Path) -> None:
    zarr, tifffile = pytest.importorskip("zarr"), pytest.importorskip("tifffile")
    pixels, count = blobs(100, 130, channels=channels)
    form = {"chunks": (32, 32, channels), "dtype": "u1"}
    zarr.create_array(str(tmp_path / "a.zarr"), shape=pixels.shape, **form)[:] = pixels
    tifffile.imwrite(tmp_path / "b.tif", np.stack([pixels, pixels]), photometric="rgb")
    sources, out = [tmp_path / "a.zarr", tmp_path / "b.tif"], tmp_path / "out"
    model = BlobModel(channels=channels)
    assert predict_files(model, sources, out, save=(kind,), pages=True).exit_code == 0
    dataset = open_dataset(out / kind, "train")
    images = [dataset.image(index) for index in range(len(dataset))]
    assert [len(one.annotations) for one in images] == [count] * 3
    assert all(one.path and np.array_equal(read_image(one.path, channels), pixels) for one in images)


def test_cvat_has_images_whose_names_xml_cannot_hold(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in (b"a\xff.png", b"b\x1b.png"):
        Image.fromarray(image()).save(tmp_path / "images" / os.fsdecode(name))
    predict_files(FixedModel(), [tmp_path / "images"], tmp_path / "out", save=["cvat"])
    dataset = open_dataset(str(tmp_path / "out" / "cvat"), "train")
    for index in range(2):
        assert dataset.image(index).annotations
        assert dataset.pixels(index).shape == image().shape


def test_an_image_where_its_copy_would_be_is_spared(tmp_path: Path) -> None:
    source = tmp_path / "out/labelme/a.png"
    source.parent.mkdir(parents=True)
    Image.fromarray(image()).save(source)
    predict_files(FixedModel(), [source], tmp_path / "out", save=())
    for resume in (True, False):
        with pytest.raises(UserError, match=r"a\.png: the run reads it and writes label files beside it"):
            predict_files(FixedModel(), [source], tmp_path / "out", save=["labelme"], resume=resume)
    info = DatasetInfo("predictions", ["cat"], [1])
    writer = LabelsWriter(LabelMeWriter(source.parent, LeftOut(), drafts=True), info)
    pixels = ArrayRegions(image())
    writer.begin(WrittenImage(1, str(source), source, "a", image().shape[:2], pixels))
    writer.close()  # the image breaks off
    assert source.exists()


def test_an_image_of_one_row_is_saved_as_it_is(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 300, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", np.stack([pixels, pixels]), photometric="rgb")
    predict_files(BlobModel(), [tmp_path / "a.tif"], tmp_path / "out", save=("labelme",), pages=True)
    saved = list((tmp_path / "out" / "labelme").rglob("*.png"))
    assert len(saved) == 2 and all(np.array_equal(read_image(path, 3), pixels) for path in saved)


def test_a_pixel_is_the_best_objects_also_where_a_later_tile_has_it(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    left_out = LeftOut()
    writer = LabelsWriter(LABELS["labels"](tmp_path / "out", left_out), DatasetInfo("x", ["cell"], [1]))
    pixels = ArrayRegions(np.zeros((10, 20, 3), np.uint8))
    writer.begin(WrittenImage(1, "a.png", tmp_path / "a.png", "a", (10, 20), pixels))
    for score, x0, x1 in ((0.2, 0, 10), (0.7, 5, 15), (0.5, 4, 20), (0.1, 6, 9)):
        box = np.array([[x0, 0, x1, 10]], np.float32)
        masks = Masks(
            np.zeros((1, 1, 1), np.float32), box, (10, 20), 0.5, {0: (x0, 0, np.ones((10, x1 - x0), bool))}
        )
        writer.add(Instances(box, np.array([score]), np.zeros(1, int), ["cell"], (10, 20), masks))
    writer.end()
    writer.close()
    (path,) = (tmp_path / "out").rglob("*.tif")
    assert (tifffile.imread(path) == [1] * 4 + [3] + [2] * 10 + [3] * 5).all()
    assert left_out.counts["object hidden by others"] == 1
    assert left_out.counts["pixels that two objects share"] == 10 * (5 + 11 + 3)


def test_names_that_xml_cannot_hold_stay_apart(tmp_path: Path) -> None:
    writer = LabelsWriter(LABELS["cvat"](tmp_path / "out", LeftOut()), DatasetInfo("x", ["cell"], [1]))
    for number, name in enumerate(("a\x01.png", "a_x1_.png"), 1):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(tmp_path / name)
        pixels = ArrayRegions(np.zeros((10, 20, 3), np.uint8))
        writer.begin(WrittenImage(number, name, tmp_path / name, Path(name).stem, (10, 20), pixels))
        writer.end()
    writer.close()
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    assert found.keys() == {"a_x1_-1.png", "a_x1_.png"} and len(set(found.values())) == 2
