"""Datumaro's JSON: each kind of annotation, groups, and names of images as tools write them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import claims
import numpy as np
import pytest
from claims import bitmap
from fuzz import Subject, check_spoilt
from PIL import Image

from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.open import open_dataset
from maskrcnn.labels.readers.datumaro import looks_like_datumaro, read_datumaro

HEIGHT, WIDTH = 20, 30
SQUARE = [4.0, 2.0, 14.0, 2.0, 14.0, 12.0, 4.0, 12.0]


def one(kind: str, label: int | None = 0, group: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": 0, "type": kind, "attributes": {}, "group": group, "label_id": label, "z_order": 0} | more


def write(folder: Path, *annotations: Any, path: str = "a.jpg", split: str = "train", **more: Any) -> Path:
    """annotations/SPLIT.json and images/SPLIT/a.jpg."""
    for name in ("annotations", f"images/{split}"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"images/{split}/a.jpg")
    labels = [{"name": name, "parent": "", "attributes": []} for name in ("cat", "dog")]
    labels += [{"name": name, "parent": "dog", "attributes": []} for name in ("nose", "tail")]
    points = {"items": [{"label_id": 1, "labels": ["nose", "tail"], "joints": [[1, 2]]}]}
    item = {"id": "a", "annotations": list(annotations), "image": {"path": path, "size": [HEIGHT, WIDTH]}}
    document = {"info": {}, "categories": {"label": {"labels": labels}, "points": points}, "items": [item]}
    file = folder / f"annotations/{split}.json"
    file.write_text(json.dumps(document | more))
    return file


def repaired(source: Path, *kinds: str) -> FileDataset:
    return claims.repaired(read_datumaro(source), "sigmas of 0.05 assumed", *kinds)


@pytest.mark.parametrize(
    "path", ["a.jpg", "../tests/images/train/a.jpg", "C:\\data\\a.jpg", "/data/a.jpg", ""]
)
def test_boxes_polygons_and_masks(tmp_path: Path, path: str) -> None:
    counts = [105, 4, 16, 4, HEIGHT * WIDTH - 129]
    annotations = [
        one("bbox", bbox=[1.0, 2.0, 3.0, 4.0]),
        one("polygon", points=SQUARE),
        one("mask", 1, rle={"counts": counts, "size": [HEIGHT, WIDTH]}),
    ]
    file = write(tmp_path, *annotations, path=path)
    assert detect(file).name == "datumaro"
    dataset = repaired(file)
    assert dataset.classes == ["cat", "dog"] and dataset.keypoints.names == ["nose", "tail"]
    (image,) = dataset
    box, polygon, mask = image.annotations
    assert box.box == (1, 2, 4, 6) and polygon.area == 100 and mask.label == 1
    assert bitmap(mask, image).sum() == 8


def test_splits(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write(tmp_path, one("polygon", points=SQUARE), split=split)
    assert len(open_dataset(tmp_path, "train")) == len(open_dataset(tmp_path, "val")) == 1
    write(tmp_path / "cvat", one("polygon", points=SQUARE), split="default")
    assert len(open_dataset(tmp_path / "cvat")) == 1


def test_groups_are_objects(tmp_path: Path) -> None:
    """Two polygons and the box around them; another label in the group is another object."""
    other = [20.0, 10.0, 25.0, 10.0, 25.0, 15.0, 20.0, 15.0]
    annotations = [
        one("bbox", 1, 3, bbox=[4, 2, 21, 13]),
        one("polygon", 1, 3, points=SQUARE),
        one("polygon", 1, 3, points=other),
        one("skeleton", 1, 3, points=[5, 5, 2, 8, 8, 1]),
        one("polygon", 0, 3, points=other),
    ]
    (image,) = repaired(write(tmp_path, *annotations))
    dog, cat = image.annotations
    assert dog.box == (4, 2, 25, 15) and dog.area == 125 and cat.area == 25
    np.testing.assert_array_equal(dog.keypoints, [[5, 5, 2], [8, 8, 1]])


def test_skeleton_of_elements(tmp_path: Path) -> None:
    """As older exports of CVAT have it: an annotation for each keypoint, those that are outside with 0."""
    tail = one("points", 3, points=[8.0, 9.0], visibility=[1])
    nose = one("points", 2, points=[5.0, 6.0], visibility=[2])
    skeleton = one("skeleton", 1, elements=[tail, nose])
    (found,) = repaired(write(tmp_path, skeleton), "box taken from the keypoints").image(0).annotations
    np.testing.assert_array_equal(found.keypoints, [[5, 6, 2], [8, 9, 1]])
    for damaged in ([], [7], [nose | {"points": 3}], [nose | {"label_id": "x"}], [nose | {"label_id": 0}]):
        kinds = ["shape of an unread kind left out"]
        bbox = one("bbox", bbox=[1, 1, 5, 5])
        path = write(tmp_path, one("skeleton", 1, elements=damaged), bbox)
        assert len(repaired(path, *kinds).image(0).annotations) == 1


def test_a_skeleton_of_no_label(tmp_path: Path) -> None:
    path = write(tmp_path, one("bbox", bbox=[1, 1, 5, 5]))
    document = json.loads(path.read_text())
    for number in (-1, 99, -(10**30)):
        document["categories"]["points"]["items"].append({"label_id": number, "labels": ["nose", "tail"]})
    path.write_text(json.dumps(document))
    assert len(repaired(path).image(0).annotations) == 1


def test_ellipse(tmp_path: Path) -> None:
    (found,) = repaired(write(tmp_path, one("ellipse", points=[2.0, 3.0, 18.0, 13.0]))).image(0).annotations
    assert found.box == (2, 3, 18, 13) and found.area == pytest.approx(math.pi * 8 * 5, abs=8)


def test_points_alone(tmp_path: Path) -> None:
    annotations = [one("points", 1, points=[5, 5, 9, 12], visibility=[2, 2]), one("points", 0, points=[1, 1])]
    kinds = ["box taken from the keypoints", "shape of an unread kind left out"]
    (found,) = repaired(write(tmp_path, *annotations), *kinds).image(0).annotations
    assert found.box == (5, 5, 9, 12)


def test_what_is_counted(tmp_path: Path) -> None:
    annotations = [
        one("label"),
        one("caption", None, caption="hello"),
        one("bbox", None, bbox=[1, 1, 2, 2]),
        one("bbox", 9, bbox=[1, 1, 2, 2]),
        one("polyline", points=SQUARE),
        one("bbox", bbox=[1, 1, 2]),
        one("rotated_bbox", rotated_bbox=[10, 10, 4, 8, 90]),
        one("bbox", bbox=[1, 1, 5, 5], attributes={"is_crowd": True, "occluded": True, "colour": "red"}),
    ]
    kinds = ["tag left out"] * 2 + ["object without a class dropped"] * 2 + ["attribute left out"]
    kinds += ["shape of an unread kind left out", "non-finite coordinates dropped", "occlusion flag left out"]
    kinds += ["turned box replaced by the box around it"]
    turned, crowd = repaired(write(tmp_path, *annotations), *kinds).image(0).annotations
    np.testing.assert_allclose(turned.box, (6, 8, 14, 12))
    assert crowd.crowd


def test_what_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, one("mask", rle={"counts": "06", "size": [2, 3]}))
    claims.refused(lambda: read_datumaro(file), file, "RLE of annotation 0")
    file = write(tmp_path, 7)
    claims.refused(lambda: read_datumaro(file), file, "annotation 0")
    write(tmp_path, items=[7])
    claims.refused(lambda: read_datumaro(file), "not one .json of Datumaro")
    write(tmp_path, items=[{"annotations": [], "id": "b"}])
    claims.refused(lambda: read_datumaro(file), file, "'b.jpg' not found")
    write(tmp_path, categories={"annotations": 1})
    claims.refused(lambda: read_datumaro(file), file, "no list of labels")


def subjects(folder: Path) -> list[Subject]:
    rle = {"counts": [105, 4, 16, 4, HEIGHT * WIDTH - 129], "size": [HEIGHT, WIDTH]}
    file = write(
        folder,
        one("polygon", 1, 3, points=SQUARE),
        one("skeleton", 1, 3, points=[5, 5, 2, 8, 8, 1]),
        one("mask", rle=rle),
        one("rotated_bbox", rotated_bbox=[10, 10, 4, 8, 90]),
    )
    return [Subject(folder, file, read_datumaro, looks_like_datumaro, [file])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def bbox(*sides: float, label: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": "bbox", "bbox": list(sides), "label_id": label, **more}


def test_turned_boxes_and_ellipses_of_cvat(tmp_path: Path) -> None:
    turned = {"attributes": {"rotation": 90.0}}
    ellipse = {"type": "ellipse", "points": [10, 8, 18, 12], "label_id": 0, **turned}
    source = write(tmp_path, bbox(10, 8, 8, 4, **turned), ellipse)
    image = repaired(source, "turned box replaced by the box around it").image(0)
    assert [tuple(np.round(a.box, 1)) for a in image.annotations] == [(12, 6, 16, 14)] * 2


def test_a_group_of_several_objects_loses_none(tmp_path: Path) -> None:
    ring = {"type": "polygon", "points": [1, 1, 5, 1, 5, 5, 1, 5], "label_id": 0, "group": 2}
    anns = [bbox(1, 1, 4, 4, group=1), bbox(10, 10, 5, 5, group=1), ring, bbox(20, 12, 4, 4, group=2)]
    image = repaired(write(tmp_path, *anns)).image(0)
    assert sorted(a.box for a in image.annotations) == [
        (1, 1, 5, 5), (1, 1, 5, 5), (10, 10, 15, 15), (20, 12, 24, 16)
    ]  # fmt: skip


def test_a_label_with_a_parent_is_a_class(tmp_path: Path) -> None:
    """As Datumaro writes COCO's supercategories; only a skeleton's own points are none."""
    labels = [{"name": "dog", "parent": "animal"}, {"name": "cat", "parent": "dog"}]
    categories = {"label": {"labels": labels}, "points": {"items": []}}
    source = write(tmp_path, bbox(1, 1, 4, 4), bbox(10, 10, 5, 5, label=1), categories=categories)
    dataset = read_datumaro(source)
    assert dataset.classes == ["dog", "cat"] and [a.label for a in dataset.image(0).annotations] == [0, 1]


def test_a_rotation_of_a_persons_own_is_none(tmp_path: Path) -> None:
    anns = [bbox(1, 1, 4, 4, attributes={"rotation": said}) for said in ("left", True, [9], 10**400)]
    image = read_datumaro(write(tmp_path, *anns)).image(0)
    assert [a.box for a in image.annotations] == [(1, 1, 5, 5)] * 4


def test_a_group_of_boxes_and_outlines_by_turns(tmp_path: Path) -> None:
    def square(x: float) -> dict[str, Any]:
        points = [x, 1, x + 4, 1, x + 4, 5, x, 5]
        return {"type": "polygon", "points": points, "label_id": 0, "group": 1}

    anns = [bbox(1, 1, 4, 4, group=1), square(1), bbox(11, 1, 4, 4, group=1), square(11)]
    image = repaired(write(tmp_path, *anns)).image(0)
    assert [(a.box, len(a.polygons or [])) for a in image.annotations] == [
        ((1, 1, 5, 5), 1), ((11, 1, 15, 5), 1)
    ]  # fmt: skip
