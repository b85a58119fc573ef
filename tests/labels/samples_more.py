"""The twelve images in formats that are written anew for each test: by hand, as their tools write them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from samples_masks import (
    CITYSCAPES,
    CITYSCAPES_IDS,
    Item,
    labelled_images,
    save,
    whole_box,
    write_json,
)
from samples_polygons import corner_rings
from test_imagej_rois import POLYGON, roi

from maskrcnn.labels.types import Dataset


def objects(items: list[Item]) -> list[Item]:
    """All but the crowds."""
    return [item for item in items if not item.annotation.crowd]


def runs(mask: np.ndarray) -> list[int]:
    """The counts of COCO's RLE, uncompressed."""
    values = mask.reshape(-1, order="F")
    edges = np.flatnonzero(np.diff(values, prepend=False)).tolist()
    return np.diff([0, *edges, values.size]).tolist()


def write_createml(dataset: Dataset, folder: Path) -> None:
    document = []
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / f"{name}.png", pixels)
        annotations = []
        for item in objects(items):
            x0, y0, x1, y1 = whole_box(item.mask)
            box = {"x": (x0 + x1) / 2, "y": (y0 + y1) / 2, "width": x1 - x0, "height": y1 - y0}
            annotations.append({"label": item.name, "coordinates": box})
        document.append({"image": f"{name}.png", "annotations": annotations})
    write_json(folder / "_annotations.createml.json", document)


def write_dota(dataset: Dataset, folder: Path) -> None:
    (folder / "labelTxt").mkdir()
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / "images" / f"{name}.png", pixels)
        text = "imagesource:GoogleEarth\ngsd:0.146\n"
        for item in objects(items):
            x0, y0, x1, y1 = whole_box(item.mask)
            corners = (x0, y0, x1, y0, x1, y1, x0, y1)
            text += " ".join(f"{value:.1f}" for value in corners) + f" {item.name} 0\n"
        (folder / "labelTxt" / f"{name}.txt").write_text(text)


def write_bdd100k(dataset: Dataset, folder: Path) -> None:
    frames = []
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / "images" / f"{name}.png", pixels)
        labels = [
            {
                "id": str(item.annotation.id),
                "category": item.name,
                "attributes": {"crowd": item.annotation.crowd, "occluded": False},
                "rle": {"size": list(item.mask.shape), "counts": runs(item.mask)},
            }
            for item in items
        ]
        frames.append({"name": f"{name}.png", "labels": labels})
    write_json(folder / "ins_seg_train.json", {"frames": frames, "config": {}})


def write_kitti_mots(dataset: Dataset, folder: Path) -> None:
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / "image_02/0000" / f"{name}.png", pixels)
        ids = np.zeros(pixels.shape[:2], np.uint16)
        people = [item for item in objects(items) if item.name == "person"]
        for number, item in enumerate(people):
            ids[item.mask] = 2000 + number
        save(folder / "instances/0000" / f"{name}.png", ids)


def write_kitti_semantic(dataset: Dataset, folder: Path) -> None:
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / "training/image_2" / f"{name}.png", pixels)
        ids = np.full(pixels.shape[:2], 7 << 8, np.uint16)  # road
        for number, item in enumerate(items, start=1):
            kind = CITYSCAPES_IDS[CITYSCAPES[item.name]] << 8
            ids[item.mask] = kind if item.annotation.crowd else kind + number
        save(folder / "training/instance" / f"{name}.png", ids)


def write_datumaro(dataset: Dataset, folder: Path) -> None:
    entries = []
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / "images/train" / f"{name}.png", pixels)
        height, width = pixels.shape[:2]
        annotations = [
            {
                "id": item.annotation.id,
                "type": "mask",
                "attributes": {"is_crowd": item.annotation.crowd, "occluded": False},
                "group": item.annotation.id,
                "label_id": item.annotation.label,
                "z_order": 0,
                "rle": {"counts": runs(item.mask), "size": [height, width]},
            }
            for item in items
        ]
        media = {"path": f"{name}.png", "size": [height, width]}
        entries.append({"id": name, "annotations": annotations, "attr": {"frame": 0}, "image": media})
    labels = [{"name": name, "parent": "", "attributes": []} for name in dataset.classes]
    categories = {"label": {"labels": labels, "attributes": []}, "mask": {"colormap": []}}
    write_json(folder / "annotations/train.json", {"info": {}, "categories": categories, "items": entries})


def write_open_images(dataset: Dataset, folder: Path) -> None:
    sides = ["XMin", "XMax", "YMin", "YMax"]
    boxes = [",".join(["ImageID,Source,LabelName,Confidence", *sides, "IsOccluded,IsTruncated,IsGroupOf"])]
    masks = ["MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"]
    for _, name, pixels, items in labelled_images(dataset):
        (folder / "train").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "train" / f"{name}.jpg", format="PNG")  # of the same pixels
        height, width = pixels.shape[:2]
        for item in items:
            x0, y0, x1, y1 = whole_box(item.mask)
            box = f"{x0 / width:.6f},{x1 / width:.6f},{y0 / height:.6f},{y1 / height:.6f}"
            boxes.append(f"{name},xclick,{item.name},1,{box},0,0,{int(item.annotation.crowd)}")
            file = f"{name}_{item.annotation.id}.png"
            save(folder / "masks" / file, item.mask.astype(np.uint8) * 255)
            masks.append(f"{file},{name},{item.name},{item.annotation.id},{box},0.9,")
    (folder / "train-annotations-bbox.csv").write_text("\n".join(boxes) + "\n")
    (folder / "train-annotations-object-segmentation.csv").write_text("\n".join(masks) + "\n")


def write_run_lengths(dataset: Dataset, folder: Path) -> None:
    lines = ["ImageId,ClassId,EncodedPixels"]
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / "train" / f"{name}.png", pixels)
        for item in objects(items):
            counts = runs(item.mask)
            starts = np.cumsum(counts)[:-1:2] + 1
            pairs = zip(starts.tolist(), counts[1::2], strict=True)
            lines.append(f"{name},{item.name},{' '.join(f'{start} {length}' for start, length in pairs)}")
        if not objects(items):
            lines.append(f"{name},,")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")


def write_segmentation_masks(dataset: Dataset, folder: Path) -> None:
    colours = {name: (250 - 40 * label, 50 + 30 * label, 83) for label, name in enumerate(dataset.classes)}
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, colour))}::" for name, colour in colours.items()]
    (folder / "labelmap.txt").write_text("\n".join(lines) + "\n")
    names = []
    for _, name, pixels, items in labelled_images(dataset):
        names.append(name)
        save(folder / "JPEGImages" / f"{name}.png", pixels)
        found, kinds = np.zeros_like(pixels), np.zeros_like(pixels)
        for number, item in enumerate(objects(items), start=1):
            found[item.mask] = (number * 37 % 256, number * 91 % 256, 200)
            kinds[item.mask] = colours[item.name]
        if items:  # CVAT writes none where there is no object
            save(folder / "SegmentationObject" / f"{name}.png", found)
            save(folder / "SegmentationClass" / f"{name}.png", kinds)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "ImageSets/Segmentation/default.txt").write_text("\n".join(names) + "\n")


def write_cellpose(dataset: Dataset, folder: Path) -> None:
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / f"{name}.png", pixels)
        ids = np.zeros(pixels.shape[:2], np.uint16)
        for number, item in enumerate(objects(items), start=1):
            ids[item.mask] = number
        save(folder / f"{name}_cp_masks.png", ids)


def write_qupath(dataset: Dataset, folder: Path) -> None:
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / f"{name}.png", pixels)
        features = []
        for item in objects(items):
            rings = [[[*ring.tolist(), ring[0].tolist()]] for ring in corner_rings(item.mask)]
            kind = "Polygon" if len(rings) == 1 else "MultiPolygon"
            geometry = {"type": kind, "coordinates": rings[0] if len(rings) == 1 else rings}
            properties = {
                "objectType": "annotation",
                "classification": {"name": item.name, "color": [9, 9, 9]},
            }
            features.append({"type": "Feature", "id": name, "geometry": geometry, "properties": properties})
        write_json(folder / f"{name}.geojson", {"type": "FeatureCollection", "features": features})


def write_imagej(dataset: Dataset, folder: Path) -> None:
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / f"{name}.png", pixels)
        with zipfile.ZipFile(folder / f"{name}_RoiSet.zip", "w") as archive:
            for number, item in enumerate(objects(items), start=1):
                ring = corner_rings(item.mask)[0]
                box = (*ring.min(0).tolist(), *ring.max(0).tolist())
                archive.writestr(f"{number:04}.roi", roi(POLYGON, box, ring.tolist()))


def write_via_3(dataset: Dataset, folder: Path) -> None:
    files: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for number, name, pixels, items in labelled_images(dataset):
        save(folder / f"{name}.png", pixels)
        files[str(number)] = {"fid": str(number), "fname": f"{name}.png", "type": 2, "loc": 1, "src": ""}
        for item in objects(items):
            xy = [7, *corner_rings(item.mask)[0].reshape(-1).tolist()]
            region = {
                "vid": str(number),
                "flg": 0,
                "z": [],
                "xy": xy,
                "av": {"1": str(item.annotation.label)},
            }
            metadata[f"{number}_{item.annotation.id}"] = region
    options = {str(label): name for label, name in enumerate(dataset.classes)}
    document = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": list(files)},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
        "attribute": {"1": {"aname": "class", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": options}},
        "file": files,
        "metadata": metadata,
        "view": {number: {"fid_list": [number]} for number in files},
    }
    write_json(folder / "via_project.json", document)


# MPII's sixteen joints from COCO's points: one of them, or the middle of two
MPII = ["right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"]
MPII += [("left_hip", "right_hip"), ("left_shoulder", "right_shoulder"), ("nose", "left_shoulder"), "nose"]
MPII += [f"right_{name}" for name in ("wrist", "elbow", "shoulder")]
MPII += [f"left_{name}" for name in ("shoulder", "elbow", "wrist")]


def write_mpii(dataset: Dataset, folder: Path) -> None:
    """As train.json of HRNet: pixels counted from 1, -1 and 0 for what is not labelled."""
    assert dataset.keypoints is not None
    places = dataset.keypoints.names
    persons = []
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / "images" / f"{name}.png", pixels)
        for item in items:
            if item.annotation.keypoints is None:
                continue
            of = dict(zip(places, item.annotation.keypoints, strict=True))
            joints, visible = [], []
            for joint in MPII:
                parts = np.array([of[each] for each in ([joint] if isinstance(joint, str) else joint)])
                there = bool((parts[:, 2] > 0).all())
                joints.append((parts[:, :2].mean(0) + 0.5).tolist() if there else [-1.0, -1.0])
                visible.append(int(there and bool((parts[:, 2] == 2).all())))
            person = {"joints_vis": visible, "joints": joints, "image": f"{name}.png", "scale": 0.4}
            persons.append(person | {"center": [48.0, 36.0]})
    write_json(folder / "annot" / "train.json", persons)


WRITERS: dict[str, Callable[[Dataset, Path], None]] = {
    "createml": write_createml,
    "dota": write_dota,
    "bdd100k": write_bdd100k,
    "kitti-mots": write_kitti_mots,
    "kitti-semantic": write_kitti_semantic,
    "datumaro": write_datumaro,
    "open-images": write_open_images,
    "run-lengths": write_run_lengths,
    "segmentation-masks": write_segmentation_masks,
    "cellpose": write_cellpose,
    "qupath": write_qupath,
    "imagej-rois": write_imagej,
    "via-3": write_via_3,
    "mpii": write_mpii,
}
