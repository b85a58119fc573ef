"""Data sets that say they are COCO JSON and differ from it: CrowdPose's and iSAID's records, as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from claims import repaired
from PIL import Image

from maskrcnn.labels.open import open_dataset

HEIGHT, WIDTH = 40, 60
CROWDPOSE = [
    f"{side}_{name}"
    for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
]
CROWDPOSE += ["head", "neck"]


def write(path: Path, image: Path, document: dict[str, Any]) -> Path:
    for each in (path, image):
        each.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(image)
    path.write_text(json.dumps(document))
    return path


def test_crowdpose(tmp_path: Path) -> None:
    """Fourteen joints, no areas, no segmentation, and a number for how crowded an image is."""
    keypoints = [value for k in range(14) for value in (5 + 3 * k, 4 + 2 * k, 2 if k else 0)]
    keypoints[:2] = [0, 0]
    document = {
        "images": [
            {"file_name": "100000.jpg", "id": 100000, "height": HEIGHT, "width": WIDTH, "crowdIndex": 0.4}
        ],
        "annotations": [
            {
                "num_keypoints": 13,
                "iscrowd": 0,
                "keypoints": keypoints,
                "image_id": 100000,
                "bbox": [4, 3, 45, 30],
                "category_id": 1,
                "id": 100001,
            }
        ],
        "categories": [
            {
                "supercategory": "person",
                "id": 1,
                "name": "person",
                "keypoints": CROWDPOSE,
                "skeleton": [[16, 14], [14, 12], [13, 14]],
            }
        ],
    }
    path = write(tmp_path / "json/crowdpose_train.json", tmp_path / "images/100000.jpg", document)
    kinds = [
        "missing area computed",
        "sigmas of 0.05 assumed",
        *["skeleton pair outside the keypoints dropped"],
    ]
    dataset = repaired(open_dataset(path), *kinds)
    (found,) = dataset.image(0).annotations
    assert dataset.keypoints is not None and dataset.keypoints.names == CROWDPOSE
    assert dataset.keypoints.flip[0] == 1 and dataset.keypoints.flip[12] == 12
    assert found.box == (4, 3, 49, 33) and found.keypoints is not None
    assert found.keypoints[0].tolist() == [0, 0, 0] and found.keypoints[1].tolist() == [8.5, 6.5, 2]


def test_isaid(tmp_path: Path) -> None:
    """The names of classes beside their ids, label images beside the image's, and polygons of any number."""
    ring = [10, 5, 30, 5, 30, 15, 10, 15]
    names = {"file_name": "P0002.png", "ins_file_name": "P0002_instance_id_RGB.png"}
    document = {
        "images": [{"id": 0, "width": WIDTH, "height": HEIGHT} | names],
        "categories": [{"id": 1, "name": "storage_tank"}, {"id": 9, "name": "Small_Vehicle"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 0,
                "category_id": 9,
                "category_name": "Small_Vehicle",
                "segmentation": [ring],
                "area": 200,
                "bbox": [10, 5, 20, 10],
                "iscrowd": 0,
            }
        ],
    }
    path = write(
        tmp_path / "train/Annotations/iSAID_train.json", tmp_path / "train/images/P0002.png", document
    )
    dataset = repaired(open_dataset(path))
    (found,) = dataset.image(0).annotations
    assert (
        dataset.classes[found.label] == "Small_Vehicle" and found.box == (10, 5, 30, 15) and found.area == 200
    )


def test_a_box_that_cvat_turned(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    outline = [10, 8, 18, 8, 18, 12, 10, 12]
    annotations = [
        {"id": number, "image_id": 1, "category_id": 1, "bbox": [10, 8, 8, 4], "iscrowd": 0, "area": 32,
         "segmentation": mask, "attributes": {"rotation": said}}
        for number, (said, mask) in enumerate([(90.0, []), (0.0, []), ("left", []), (90.0, [outline])], 1)
    ]  # fmt: skip
    images = [{"id": 1, "file_name": "a.png", "width": 30, "height": 20}]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    dataset = open_dataset(tmp_path / "a.json")
    boxes = [tuple(np.round(one.box, 6)) for one in dataset.image(0).annotations]
    assert boxes == [(12, 6, 16, 14)] + [(10, 8, 18, 12)] * 3
    assert dataset.problems.texts()["turned box replaced by the box around it"] == 1
