"""Instances and their masks: every form of a mask says the same, and what we write is what others read."""

from __future__ import annotations

import io
import json
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

import maskrcnn
from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import DataError, UserError
from maskrcnn.instances import Instances, Masks


def some_masks(seed: int, count: int, height: int, width: int, side: int = 7) -> Masks:
    """Blobs over boxes that lie inside, across and outside the image's border."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-10, (width, height), (count, 2))
    boxes = np.hstack([corner, corner + rng.uniform(0.3, 30, (count, 2))]).astype(np.float32)
    return Masks(rng.random((count, side, side), dtype=np.float32), boxes, (height, width))


def some_instances(count: int = 4) -> Instances:
    rng = np.random.default_rng(5)
    masks = some_masks(5, count, 40, 50)
    schema = KeypointSchema(names=["head", "foot"], flip=[0, 1], skeleton=[(0, 1)], sigmas=[0.05, 0.05])
    return Instances(
        boxes=np.clip(masks.boxes, 0, (50, 40, 50, 40)),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        labels=np.arange(count) % 2,
        names=[["cat", "dog"][row % 2] for row in range(count)],
        size=(40, 50),
        masks=masks,
        keypoints=rng.uniform(0, 40, (count, 2, 3)).astype(np.float32),
        keypoint_schema=schema,
        keypoint_scores=np.linspace(0.2, 0.4, count, dtype=np.float32),
        pixels=rng.integers(0, 256, (40, 50, 3), dtype=np.uint8),
        class_ids=np.array([17, 18])[np.arange(count) % 2],
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40))
def test_all_forms_of_a_mask_agree(seed: int, height: int, width: int) -> None:
    masks = some_masks(seed, 5, height, width)
    bitmaps = masks.bitmaps()
    assert bitmaps.shape == (5, height, width) and bitmaps.dtype == np.bool_
    expected = coco_mask.encode(np.asfortranarray(bitmaps.transpose(1, 2, 0).astype(np.uint8)))
    assert masks.rle() == expected
    assert masks.areas().tolist() == bitmaps.sum(axis=(1, 2)).tolist()
    for bitmap, rings in zip(bitmaps, masks.polygons(), strict=True):
        assert bool(rings) == bool(bitmap.any())
        assert all(ring.shape[1] == 2 and len(ring) >= 4 and ring.dtype == np.float32 for ring in rings)


@pytest.mark.parametrize("window", [(0, 0, 4, 6), (1, 2, 3, 6), (5, 0, 6, 6), (0, 5, 4, 6), (2, 2, 2, 2)])
def test_full_empty_and_touching_runs(window: tuple[int, int, int, int]) -> None:
    x0, y0, x1, y1 = window
    masks = Masks(np.ones((1, 4, 4), np.float32), np.array([window], np.float32), (6, 6))
    bitmap = masks.bitmaps()[0]
    assert bitmap[y0:y1, x0:x1].all()
    assert masks.rle()[0] == coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))


def test_polygons_of_a_solid_shape_rasterise_to_the_same_pixels() -> None:
    y, x = np.mgrid[:28, :28]
    disc = (((y - 13.5) ** 2 + (x - 13.5) ** 2) < 150).astype(np.float32)
    masks = Masks(disc[None], np.array([[10, 5, 90, 60]], np.float32), (80, 100))
    rings = masks.polygons()[0]
    assert len(rings) == 1
    codes = coco_mask.frPyObjects([ring.ravel().astype(float).tolist() for ring in rings], 80, 100)
    assert np.array_equal(coco_mask.decode(coco_mask.merge(codes)).astype(bool), masks.bitmaps()[0])


def test_a_pixels_polygon_is_its_square_and_pieces_are_kept_largest_first() -> None:
    one = Masks(np.ones((1, 1, 1), np.float32), np.array([[3, 4, 4, 5]], np.float32), (9, 9), threshold=0.9)
    assert one.areas().tolist() == [1]
    (square,) = one.polygons()[0]
    assert sorted(map(tuple, square.tolist())) == [(3, 4), (3, 5), (4, 4), (4, 5)]
    pieces = np.zeros((1, 1, 9), np.float32)
    pieces[0, 0, [1, 5, 6, 7]] = 1
    rings = Masks(pieces, np.array([[0, 0, 90, 10]], np.float32), (10, 90)).polygons()[0]
    assert len(rings) == 2 and np.ptp(rings[0][:, 0]) > np.ptp(rings[1][:, 0])


def test_small_masks_in_a_huge_image_need_little_memory() -> None:
    boxes = np.tile(np.array([[9000, 9000, 9100, 9100]], np.float32), (50, 1))
    masks = Masks(np.ones((50, 28, 28), np.float32), boxes, (20000, 20000))
    tracemalloc.start()
    codes, areas = masks.rle(), masks.areas()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert coco_mask.area(codes).tolist() == areas.tolist()


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (2, [2]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (np.array([True, False, True, False]), [0, 2]),
        ([], []),
        (np.zeros(4, dtype=bool), []),
    ],
)
def test_index(index: object, rows: list[int]) -> None:
    whole = some_instances()
    part = whole[index]
    assert len(part) == len(rows) and part.size == whole.size and part.pixels is whole.pixels
    assert np.array_equal(part.boxes, whole.boxes[rows]) and np.array_equal(part.scores, whole.scores[rows])
    assert part.names == [whole.names[row] for row in rows]
    assert np.array_equal(part.class_ids, whole.class_ids[rows])
    assert np.array_equal(part.masks.bitmaps(), whole.masks.bitmaps()[rows])
    assert np.array_equal(part.keypoints, whole.keypoints[rows])
    assert np.array_equal(part.keypoint_scores, whole.keypoint_scores[rows])


def test_coco_results_survive_json() -> None:
    found = some_instances()
    results = json.loads(json.dumps(found.to_coco("street")))
    assert len(results) == 4
    for row, result in enumerate(results):
        x, y, width, height = result["bbox"]
        assert np.allclose([x, y, x + width, y + height], found.boxes[row], atol=1e-4)
        assert result["image_id"] == "street" and result["category_id"] == [17, 18][row % 2]
        assert np.array_equal(
            coco_mask.decode(result["segmentation"]).astype(bool), found.masks.bitmaps()[row]
        )
        points = np.reshape(result["keypoints"], (-1, 3))
        assert np.allclose(points[:, :2] + 0.5, found.keypoints[row, :, :2], atol=1e-4)
        assert np.allclose(points[:, 2], found.keypoints[row, :, 2])
        assert np.isclose(result["keypoints_score"], found.keypoint_scores[row])


def test_coco_results_without_masks_keypoints_and_ids() -> None:
    found = some_instances()
    found.masks = found.keypoints = found.class_ids = None
    results = found.to_coco(7)
    assert [result["category_id"] for result in results] == [1, 2, 1, 2]
    assert all(set(result) == {"image_id", "category_id", "bbox", "score"} for result in results)


@given(st.data())
def test_a_masks_extent_is_that_of_its_pixels(data: st.DataObject) -> None:
    """Of the pixels of a much larger image, of which the extent's sides are at most two."""
    large = 640
    count, rows, columns = (data.draw(st.integers(1, 4)) for _ in range(3))
    values = st.sampled_from([0.0, 0.2, 0.75, 1.0])
    maps = data.draw(arrays(np.float32, (count, rows, columns), elements=values))
    corners = data.draw(arrays(np.float32, (count, 2, 2), elements=st.floats(0, 0.5, width=16), unique=True))
    boxes = np.concatenate([corners.min(1), corners.max(1) + 0.5], 1)
    masks = Masks(maps, boxes, (1, 1), data.draw(st.sampled_from([0.1, 0.5, 0.6])))
    for extent, bitmap in zip(masks.extents(), masks.enlarged(large).bitmaps(), strict=True):
        if not bitmap.any():
            assert np.isnan(extent).all()
            continue
        y, x = np.nonzero(bitmap)
        seen = np.clip(large * extent, 0, large)
        np.testing.assert_allclose(seen, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=2)


def test_no_mask_has_no_extent() -> None:
    empty = Masks(np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32), (8, 8))
    assert empty.extents().shape == (0, 4)


def test_expected_iou() -> None:
    """A mask that is sure is expected to be right; one of doubtful pixels in and beside it is not."""
    sure, doubtful = np.zeros((2, 4, 4), np.float32)
    sure[:2] = 1
    doubtful[:2], doubtful[2:] = 0.75, 0.25
    boxes = np.array([[0, 0, 8, 8]] * 2, np.float32)
    masks = Masks(np.stack([sure, doubtful]), boxes, (8, 8))
    np.testing.assert_allclose(masks.expected_iou(), [1, 6 / 10], atol=1e-6)
    assert Masks(np.zeros((1, 4, 4), np.float32), boxes[:1], (8, 8)).expected_iou().tolist() == [0]
    found = replace(some_instances(2), mask_scores=np.array([0.4, 0.3], np.float32))
    assert [record["segmentation_score"] for record in found.to_coco(1)] == pytest.approx([0.4, 0.3])
    assert "segmentation_score" not in some_instances().to_coco(1)[0]


def test_no_objects() -> None:
    none = some_instances()[[]]
    assert len(none) == 0 and none.to_coco(1) == []
    assert none.masks.bitmaps().shape == (0, 40, 50)
    assert none.masks.rle() == [] and none.masks.polygons() == [] and none.masks.areas().shape == (0,)
    assert none.plot().size[0] > 0


def test_plot_reads_the_file_when_it_must(tmp_path: Path) -> None:
    found = some_instances()
    seen = np.asarray(found.plot())
    found.pixels, pixels = None, found.pixels
    with pytest.raises(UserError, match="no image"):
        found.plot()
    found.path = tmp_path / "image.png"
    with pytest.raises(DataError, match=r"image\.png"):
        found.plot()
    Image.fromarray(pixels).save(found.path)
    assert np.array_equal(np.asarray(found.plot()), seen)


def test_one_line_says_what_was_found() -> None:
    found = some_instances(3)
    assert repr(found) == "<Instances: 2 cat, 1 dog; boxes and masks and keypoints; image 50 x 40>"
    found.path = Path("folder/street.png")
    found.masks = found.keypoints = None
    assert repr(found[[]]) == "<Instances: no objects; boxes; image of street.png 50 x 40>"


def test_equal_where_all_fields_are() -> None:
    found, same = some_instances(), some_instances()
    assert found == same and not found != same and found[:2] == same[[0, 1]] and found != found[:2]
    assert found != "found" and found.masks == same.masks
    found.masks.known[1] = same.masks.known[1] = (3, 4, np.ones((2, 2), bool))
    assert found == same
    same.masks.known[1] = (3, 4, np.zeros((2, 2), bool))
    assert found != same
    for name in ("boxes", "scores", "labels", "keypoints", "keypoint_scores", "class_ids", "pixels"):
        changed = some_instances()
        getattr(changed, name).flat[1] += 1
        assert changed != some_instances() and some_instances() != changed, name
        setattr(changed, name, None)
        assert changed != some_instances() and some_instances() != changed, name
    for name, value in (("names", ["cat"]), ("size", (50, 40)), ("track_ids", np.arange(4))):
        assert replace(some_instances(), **{name: value}) != some_instances()
    with_nan = some_instances()
    with_nan.keypoints[0, 0, 0] = np.nan
    assert with_nan == replace(with_nan, keypoints=with_nan.keypoints.copy())


def test_track_ids_follow_their_objects() -> None:
    found = replace(some_instances(), track_ids=np.array([7, 5, 3, 1]))
    assert found[[2, 0]].track_ids.tolist() == [3, 7]
    assert [result["track_id"] for result in found.to_coco(1)] == [7, 5, 3, 1]


def test_simplify() -> None:
    y, x = np.mgrid[:28, :28]
    disc = (((y - 13.5) ** 2 + (x - 13.5) ** 2) < 150).astype(np.float32)
    found = some_instances(1)
    found.masks = Masks(disc[None], np.array([[10, 5, 40, 35]], np.float32), (40, 50))
    (rings,), (exact,) = found.simplify(), found.simplify(0)
    assert np.array_equal(exact[0], found.masks.polygons()[0][0])
    assert rings[0].dtype == np.float32 and 3 * len(rings[0]) <= len(exact[0])
    assert np.allclose(rings[0].mean(0), (25, 20), atol=0.6)
    for outline in (found.simplify, found.masks.polygons, lambda wrong: found.to_labelme(tolerance=wrong)):
        for wrong in (-1, float("nan"), "few"):
            with pytest.raises(UserError, match=f"tolerance={wrong!r}"):
                outline(wrong)
    found.masks = None
    with pytest.raises(UserError, match="no masks"):
        found.simplify()


def test_plot_keeps_the_size_and_takes_options() -> None:
    found = some_instances()
    assert found.plot().size == (50, 40) and found.plot(enlarge=True).size == (500, 400)
    off = dict.fromkeys(("labels", "scores", "boxes", "masks", "keypoints"), False)
    assert np.array_equal(np.asarray(found.plot(**off)), found.pixels)
    assert not np.array_equal(np.asarray(found.plot(colours=["red"])), np.asarray(found.plot()))


def test_a_notebook_shows_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    found, shown = some_instances(), []
    assert Image.open(io.BytesIO(found._repr_png_())).size == (500, 400)
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image))
    found.show(labels=False)
    assert [image.size for image in shown] == [(50, 40)]
    found.pixels = None
    assert found._repr_png_() is None
    found.path = Path("not there.png")
    assert found._repr_png_() is None


def test_crops() -> None:
    found = some_instances()
    found.boxes[0] = 10.4, 5.0, 12.2, 30.7
    crops = found.crops()
    assert len(crops) == 4 and np.array_equal(crops[0], found.pixels[5:31, 10:13])
    for row, crop in enumerate(found.crops(masked=True)):
        (x0, y0), (x1, y1) = (
            np.floor(found.boxes[row, :2]).astype(int),
            np.ceil(found.boxes[row, 2:]).astype(int),
        )
        inside = found.masks.bitmaps()[row, y0:y1, x0:x1, None]
        assert np.array_equal(crop, np.where(inside, found.pixels[y0:y1, x0:x1], 0))
    found.masks = None
    with pytest.raises(UserError, match="masked"):
        found.crops(masked=True)


def test_saved_and_read_again(tmp_path: Path) -> None:
    found = replace(
        some_instances(), track_ids=np.arange(4), path=Path("a/street.png"), value_range=(0.0, 9.0)
    )
    found.masks.known[2] = (3, 4, np.ones((2, 5), bool))
    found.save(tmp_path / "found.npz")
    assert Instances.load(tmp_path / "found.npz") == replace(found, pixels=None)
    bare = replace(some_instances(3)[[]], masks=None, keypoints=None, keypoint_schema=None, class_ids=None)
    bare.save(str(tmp_path / "bare.npz"))
    assert Instances.load(tmp_path / "bare.npz") == replace(bare, pixels=None)
    with pytest.raises(UserError, match="suffix"):
        found.save(tmp_path / "found.json")


def test_other_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    with pytest.raises(DataError, match="no such file"):
        Instances.load(path)
    some_instances().save(path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not a file of Instances\.save") as error:
            Instances.load(path)
        assert "\n" not in str(error.value)
    np.savez(path, record=np.array([{"code": print}], object))  # a pickle, which is never unpickled
    with pytest.raises(DataError, match="not a file"):
        Instances.load(path)


def test_to_labelme_is_read_as_it_was_found(tmp_path: Path) -> None:
    found = replace(some_instances(), path=Path("a/street.png"))
    ring = np.zeros((12, 12), bool)
    ring[2:10, 2:10] = True
    ring[5:7, 5:7] = False
    found.masks.known |= {0: (5, 6, ring), 1: (20, 10, np.ones((6, 9), bool))}
    document = json.loads(json.dumps(found.to_labelme(tolerance=0)))
    assert document["imagePath"] == "street.png" and (document["imageHeight"], document["imageWidth"]) == (
        40,
        50,
    )
    hole, block = document["shapes"][:2]
    assert hole["shape_type"] == "mask" and hole["label"] == "cat" and hole["points"] == [[7, 8], [14, 15]]
    assert block["shape_type"] == "polygon" and block["group_id"] == 2
    assert sorted(map(tuple, block["points"])) == [(20, 10), (20, 16), (29, 10), (29, 16)]
    found.masks = None
    shapes = found.to_labelme()["shapes"]
    assert [shape["shape_type"] for shape in shapes] == ["rectangle"] * 4
    assert np.allclose(np.reshape([shape["points"] for shape in shapes], (4, 4)), found.boxes)


def test_measure_and_to_pandas() -> None:
    pytest.importorskip("skimage")
    found = some_instances()
    rows = found.measure(scale=0.5)
    assert [row["area"] for row in rows] == found.masks.areas().tolist()
    assert rows[0]["area_um2"] == rows[0]["area"] / 4 and rows[1]["class"] == "dog"
    with pytest.raises(UserError, match="scale"):
        found.measure(scale=0)
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="pip install pandas"):
            found.to_pandas()
        return
    table = replace(found, track_ids=np.arange(4) + 3).to_pandas()
    assert table["area"].tolist() == found.masks.areas().tolist() and table["track_id"].tolist() == [
        3,
        4,
        5,
        6,
    ]


def test_to_fiftyone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = some_instances()
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(UserError, match="pip install fiftyone"):
        found.to_fiftyone()
    # its own fields alone: the package brings a database
    fields = SimpleNamespace
    monkeypatch.setitem(sys.modules, "fiftyone", SimpleNamespace(Detection=fields, Detections=fields))
    made = found.to_fiftyone().detections
    assert [one.label for one in made] == found.names
    for one, bitmap in zip(made, found.masks.bitmaps(), strict=True):
        x, y, width, height = np.round(np.array(one.bounding_box) * (50, 40, 50, 40)).astype(int)
        assert one.mask.shape == (height, width)
        assert np.array_equal(one.mask, bitmap[y : y + height, x : x + width])


def test_type_checkers_see_the_types() -> None:
    assert (Path(maskrcnn.__file__).parent / "py.typed").is_file()


def test_keypoints_stay_small_numbers_when_they_are_enlarged() -> None:
    found = replace(some_instances(), keypoints=np.ones((len(some_instances()), 2, 3), np.float32))
    points = found.enlarged(3).keypoints
    assert points is not None and points.dtype == np.float32 and points[0, 0].tolist() == [3, 3, 1]


@pytest.mark.parametrize("name", ["a.zarr", "a.tif"])
def test_images_that_are_read_by_windows_are_drawn(name: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    if name == "a.zarr":
        zarr = pytest.importorskip("zarr")
        zarr.create_array(str(tmp_path / name), shape=pixels.shape, dtype="u1")[:] = pixels
    else:
        pytest.importorskip("tifffile").imwrite(tmp_path / name, pixels, photometric="rgb", tile=(32, 32))
    found = replace(some_instances(), path=tmp_path / name, pixels=None, size=(60, 80))[[]]
    assert np.array_equal(np.asarray(found.plot()), pixels)


def test_to_supervision() -> None:
    found = replace(some_instances(), track_ids=np.arange(len(some_instances())) + 5)
    try:
        import supervision  # noqa: F401
    except ImportError:
        with pytest.raises(UserError, match="pip install supervision"):
            found.to_supervision()
        return
    detections = found.to_supervision()
    assert np.allclose(detections.xyxy, found.boxes) and detections.data["class_name"].tolist() == found.names
    assert np.array_equal(detections.mask, found.masks.bitmaps())
    assert detections.tracker_id.tolist() == found.track_ids.tolist()
