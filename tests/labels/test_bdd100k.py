"""BDD100K's frames: boxes, outlines with curves, and RLEs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import claims
import numpy as np
import pytest
from fuzz import Subject, check_spoilt
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.detect import detect
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.bdd100k import looks_like_bdd100k, read_bdd100k
from maskrcnn.masks.rle import rle_bitmap

HEIGHT, WIDTH = 20, 30
SQUARE = [[4, 2], [14, 2], [14, 12], [4, 12]]


def label(category: str, **shape: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "category": category,
        "attributes": {"occluded": False, "trafficLightColor": "NA"},
    } | shape


def box(x1: float, y1: float, x2: float, y2: float) -> dict[str, float]:
    return {"x1": x1, "y1": y1, "x2": x2, "y2": y2}


def outline(vertices: Any, types: str, closed: bool = True) -> list[dict[str, Any]]:
    return [{"vertices": vertices, "types": types, "closed": closed}]


def write(
    folder: Path, *labels: Any, images: str = "images/100k/train", whole: bool = False, **more: Any
) -> Path:
    (folder / "labels/det_20").mkdir(parents=True, exist_ok=True)
    (folder / images).mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / images / name)
    frames = [{"name": "a.jpg", "labels": list(labels), "timestamp": 10000} | more, {"name": "b.jpg"}]
    path = folder / "labels/det_20/det_train.json"
    path.write_text(json.dumps({"frames": frames, "config": {}} if whole else frames))
    return path


def repaired(source: Path, *kinds: str) -> FileDataset:
    return claims.repaired(read_bdd100k(source), *kinds)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("images", ["images/100k/train", "labels/det_20", "labels/det_20/images"])
def test_boxes(tmp_path: Path, images: str, whole: bool) -> None:
    path = write(tmp_path, label("car", box2d=box(4.5, 2, 14, 12.25)), images=images, whole=whole)
    for source in (path, path.parent):
        assert detect(source).name == "bdd100k"
        dataset = repaired(source)
        first, second = dataset
        assert dataset.classes == ["car"] and not second.annotations
        assert [a.box for a in first.annotations] == [(4.5, 2, 15, 13.25)]  # the last pixel is inside


def test_masks(tmp_path: Path) -> None:
    bitmap = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    bitmap[5:9, 10:20] = 1
    rle = coco_mask.encode(bitmap)
    path = write(
        tmp_path,
        label("car", poly2d=outline(SQUARE, "LLLL"), box2d=box(4, 2, 14, 12)),
        label("bus", rle={"size": rle["size"], "counts": rle["counts"].decode()}),
    )
    (first, _) = repaired(path)
    car, bus = (rle_bitmap(annotation_rle(a, HEIGHT, WIDTH)) for a in first.annotations)
    assert car.sum() == 100 and (bus == bitmap).all()


def test_a_curve(tmp_path: Path) -> None:
    """A half disc: the arc from (5, 10) to (25, 10) by way of two control points."""
    arc = [[5, 10], [5, -3.33], [25, -3.33], [25, 10]]
    (first, _) = repaired(write(tmp_path, label("car", poly2d=outline(arc, "LCCC"))))
    found = rle_bitmap(annotation_rle(first.annotations[0], HEIGHT, WIDTH)) > 0
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert claims.iou(found, (np.hypot(x - 15, y - 10) <= 10) & (y < 10)) > 0.9


def test_what_is_counted(tmp_path: Path) -> None:
    crowd = label("car", box2d=box(4, 2, 14, 12))
    crowd["attributes"] = {"crowd": True, "occluded": True, "trafficLightColor": "red"}
    path = write(
        tmp_path,
        crowd,
        label("lane", poly2d=outline(SQUARE, "LLLL", closed=False)),
        {"box2d": box(1, 1, 2, 2)},
        label("car", box2d={"x1": 1}),
        label("car", box2d=box(1, 1, 3, 3)),
    )
    kinds = ["occlusion flag left out", "attribute left out", "shape of an unread kind left out"]
    kinds += ["object without a class dropped", "non-finite coordinates dropped"]
    (first, _) = repaired(path, *kinds)
    assert [a.crowd for a in first.annotations] == [True, False]


def test_what_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, label("car", rle={"size": [HEIGHT, 7], "counts": "0"}))
    claims.refused(lambda: read_bdd100k(path), path, "RLE of label 0")
    path = write(tmp_path, label("car", box2d=box(1, 1, 5, 5)), name="b.jpg")
    claims.refused(lambda: read_bdd100k(path), path, "'b.jpg' is there twice")
    path = write(tmp_path, label("car", box2d=box(1, 1, 5, 5)), labels=7)
    claims.refused(lambda: read_bdd100k(path), "not one .json of BDD100K")
    claims.refused(lambda: read_bdd100k(tmp_path / "none.json"), "not one .json of BDD100K")


def subjects(folder: Path) -> list[Subject]:
    rle = {"size": [HEIGHT, WIDTH], "counts": [105, 4, 16, 4, HEIGHT * WIDTH - 129]}
    path = write(
        folder,
        label("car", poly2d=outline(SQUARE, "LLLL"), box2d=box(4, 2, 14, 12)),
        label("bus", rle=rle),
        label("bus", poly2d=outline([[5, 10], [5, -3.33], [25, -3.33], [25, 10]], "LCCC")),
    )
    return [Subject(folder, path, read_bdd100k, looks_like_bdd100k, [path])]


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    check_spoilt(subjects(tmp_path))


def test_ignored_regions_are_crowds_and_boxes_stay_in_their_image(tmp_path: Path) -> None:
    ignored = label("car", box2d=box(1, 2, 5, 6)) | {"attributes": {"ignored": True}}
    whole = label("car", box2d=box(0, 0, WIDTH, HEIGHT - 1))
    first = repaired(write(tmp_path, ignored, whole)).image(0)
    assert [(a.box, a.crowd) for a in first.annotations] == [
        ((1, 2, 6, 7), True), ((0, 0, WIDTH, HEIGHT), False)
    ]  # fmt: skip
