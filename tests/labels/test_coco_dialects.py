"""COCO files as tools and people write them: read where the meaning is plain, with a count; else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims import bitmap, refused, repaired
from fuzz import Subject, check_spoilt
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnn.check.kinds import CheckKind
from maskrcnn.check.run import check
from maskrcnn.config.load import Config
from maskrcnn.errors import DataError
from maskrcnn.evaluate.coco import score_results
from maskrcnn.labels.detect import looks_like_coco
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.split import Grouping, split_data
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.training_data.fill_config import fill_config

HEIGHT, WIDTH = 40, 60
CORNERS = [[6, 4, 20, 16], [24, 10, 50, 36], [30, 2, 58, 12], [2, 20, 22, 38]]  # x1, y1, x2, y2


def ring(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def document() -> dict[str, Any]:
    """Two images of two objects each."""
    annotations = [
        {
            "id": number,
            "image_id": 1 + number % 2,
            "category_id": 1 + number // 2,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "segmentation": [ring(x0, y0, x1, y1)],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
        }
        for number, (x0, y0, x1, y1) in enumerate(CORNERS)
    ]
    images = [{"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in (1, 2)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("1.png", "2.png"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(tmp_path / "images" / name)
    return tmp_path


def read(folder: Path, labels: dict[str, Any], name: str = "labels.json") -> FileDataset:
    (folder / name).write_text(json.dumps(labels))
    return read_coco(folder / name)


def plain(folder: Path) -> list[tuple[Any, ...]]:
    """The objects of the document as it is."""
    return objects(read(folder, document(), "plain.json"))


def objects(dataset: FileDataset) -> list[tuple[Any, ...]]:
    return [
        (image.image_id, a.id, dataset.classes[a.label], a.box, a.area, a.crowd, bitmap(a, image).sum())
        for image in dataset
        for a in image.annotations
    ]


def subjects(folder: Path) -> list[Subject]:
    """One file with most of what is read here."""
    for name in ("1.png", "2.png"):
        (folder / "images/sub").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(folder / "images/sub" / name)
    labels = document()
    for image in labels["images"]:
        image["file_name"] = "set\\sub\\" + image["file_name"]
        image["path"] = "/data/set/sub/" + image["file_name"]
    first, second, third, fourth = labels["annotations"]
    first |= {"image_id": "1", "iscrowd": "0", "segmentation": [pairs(first["segmentation"][0])]}
    second |= {"category_id": "1", "keypoints": [8, 9, 2, 12, 11, 1]}
    runs = {"size": [HEIGHT, WIDTH], "counts": [45, 5, 15, 5, HEIGHT * WIDTH - 70]}
    third |= {"segmentation": [runs, runs], "iscrowd": "1"}
    fourth |= {"segmentation": pairs(fourth["segmentation"][0]), "id": 2**70}
    labels["categories"] *= 2
    labels["categories"].append({"id": 0, "name": "all", "supercategory": "none"})
    read(folder, labels)
    path = folder / "labels.json"
    return [Subject(folder, path, read_coco, looks_like_coco, [path])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


# ---- iscrowd


def test_annotations_by_their_id(folder: Path) -> None:
    """As LIVECell's single cell types have them."""
    labels = document()
    labels["annotations"] = {str(one["id"]): one for one in labels["annotations"]}
    assert objects(read(folder, labels)) == plain(folder)


@pytest.mark.parametrize("zero", ["0", " 0 ", "false", "False"])
def test_iscrowd_as_text(folder: Path, zero: str) -> None:
    labels = document()
    labels["annotations"][0]["iscrowd"] = zero
    labels["annotations"][1]["iscrowd"] = "1"
    dataset = repaired(read(folder, labels), *["iscrowd written as text read as a number"] * 2)
    assert [a.crowd for a in sorted((a for i in dataset for a in i.annotations), key=lambda a: a.id)] == [
        *[False, True, False, False]
    ]


@pytest.mark.parametrize("value", [0, 0.0, False])
def test_iscrowd_as_any_number(folder: Path, value: Any) -> None:
    labels = document()
    labels["annotations"][0]["iscrowd"] = value
    assert objects(repaired(read(folder, labels))) == plain(folder)


@pytest.mark.parametrize("value", ["yes", 2, -1, [], {}, "2", float("nan")])
def test_iscrowd_that_says_nothing(folder: Path, value: Any) -> None:
    labels = document()
    labels["annotations"][2]["iscrowd"] = value
    refused(lambda: read(folder, labels), "annotation 2 of image '1.png'", "iscrowd", "write 0 for an object")


def test_every_iscrowd_is_1(folder: Path) -> None:
    labels = document()
    for annotation in labels["annotations"]:
        annotation["iscrowd"] = 1
    dataset = read(folder, labels)
    assert dataset.problems.counts == {ProblemKind.ONLY_CROWDS: 4}
    (line,) = dataset.problems.lines()
    assert "data.crowds=objects" in line and "first annotation 0 of image '1.png'" in line
    refused(
        lambda: split_data(
            *[str(folder / "labels.json"), folder / "out"],
            **{"val": 0.5, "test": 0.0, "by": "random", "grouping": Grouping(), "seed": 0, "copy": False},
        ),
        *["all 4 annotations have iscrowd 1", "data.crowds=objects"],
    )
    assert not (folder / "out").exists()
    labels["annotations"][1]["iscrowd"] = 0
    assert not read(folder, labels).problems
    kinds = [group.kind for group in check(str(folder / "labels.json"), measured=False).findings]
    assert CheckKind.MOSTLY_CROWDS in kinds
    labels["annotations"][2]["iscrowd"] = 0
    read(folder, labels)
    kinds = [group.kind for group in check(str(folder / "labels.json"), measured=False).findings]
    assert CheckKind.MOSTLY_CROWDS not in kinds


# ---- ids


@pytest.mark.parametrize("form", [str, float])
@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_ids_in_another_form(folder: Path, key: str, form: type) -> None:
    labels = document()
    for annotation in labels["annotations"]:
        annotation[key] = form(annotation[key])
    kind = "id that is text in one place and a number in another matched"
    assert objects(repaired(read(folder, labels), *[kind] * 4)) == plain(folder)


def test_images_with_text_for_ids(folder: Path) -> None:
    labels = document()
    for image in labels["images"]:
        image["id"] = str(image["id"])
    kind = "id that is text in one place and a number in another matched"
    dataset = repaired(read(folder, labels), *[kind] * 4)
    assert [image.image_id for image in dataset] == ["1", "2"] and len(objects(dataset)) == 4


@pytest.mark.parametrize("ids", [["1", "2"], ["7", "cat"], ["a", "b"], [1.0, 2.0], [5, "5"]])
@pytest.mark.parametrize("form", [lambda raw: raw, str])
def test_categories_with_text_for_ids(folder: Path, ids: list[Any], form: Any) -> None:
    """Objects keep their classes; what is written has numbers."""
    labels = document()
    for category, raw in zip(labels["categories"], ids, strict=True):
        category["id"] = raw
    for annotation in labels["annotations"]:
        raw = ids[annotation["category_id"] - 1]
        annotation["category_id"] = raw if isinstance(raw, float) else form(raw)
    if 5 in ids:  # two spellings of one number: which is meant is told by the form alone
        refused(lambda: read(folder, labels), "has the id 5 of another category")
        return
    dataset = read(folder, labels)
    assert objects(dataset) == plain(folder)
    assert all(type(number) is int for number in dataset.class_ids) and len(set(dataset.class_ids)) == 2
    assert dataset.problems.texts()["category id that is no whole number taken as one"] == 2
    write_coco(dataset, folder / "again.json")
    assert objects(read_coco(folder / "again.json")) == objects(dataset)


def test_an_unknown_category_beside_ids_of_any_text(folder: Path) -> None:
    labels = document()
    labels["categories"][0]["id"] = "\x1b[2J\n"
    with pytest.raises(DataError) as caught:
        read(folder, labels)
    assert str(caught.value).isprintable() and "category_id 1, which is not in" in str(caught.value)


@pytest.mark.parametrize("raw", [True, 1.5, None, [1], {}])
def test_what_is_no_id_of_a_category(folder: Path, raw: Any) -> None:
    labels = document()
    labels["categories"][0]["id"] = raw
    refused(lambda: read(folder, labels), "category 'cat' has the id", "give it a whole number")


def test_text_that_is_an_id_itself_comes_first(folder: Path) -> None:
    labels = document()
    labels["images"][1]["id"] = "1"
    for annotation in labels["annotations"]:
        annotation["image_id"] = 1 if annotation["image_id"] == 1 else "1"
    assert [found[0] for found in objects(repaired(read(folder, labels)))] == [1, 1, "1", "1"]


@pytest.mark.parametrize("image_id", [True, "1.5", 1.5, None, [1], "one"])
def test_what_is_no_id_in_any_form(folder: Path, image_id: Any) -> None:
    labels = document()
    labels["annotations"][1]["image_id"] = image_id
    assert read(folder, labels).problems.texts() == {"annotation without an image dropped": 1}


@pytest.mark.parametrize("great", [2**63, 2**64, -(2**63) - 1, 10**40])
def test_ids_beyond_64_bits(folder: Path, great: int) -> None:
    """They come back as they are from reading, scoring and writing."""
    labels = document()
    for record in labels["images"] + labels["categories"]:
        record["id"] += great
    for annotation in labels["annotations"]:
        for key in ("id", "image_id", "category_id"):
            annotation[key] += great
    dataset = repaired(read(folder, labels))
    results = [
        {"image_id": i.image_id, "category_id": dataset.class_ids[a.label], "score": 0.9}
        | {"bbox": [a.box[0], a.box[1], a.box[2] - a.box[0], a.box[3] - a.box[1]]}
        for i in dataset
        for a in i.annotations
    ]
    assert score_results(dataset, results)["bbox"]["AP"] == pytest.approx(100.0)
    assert fill_config(Config(), dataset).model.class_ids == [], "a model has room for 64 bits"
    write_coco(dataset, folder / "again.json")
    again = json.loads((folder / "again.json").read_text())
    for key in ("images", "categories", "annotations"):
        assert sorted(r["id"] for r in again[key]) == sorted(r["id"] for r in labels[key])


def test_one_file_under_two_ids(folder: Path) -> None:
    """No split may tear them apart: the image would be learned and tested."""
    labels = document()
    for number in range(3, 9):
        labels["images"].append(labels["images"][number % 2] | {"id": number})
        labels["annotations"].append(
            labels["annotations"][number % 2] | {"id": 10 + number, "image_id": number}
        )
    kind = "image file under a second id"
    assert len(repaired(read(folder, labels), *[kind] * 6)) == 8
    for seed in range(4):
        out = folder / f"out{seed}"
        shares = {"val": 0.5, "test": 0.0, "grouping": Grouping(), "copy": False}
        try:
            parts = split_data(str(folder / "labels.json"), out, by="random", seed=seed, **shares)
        except DataError as error:
            assert "would get 0 images" in str(error)  # both files in one part
            continue
        train, val = ({part.image(index).file_name for index in range(len(part))} for part in parts.values())
        assert not train & val


# ---- categories


def test_categories_repeated(folder: Path) -> None:
    labels = document()
    labels["categories"] *= 3
    kind = "category repeated with its id and name passed over"
    assert objects(repaired(read(folder, labels), *[kind] * 4)) == plain(folder)


@pytest.mark.parametrize("name", ["animals", "cat"])
def test_root_category_of_roboflow(folder: Path, name: str) -> None:
    """It has the name of the project, which may be that of a class."""
    labels = document()
    for category in labels["categories"]:
        category["supercategory"] = name
    labels["categories"].insert(0, {"id": 0, "name": name, "supercategory": "none"})
    dataset = repaired(read(folder, labels), "root category without an object left out")
    assert dataset.classes == ["cat", "dog"] and objects(dataset) == plain(folder)


def test_root_category_with_objects_is_a_class(folder: Path) -> None:
    labels = document()
    labels["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
    labels["annotations"][0]["category_id"] = 0
    assert repaired(read(folder, labels)).classes == ["animals", "cat", "dog"]


def test_classes_that_all_have_no_supercategory_stay(folder: Path) -> None:
    """One without an object here may have some in another split."""
    labels = document()
    labels["categories"].append({"id": 3, "name": "cow"})
    for category in labels["categories"]:
        category["supercategory"] = "none"
    assert repaired(read(folder, labels)).classes == ["cat", "dog", "cow"]


# ---- coordinates


def as_shares(values: list[float]) -> list[float]:
    return [value / (WIDTH if place % 2 == 0 else HEIGHT) for place, value in enumerate(values)]


@pytest.mark.parametrize("masks", [True, False])
def test_boxes_from_0_to_1(folder: Path, masks: bool) -> None:
    labels = document()
    for annotation in labels["annotations"]:
        annotation["bbox"] = as_shares(annotation["bbox"])
        annotation["segmentation"] = [as_shares(annotation["segmentation"][0])] if masks else []
    words = ["all 4 boxes", "shares of the image", "multiply x and width by the image's width"]
    refused(lambda: read(folder, labels), folder / "labels.json", *words)


def test_outlines_from_0_to_1_beside_boxes_in_pixels(folder: Path) -> None:
    labels = document()
    for annotation in labels["annotations"]:
        annotation["segmentation"] = [as_shares(annotation["segmentation"][0])]
    refused(lambda: read(folder, labels), "all 4 outlines", "multiply x by the image's width")


def test_keypoints_from_0_to_1(folder: Path) -> None:
    labels = document()
    labels["categories"][0]["keypoints"] = ["nose", "tail"]
    for annotation in labels["annotations"][:2]:
        annotation["keypoints"] = [0.2, 0.3, 2, 0.5, 0.75, 1]
    refused(lambda: read(folder, labels), "all 2 keypoints", "shares of the image")


def test_keypoints_in_the_first_pixel_of_their_box(folder: Path) -> None:
    labels = document()
    labels["categories"][0]["keypoints"] = ["nose"]
    labels["annotations"][0] |= {"bbox": [0.5, 0.5, 8, 8], "keypoints": [0.75, 0.5, 2]}
    labels["annotations"][0]["segmentation"] = [[0.5, 0.5, 0.9, 0.5, 0.9, 0.9]]
    assert len(read(folder, labels)) == 2


def test_one_object_in_pixels_says_that_all_are(folder: Path) -> None:
    labels = document()
    for annotation in labels["annotations"][1:]:
        annotation["bbox"], annotation["segmentation"] = [0.25, 0.25, 0.5, 0.5], []
    assert len(objects_of_boxes(read(folder, labels))) == 4


def test_a_whole_pixel_in_the_corner_is_no_share(folder: Path) -> None:
    labels = document()
    labels["annotations"] = [labels["annotations"][0] | {"bbox": [0, 0, 1, 1], "segmentation": []}]
    assert objects_of_boxes(read(folder, labels)) == [(0.0, 0.0, 1.0, 1.0)]


def objects_of_boxes(dataset: FileDataset) -> list[tuple[float, ...]]:
    return [a.box for image in dataset for a in image.annotations]


@pytest.mark.parametrize("mask", ["polygons", "rle"])
def test_boxes_that_are_corners_of_their_masks(folder: Path, mask: str) -> None:
    labels = document()
    for annotation, corners in zip(labels["annotations"], CORNERS, strict=True):
        annotation["bbox"] = corners
        if mask == "rle":
            drawn = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
            drawn[corners[1] : corners[3], corners[0] : corners[2]] = 1
            rle = coco_mask.encode(drawn)
            annotation["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
    words = ["all 4 boxes", "x1, y1, x2, y2", "write x, y, width and height"]
    refused(lambda: read(folder, labels), folder / "labels.json", *words)
    labels["annotations"][3]["bbox"] = [2, 20, 20, 18]  # one as COCO has it
    assert len(read(folder, labels)) == 2


def test_boxes_that_are_corners_without_masks(folder: Path) -> None:
    labels = document()
    for annotation, corners in zip(labels["annotations"], CORNERS, strict=True):
        annotation["bbox"], annotation["segmentation"] = corners, []
    refused(lambda: read(folder, labels), "3 of 4 boxes leave their image", "none does as x1, y1, x2, y2")


@pytest.mark.parametrize(
    "boxes",
    [
        [[0, 0, 61, 41]] * 4,  # objects as large as the image, sloppily
        [[6, 4, 70, 50], [30, 10, 20, 36], [30, 2, 58, 12], [2, 20, 58, 38]],  # one is no corners
        [[6, 4, 70, 50], [30, 10, 90, 36]],  # these would leave the image as corners too
    ],
)
def test_sloppy_boxes_stay_boxes(folder: Path, boxes: list[list[float]]) -> None:
    labels = document()
    for annotation, box in zip(labels["annotations"], boxes, strict=False):
        annotation["bbox"], annotation["segmentation"] = box, []
    labels["annotations"] = labels["annotations"][: len(boxes)]
    assert read(folder, labels).problems.counts[ProblemKind.CLIPPED_BOX] >= 1


# ---- masks


def pairs(flat: list[float]) -> list[list[float]]:
    return [flat[place : place + 2] for place in range(0, len(flat), 2)]


def test_polygons_of_pairs(folder: Path) -> None:
    labels = document()
    for annotation in labels["annotations"]:
        annotation["segmentation"] = [pairs(polygon) for polygon in annotation["segmentation"]]
    kind = "polygon of x, y pairs accepted"
    assert objects(repaired(read(folder, labels), *[kind] * 4)) == plain(folder)


def test_a_polygon_of_pairs_without_its_list(folder: Path) -> None:
    labels = document()
    for annotation in labels["annotations"]:
        annotation["segmentation"] = pairs(annotation["segmentation"][0])
    kinds = ["polygon of x, y pairs accepted", "polygon without its outer list accepted"]
    assert objects(repaired(read(folder, labels), *kinds * 4)) == plain(folder)


@pytest.mark.parametrize("compressed", [True, False])
def test_rles_in_a_list(folder: Path, compressed: bool) -> None:
    labels = document()
    for annotation, (x0, y0, x1, y1) in zip(labels["annotations"], CORNERS, strict=True):
        halves = []
        for begin, end in ((x0, x0 + 5), (x0 + 5, x1)):
            drawn = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
            drawn[y0:y1, begin:end] = 1
            counts: Any = coco_mask.encode(drawn)["counts"].decode()
            if not compressed:
                edges = np.flatnonzero(np.diff(drawn.reshape(-1, order="F"), prepend=0, append=0))
                counts = np.diff(edges, prepend=0, append=drawn.size).tolist()
            halves.append({"size": [HEIGHT, WIDTH], "counts": counts})
        annotation["segmentation"] = halves
    dataset = repaired(read(folder, labels), *["RLE inside a list accepted"] * 4)
    assert objects(dataset) == plain(folder)


@pytest.mark.parametrize(
    "segmentation",
    [
        [[[[6, 4], [20, 4], [20, 16]], [[8, 5], [9, 5], [9, 6]]]],
        [[{"x": 6, "y": 4}, {"x": 20, "y": 4}, {"x": 20, "y": 16}]],
        [{"x": 6, "y": 4}, {"x": 20, "y": 4}, {"x": 20, "y": 16}],
    ],
)
def test_masks_of_another_shape_are_refused(folder: Path, segmentation: Any) -> None:
    """A mask that is lost would only be missed after the training."""
    labels = document()
    labels["annotations"][0]["segmentation"] = segmentation
    refused(lambda: read(folder, labels), "annotation 0 of image '1.png'")


# ---- keypoints


def test_keypoints_without_names(folder: Path) -> None:
    labels = document()
    for annotation in labels["annotations"]:
        annotation["keypoints"] = [8, 9, 2, 12, 11, 1, 0, 0, 0]
    dataset = read(folder, labels)
    counts = dataset.problems.counts
    assert counts == {ProblemKind.KEYPOINTS_UNNAMED: 4, ProblemKind.SIGMAS_ASSUMED: 2}
    assert dataset.keypoints is not None and dataset.keypoints.names == ["k1", "k2", "k3"]
    np.testing.assert_array_equal(
        dataset.image(0).annotations[0].keypoints, [[8.5, 9.5, 2], [12.5, 11.5, 1], [0, 0, 0]]
    )


def test_keypoints_of_no_object_need_no_names(folder: Path) -> None:
    labels = document()
    for annotation in labels["annotations"]:
        annotation["keypoints"] = [0] * 9
    assert read(folder, labels).keypoints is None


def test_keypoints_without_names_of_several_numbers(folder: Path) -> None:
    labels = document()
    labels["annotations"][0]["keypoints"] = [8, 9, 2, 12, 11, 1]
    labels["annotations"][1]["keypoints"] = [8, 9, 2]
    refused(lambda: read(folder, labels), "annotation 1", "must be 6 numbers")


def test_opened_as_any_source(folder: Path) -> None:
    labels = document()
    labels["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
    (folder / "labels.json").write_text(json.dumps(labels))
    assert open_dataset(folder).classes == ["cat", "dog"]


def test_boxes_of_coco_annotator_are_boxes(folder: Path) -> None:
    """Their outline is the box itself: a mask would be learned of it."""
    labels = document()
    for annotation in labels["annotations"][:3]:
        annotation["isbbox"] = True
    labels["annotations"][3]["isbbox"] = False
    dataset = repaired(read(folder, labels), *["outline of a box drawn as a box (isbbox) left out"] * 3)
    found = {a.id: (a.has_mask, a.box) for image in dataset for a in image.annotations}
    assert found == {n: (n == 3, tuple(map(float, corners))) for n, corners in enumerate(CORNERS)}


def test_a_class_called_items_is_no_datumaro(folder: Path) -> None:
    labels = document()
    labels["categories"][0]["name"] = "items"
    read(folder, labels)
    assert open_dataset(folder).classes == ["items", "dog"]
