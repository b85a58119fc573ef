"""COCO files: what is read from a good one, and one test for each thing that people's own files get wrong."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import refused, repaired
from fuzz import Subject, check_spoilt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnn.config.keypoints import COCO_NAMES
from maskrcnn.errors import DataError
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.detect import looks_like_coco
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import check_sizes
from maskrcnn.labels.keypoint_schema import mirrored_name
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.masks.rle import rle_bitmap

SHARED = Path(__file__).parents[3] / "shared"
HEIGHT, WIDTH = 20, 30
SQUARE = [4.0, 2.0, 14.0, 2.0, 14.0, 12.0, 4.0, 12.0]
NAN = float("nan")
INF = float("inf")

GOOD: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
        {"id": 9, "file_name": "sub/b.png", "height": HEIGHT, "width": WIDTH},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 11, "name": "dog"}],
    "annotations": [
        {
            "id": 100,
            "image_id": 7,
            "category_id": 11,
            "bbox": [4.0, 2.0, 10.0, 10.0],
            "area": 100.0,
            "iscrowd": 0,
            "segmentation": [SQUARE],
        }
    ],
}


class Files:
    """A COCO file in a folder of its own, to be spoilt by a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.json = folder / "labels.json"
        self.document = copy.deepcopy(GOOD)
        self.first: dict[str, Any] = self.document["annotations"][0]
        for name in ("a.png", "sub/b.png"):
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), (10, 20, 30)).save(path)

    def read(self) -> FileDataset:
        self.json.write_text(json.dumps(self.document))
        return read_coco(self.json)

    def repaired(self, kind: str, count: int = 1) -> FileDataset:
        """Read; the only repair is `kind`."""
        dataset = repaired(self.read(), *[kind] * count)
        assert str(self.json) in dataset.problems.lines()[0]
        return dataset

    def dropped(self, kind: str) -> str:
        """Read with a good annotation added: only that is left. Returns the warning."""
        good = copy.deepcopy(GOOD["annotations"][0]) | {"id": 200, "image_id": 9}
        self.document["annotations"].append(good)
        dataset = self.repaired(kind)
        assert [a.id for image in dataset for a in image.annotations] == [200]
        return dataset.problems.lines()[0]

    def refused(self, *words: str) -> None:
        """Refuse with one line that says `words`."""
        refused(lambda: check_sizes(self.read()), *words)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_good_file(files: Files) -> None:
    dataset = files.read()
    assert len(dataset) == 2 and not dataset.problems and dataset.keypoints is None
    assert dataset.classes == ["cat", "dog"] and dataset.class_ids == [3, 11]
    first, second = dataset
    assert (first.image_id, first.file_name, first.height, first.width) == (7, "a.png", HEIGHT, WIDTH)
    assert second.annotations == [] and second.path == files.folder / "images/sub/b.png"
    (annotation,) = first.annotations
    assert annotation.box == (4.0, 2.0, 14.0, 12.0) and annotation.label == 1 and annotation.id == 100
    assert annotation.area == 100.0 and not annotation.crowd and annotation.rle is None
    np.testing.assert_array_equal(annotation.polygons[0], np.reshape(SQUARE, (4, 2)))
    assert dataset.pixels(1).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(IndexError):
        dataset.image(2)


def test_images_can_be_given(files: Files, tmp_path: Path) -> None:
    (files.folder / "images").rename(files.folder / "elsewhere")
    files.refused("a.png", "put the images")
    assert read_coco(files.json, files.folder / "elsewhere").pixels(0).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("compressed", [True, False])
def test_rle(files: Files, compressed: bool) -> None:
    bitmap = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    bitmap[2:12, 4:14] = 1
    bitmap[5:7, 20] = 1
    runs = np.diff(np.flatnonzero(np.diff(bitmap.reshape(-1, order="F"), prepend=0, append=0)), prepend=0)
    counts: Any = [*runs.tolist(), HEIGHT * WIDTH - int(runs.sum())]
    if compressed:
        counts = coco_mask.encode(np.asfortranarray(bitmap))["counts"].decode()
    files.first |= {"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}, "iscrowd": 1}
    (annotation,) = files.read().image(0).annotations
    assert annotation.crowd and annotation.polygons is None
    np.testing.assert_array_equal(rle_bitmap(annotation_rle(annotation, HEIGHT, WIDTH)), bitmap)


def test_several_polygons_are_one_mask(files: Files) -> None:
    files.first["segmentation"] = [SQUARE, [20.0, 2.0, 24.0, 2.0, 24.0, 6.0, 20.0, 6.0]]
    (annotation,) = files.read().image(0).annotations
    assert rle_bitmap(annotation_rle(annotation, HEIGHT, WIDTH)).sum() == 116


# ---- bad input: repaired or dropped, and counted


def test_annotation_without_its_image(files: Files) -> None:
    files.first["image_id"] = 12345
    assert "12345" in files.dropped("annotation without an image dropped")


@pytest.mark.parametrize(
    "box",
    [[4.0, 2.0, 0.0, 10.0], [4.0, NAN, 10.0, 10.0], [4.0, 2.0, 10.0, INF], [None] * 4, [1, 2, 3], "box"],
)
@pytest.mark.parametrize("as_rle", [False, True])
def test_box_of_no_use_beside_a_good_mask(files: Files, box: Any, as_rle: bool) -> None:
    """The object stays, with the box of its mask; nothing is dropped."""
    good = files.read().image(0).annotations[0]
    files.first["bbox"] = box
    if as_rle:
        files.first["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [82, *[10, 10] * 9, 10, 328]}
    dataset = files.repaired("box without an area, or not of four finite numbers, taken from the mask")
    [found] = dataset.image(0).annotations
    assert (found.box, found.area) == (good.box, good.area)


def test_outline_without_a_pixel_and_no_area(files: Files) -> None:
    """The area is that of the box then, not 0."""
    del files.first["area"]
    files.first["segmentation"] = [[4.0, 2.0, 4.0, 2.0, 14.0, 12.0]]
    dataset = repaired(files.read(), "mask without a pixel dropped", "missing area computed")
    [found] = dataset.image(0).annotations
    assert (found.box, found.area, found.polygons) == ((4.0, 2.0, 14.0, 12.0), 100.0, None)


@pytest.mark.parametrize("mask", [[NAN, *SQUARE[1:]], [4.0, 2.0, 4.0, 2.0, 4.0, 2.0]])
def test_box_of_no_use_beside_a_mask_of_none(files: Files, mask: list[float]) -> None:
    files.first |= {"bbox": [4.0, 2.0, 0.0, 10.0], "segmentation": [mask]}
    files.dropped("non-finite coordinates dropped" if mask[0] != 4.0 else "zero-area box dropped")


def test_zero_area_box(files: Files) -> None:
    files.first |= {"bbox": [4.0, 2.0, 0.0, 10.0], "segmentation": []}
    assert "annotation 100 of image 'a.png'" in files.dropped("zero-area box dropped")


@pytest.mark.parametrize("side", [1e-320, -1e-320, 1e-17])
def test_side_that_is_lost_in_the_rounding(files: Files, side: float) -> None:
    """Half-open corners of it are the same: a box without an inside, of which training makes NaN."""
    files.first |= {"bbox": [4.0, 2.0, 10.0, side], "segmentation": []}
    files.dropped("zero-area box dropped")


def test_reversed_box(files: Files) -> None:
    files.first["bbox"] = [14.0, 12.0, -10.0, -10.0]
    dataset = files.repaired("reversed box swapped")
    assert dataset.image(0).annotations[0].box == (4.0, 2.0, 14.0, 12.0)


def test_box_partly_outside(files: Files) -> None:
    files.first["bbox"] = [-3.0, 2.0, 100.0, 10.0]
    dataset = files.repaired("box clipped to the image")
    assert dataset.image(0).annotations[0].box == (0.0, 2.0, 30.0, 12.0)


def test_box_outside_by_rounding_stays(files: Files) -> None:
    files.first["bbox"] = [4.0, 2.0, 26.01, 10.0]
    dataset = files.read()
    assert not dataset.problems and dataset.image(0).annotations[0].box == (4.0, 2.0, 30.01, 12.0)


def test_box_entirely_outside(files: Files) -> None:
    files.first["bbox"] = [31.0, 2.0, 10.0, 10.0]
    files.dropped("box outside the image dropped")


@pytest.mark.parametrize("value", [NAN, INF, None])
def test_non_finite_box(files: Files, value: float | None) -> None:
    files.first |= {"bbox": [4.0, value, 10.0, 10.0], "segmentation": []}
    files.dropped("non-finite coordinates dropped")


def test_nan_in_a_polygon(files: Files) -> None:
    files.first["segmentation"] = [[NAN, *SQUARE[1:]]]
    files.dropped("non-finite coordinates dropped")


@pytest.mark.parametrize("box", [[1, 2, 3], "box", [1, 2, 3, "x"], [[1], [2, 3]]])
def test_box_that_is_none(files: Files, box: Any) -> None:
    files.first |= {"bbox": box, "segmentation": []}
    files.dropped("annotation without a usable box dropped")


def test_missing_box(files: Files) -> None:
    del files.first["bbox"]
    dataset = files.repaired("missing box taken from the mask")
    assert dataset.image(0).annotations[0].box == (4.0, 2.0, 14.0, 12.0)


@pytest.mark.parametrize("ring", [[4.0, 2.0, 14.0, 12.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], []])
def test_polygon_with_two_points(files: Files, ring: list[float]) -> None:
    files.first["segmentation"] = [ring, SQUARE]
    dataset = files.repaired("polygon that is no ring of three points dropped")
    assert len(dataset.image(0).annotations[0].polygons) == 1


def test_only_a_polygon_with_two_points_leaves_the_box(files: Files) -> None:
    files.first["segmentation"] = [[4.0, 2.0, 14.0, 12.0]]
    dataset = files.repaired("polygon that is no ring of three points dropped")
    (annotation,) = dataset.image(0).annotations
    assert annotation.polygons is None and annotation_rle(annotation, HEIGHT, WIDTH) is None
    assert annotation.box == (4.0, 2.0, 14.0, 12.0)


def test_polygon_without_its_list(files: Files) -> None:
    files.first["segmentation"] = SQUARE
    dataset = files.repaired("polygon without its outer list accepted")
    assert dataset.image(0).annotations[0].polygons[0].shape == (4, 2)


def test_mask_without_a_pixel(files: Files) -> None:
    files.first["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
    assert files.repaired("mask without a pixel dropped").image(0).annotations[0].rle is None


def test_duplicate_annotation_ids(files: Files) -> None:
    files.document["annotations"] += [
        copy.deepcopy(files.first),
        files.first | {"id": 101},
        files.first | {"id": "x"},
    ]
    dataset = files.repaired("missing or duplicate annotation id renumbered", 2)
    assert [a.id for a in dataset.image(0).annotations] == [100, 102, 101, 103]


def test_ids_from_zero(files: Files) -> None:
    files.document["categories"][1]["id"] = 0
    files.document["images"][0]["id"] = 0
    files.first |= {"id": 0, "image_id": 0, "category_id": 0}
    dataset = files.read()
    assert not dataset.problems and dataset.class_ids == [3, 0]
    assert dataset.image(0).image_id == 0 and dataset.image(0).annotations[0].id == 0


@pytest.mark.parametrize("area", ["missing", None, NAN, -1, 0])
def test_missing_area(files: Files, area: Any) -> None:
    files.first["area"] = area
    if area == "missing":
        del files.first["area"]
    assert files.repaired("missing area computed").image(0).annotations[0].area == 100.0


def test_missing_area_without_a_mask(files: Files) -> None:
    del files.first["area"], files.first["segmentation"]
    files.first["bbox"] = [1.0, 1.0, 4.0, 2.5]
    assert files.repaired("missing area computed").image(0).annotations[0].area == 10.0


def test_missing_iscrowd(files: Files) -> None:
    del files.first["iscrowd"]
    assert not files.repaired("missing iscrowd taken as 0").image(0).annotations[0].crowd


def test_missing_image_size(files: Files) -> None:
    del files.document["images"][0]["height"]
    image = files.repaired("missing image size read from the image").image(0)
    assert (image.height, image.width) == (HEIGHT, WIDTH)


# ---- bad input: refused


def test_unknown_class(files: Files) -> None:
    files.first["category_id"] = 4
    files.refused("annotation 100", "category_id 4", "3 cat, 11 dog")


def test_missing_image_file(files: Files) -> None:
    (files.folder / "images/sub/b.png").unlink()
    files.refused("1 of 2 image files", "b.png")


def test_missing_first_image_file(files: Files) -> None:
    (files.folder / "images/a.png").unlink()
    files.refused("1 of 2 image files", "a.png")


@pytest.mark.parametrize(
    ("segmentation", "word"),
    [
        ({"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]}, "[30, 20]"),
        ({"size": [HEIGHT, WIDTH], "counts": [10, 10]}, "20 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": [10, -10, 600]}, "whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": "0"}, "0 pixels"),
        ({"size": [HEIGHT, WIDTH], "counts": "P"}, "alphabet"),
        ({"size": [HEIGHT, WIDTH], "counts": "oooooooooooooooo0"}, "longer than any image"),
        ({"size": [HEIGHT, WIDTH], "counts": "é"}, "alphabet"),
        ({"size": [HEIGHT, WIDTH], "counts": "O"}, "negative run"),
        ({"size": [HEIGHT, WIDTH]}, "counts"),
        ({"counts": [600]}, "size is None"),
        ("mask", "neither polygons nor an RLE"),
    ],
)
def test_rle_of_the_wrong_size(files: Files, segmentation: Any, word: str) -> None:
    files.first["segmentation"] = segmentation
    files.refused("annotation 100 of image 'a.png'", word)


def test_duplicate_image_ids(files: Files) -> None:
    files.document["images"][1]["id"] = 7
    files.refused("'a.png'", "'sub/b.png'", "id 7")


@pytest.mark.parametrize("key", ["id", "name"])
def test_duplicate_categories(files: Files, key: str) -> None:
    files.document["categories"][1][key] = files.document["categories"][0][key]
    files.refused("category")


def test_image_size_that_disagrees(files: Files) -> None:
    files.document["images"][1]["width"] = 31
    files.refused("b.png", "30 x 20", "31 x 20")


def test_image_labelled_without_its_orientation(files: Files) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (WIDTH, HEIGHT)).save(files.folder / "images/a.png", exif=exif)
    files.refused("a.png", "20 x 30", "30 x 20", "EXIF")


def test_image_size_that_disagrees_is_seen_on_reading(files: Files) -> None:
    dataset = files.read()
    Image.new("RGB", (5, 6)).save(files.folder / "images/a.png")
    with pytest.raises(DataError, match=r"a\.png: the image is 5 x 6 .* for 30 x 20"):
        dataset.pixels(0)


@pytest.mark.parametrize("size", [(0, 30), (-1, 30), ("x", 30), (2.5, 30), (10**6, 10**6)])
def test_impossible_image_size(files: Files, size: tuple[Any, Any]) -> None:
    files.document["images"][0] |= {"height": size[0], "width": size[1]}
    files.refused("'a.png'", "real size")


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "/etc/passwd",
        "sub/../../x.png",
        "C:\\x.png",
        "..\\x.png",
        "sub\\..\\..\\x",
        "\\\\h\\s\\x",
    ],
)
def test_file_name_that_leaves_the_folder(files: Files, name: str) -> None:
    files.document["images"][1]["file_name"] = name
    files.refused(repr(name), "leaves the folder")


def test_unreadable_image(files: Files) -> None:
    (files.folder / "images/a.png").write_bytes(b"no image")
    files.refused("a.png", "not readable")


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
def test_empty_data_set(files: Files, key: str) -> None:
    files.document[key] = []
    files.refused("empty data set" if key != "annotations" else "none of 0 annotations")


def test_nothing_usable_left(files: Files) -> None:
    files.first |= {"bbox": [0, 0, 0, 0], "segmentation": []}
    files.refused("none of 1 annotations", "1 x zero-area box dropped, first annotation", "above 0")


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
@pytest.mark.parametrize("value", [None, {}])
def test_missing_list(files: Files, key: str, value: Any) -> None:
    files.document[key] = value
    files.refused(key, "not a list")
    del files.document[key]
    files.refused(key, "missing")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"images": [\n  {"id": 1,}]}', ["line 2, column 12"]),
        (b"", ["line 1, column 1"]),
        (b"\xff\xfe\xfa", ["not readable as JSON"]),
        (b"[" * 100_000, ["not readable as JSON"]),
        (b"[]", ["results"]),
        (b"3", ["COCO label file"]),
    ],
)
def test_unreadable_json(files: Files, text: bytes, words: list[str]) -> None:
    files.json.write_bytes(text)
    with pytest.raises(DataError) as error:
        read_coco(files.json)
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words)


def test_missing_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_coco(tmp_path / "none.json")


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
def test_record_that_is_none(files: Files, key: str) -> None:
    files.document[key].append(None)
    files.refused(f"of {key}")


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [
        ("images", "id", [1]),
        ("images", "file_name", 3),
        ("categories", "id", [1]),
        ("categories", "name", "a\nb"),
    ],
)
def test_field_of_the_wrong_kind(files: Files, key: str, field: str, value: Any) -> None:
    files.document[key][0][field] = value
    files.refused(field)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["size", "counts", "id"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_in_any_place_is_read_or_refused(files: Files, data: st.DataObject) -> None:
    files.document = copy.deepcopy(GOOD)
    files.first = files.document["annotations"][0]
    people(files, skeleton=[[1, 2]], flip_pairs=[["left_eye", "right_eye"]])
    key = data.draw(st.sampled_from(sorted(files.document)))
    record = files.document[key][0]
    record[data.draw(st.sampled_from(sorted(record)))] = data.draw(VALUES)
    try:
        dataset = files.read()
    except DataError as error:
        assert str(error).isprintable()
    else:
        assert all(line.isprintable() for line in dataset.problems.lines())


# ---- keypoints


def people(files: Files, **category: Any) -> None:
    files.document["categories"][1] |= {
        "keypoints": ["nose", "left_eye", "right_eye"],
        "sigmas": [0.1] * 3,
    } | category
    files.first["keypoints"] = [5, 6, 2, 7, 8, 1, 9, 9, 0]


def test_keypoints(files: Files) -> None:
    people(files, skeleton=[[1, 2], [1, 3]])
    dataset = files.read()
    schema = dataset.keypoints
    assert schema is not None and not dataset.problems
    assert schema.flip == [0, 2, 1] and schema.skeleton == [(0, 1), (0, 2)] and schema.sigmas == [0.1] * 3
    found = dataset.image(0).annotations[0].keypoints
    np.testing.assert_array_equal(found, [[5.5, 6.5, 2], [7.5, 8.5, 1], [0, 0, 0]])


@pytest.mark.parametrize(
    ("category", "flip"),
    [
        ({"flip_pairs": [["nose", "right_eye"]]}, [2, 1, 0]),
        ({"flip_pairs": [[0, 1]]}, [1, 0, 2]),
        ({"flip_pairs": [[2, 3]]}, [0, 2, 1]),
        ({"flip_pairs": []}, [0, 1, 2]),
        ({"keypoints_flip": ["nose", "right_eye", "left_eye"]}, [0, 2, 1]),
        ({"keypoints_flip": [0, 2, 1]}, [0, 2, 1]),
        ({"keypoints_flip": [1, 3, 2]}, [0, 2, 1]),
    ],
)
def test_flips_from_the_file(files: Files, category: dict[str, Any], flip: list[int]) -> None:
    people(files, **category)
    schema = files.read().keypoints
    assert schema is not None and schema.flip == flip


@pytest.mark.parametrize(
    "category",
    [
        {"flip_pairs": [[1, 2]]},  # from 0 or from 1?
        {"flip_pairs": [["nose", "tail"]]},
        {"flip_pairs": [["nose", "nose"]]},
        {"flip_pairs": "nose"},
        {"keypoints_flip": ["left_eye", "right_eye", "nose"]},  # no mirror: three times until it is itself
        {"keypoints_flip": ["nose"]},
        {"skeleton": [[1]]},
        {"sigmas": [0.1]},
        {"sigmas": [0.1, 0.1, NAN]},
        {"sigmas": [0.1, 0.1, 1e-320]},
        {"sigmas": [0.1, 0.1, 1e7]},
        {"keypoints": ["nose", "nose", "right_eye"]},
    ],
)
def test_keypoint_fields_that_cannot_be_understood(files: Files, category: dict[str, Any]) -> None:
    people(files, **category)
    files.refused("'dog'", next(iter(category)))


@pytest.mark.parametrize(
    ("name", "mirrored"),
    [
        *[
            ("left_eye", "right_eye"),
            ("eyeLeft", "eyeRight"),
            ("RIGHT HIP", "LEFT HIP"),
            ("l_knee", "r_knee"),
        ],
        *[("knee-R", "knee-L"), ("nose", None), ("tail", None), ("collar", None)],
    ],
)
def test_mirrored_names(name: str, mirrored: str | None) -> None:
    assert mirrored_name(name) == mirrored


@pytest.mark.parametrize(
    ("names", "flip"),
    [
        (["LHip", "RHip", "Nose"], [1, 0, 2]),
        (["L1", "T1", "R1"], [2, 1, 0]),
        (["hipL", "hipR", "tail"], [1, 0, 2]),
        (["lhip", "rhip", "rib"], [1, 0, 2]),
        (["LR", "RR", "LL"], [0, 1, 2]),  # either of two
        (["left_R", "left_L", "right_L"], [0, 2, 1]),
    ],
)
def test_mirrored_letters(files: Files, names: list[str], flip: list[int]) -> None:
    people(files, keypoints=names)
    schema = files.read().keypoints
    assert schema is not None and schema.flip == flip


def test_keypoints_of_classes_that_differ_in_the_skeleton(files: Files) -> None:
    people(files, skeleton=[[1, 2]])
    cat, dog = files.document["categories"]
    cat |= dog | cat | {"skeleton": []}
    files.document["annotations"].append(files.first | {"id": 101, "category_id": 3})
    dataset = files.read()
    assert not dataset.problems
    assert [a.keypoints is None for a in dataset.image(0).annotations] == [False, False]


def test_keypoint_without_its_mirror_image(files: Files) -> None:
    people(files, keypoints=["nose", "left_eye", "mouth"])
    dataset = files.repaired("keypoint without its mirror image left in place")
    assert dataset.keypoints is not None and dataset.keypoints.flip == [0, 1, 2]


def test_skeleton_counted_from_zero(files: Files) -> None:
    people(files, skeleton=[[0, 1], [0, 2]])
    dataset = files.repaired("skeleton counted from 0 accepted")
    assert dataset.keypoints is not None and dataset.keypoints.skeleton == [(0, 1), (0, 2)]


def test_skeleton_outside(files: Files) -> None:
    people(files, skeleton=[[1, 2], [1, 4]])
    dataset = files.repaired("skeleton pair outside the keypoints dropped")
    assert dataset.keypoints is not None and dataset.keypoints.skeleton == [(0, 1)]


def test_unknown_sigmas(files: Files) -> None:
    people(files, sigmas=None)
    dataset = files.repaired("sigmas of 0.05 assumed")
    assert dataset.keypoints is not None and dataset.keypoints.sigmas == [0.05] * 3


def test_coco_sigmas(files: Files) -> None:
    people(files, keypoints=COCO_NAMES, sigmas=None)
    del files.first["keypoints"]
    schema = files.read().keypoints
    assert (
        schema is not None
        and schema.sigmas[0] == 0.026
        and schema.sigmas[-1] == 0.089
        and len(schema.sigmas) == 17
    )


def test_coco_sigmas_in_another_order(files: Files) -> None:
    people(files, keypoints=sorted(COCO_NAMES), sigmas=None)
    del files.first["keypoints"]
    schema = files.read().keypoints
    assert schema is not None and schema.sigmas[schema.names.index("nose")] == 0.026
    assert schema.sigmas[schema.names.index("left_ankle")] == 0.089


def test_nan_keypoint(files: Files) -> None:
    people(files)
    files.first["keypoints"][3] = NAN
    dataset = files.repaired("non-finite keypoint taken as unlabelled")
    np.testing.assert_array_equal(dataset.image(0).annotations[0].keypoints[1], 0)


def test_keypoints_of_another_number(files: Files) -> None:
    people(files)
    files.first["keypoints"].pop()
    files.refused("annotation 100", "9 numbers")


def test_keypoints_of_a_class_without(files: Files) -> None:
    people(files)
    files.first["category_id"] = 3
    assert files.repaired("keypoints of another class dropped").image(0).annotations[0].keypoints is None


def subjects(folder: Path) -> list[Subject]:
    """One file with polygons, RLEs of both kinds, crowds and keypoints."""
    files = Files(folder)
    people(files, skeleton=[[1, 2]], flip_pairs=[["left_eye", "right_eye"]])
    runs = {"size": [HEIGHT, WIDTH], "counts": [45, 5, 15, 5, 530]}
    text = coco_mask.frPyObjects(runs, HEIGHT, WIDTH)["counts"].decode()
    plain = files.first | {"category_id": 3, "keypoints": []}
    files.document["annotations"] += [
        plain | {"id": 101, "segmentation": runs, "iscrowd": 1, "image_id": 9},
        plain | {"id": 102, "segmentation": {"size": [HEIGHT, WIDTH], "counts": text}},
        plain | {"id": 103, "segmentation": []},
    ]
    files.read()
    return [Subject(folder, files.json, read_coco, looks_like_coco, [files.json])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


# ---- real data


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_people() -> None:
    begin = time.process_time()
    dataset = read_coco(SHARED / "data/coco_person_480/train.json")
    assert time.process_time() - begin < 2
    assert len(dataset) == 1061 and dataset.classes == ["person"] and not dataset.problems
    assert sum(len(image.annotations) for image in dataset) == 1779
    assert dataset.keypoints is not None and dataset.keypoints.names == COCO_NAMES
    assert dataset.keypoints.flip == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    image = dataset.image(3)
    assert dataset.pixels(3).shape == (image.height, image.width, 3)


def test_reading_does_not_depend_on_the_working_folder(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.read()
    monkeypatch.chdir(files.folder)
    assert read_coco(Path("labels.json")).pixels(0).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("far", [1e10, 1e308])
def test_a_polygon_that_runs_far_away_is_not_drawn(files: Files, far: float) -> None:
    """pycocotools would walk along it for hours, or write past its memory."""
    files.document["annotations"][0] |= {"segmentation": [[1, 1, far, 1, 5, 5]], "bbox": None}
    path = files.folder / "far.json"
    path.write_text(json.dumps(files.document))
    with pytest.raises(DataError, match="outline too long to draw"):
        read_coco(path, files.folder / "images")


def test_keypoints_of_x_and_y_alone_are_refused(files: Files) -> None:
    files.document["annotations"][0]["keypoints"] = [10, 10, 20, 12, 15, 20]
    for category in files.document["categories"]:
        category.pop("keypoints", None)
    files.refused("has a keypoint of visibility 20; are its keypoints x, y alone?")
