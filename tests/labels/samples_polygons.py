"""The twelve images in the formats of outlines and points, written by hand as the tools write them."""

from __future__ import annotations

import csv
import html
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
from PIL import Image
from samples_masks import Item, brush_rle, labelled_images, save, whole_box, write_json

from maskrcnn.config.model import KeypointSchema
from maskrcnn.labels.types import Dataset

VIA_CSV = ["filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes"]
VIA_CSV += ["region_attributes"]


def corner_rings(mask: np.ndarray) -> list[np.ndarray]:
    """The outer rings of a mask (H, W) along the edges of its pixels, in whole numbers, the longest first.

    Pixels that touch at a corner only are parts of their own.
    """
    height, width = mask.shape
    padded = np.pad(mask, 1)
    after: dict[
        tuple[int, int], list[tuple[int, int]]
    ] = {}  # corners one step further, the mask on the right
    for dy, dx, start, step in (
        (-1, 0, (0, 0), (1, 0)),
        (0, 1, (1, 0), (0, 1)),
        (1, 0, (1, 1), (-1, 0)),
        (0, -1, (0, 1), (0, -1)),
    ):
        beside = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        for y, x in np.argwhere(mask & ~beside).tolist():
            corner = (x + start[0], y + start[1])
            after.setdefault(corner, []).append((corner[0] + step[0], corner[1] + step[1]))
    rings = []
    while after:
        here = first = next(iter(after))
        ring, came = [], (0, 0)
        while True:
            choices = after[here]
            # where two pixels meet at a corner, the turn to the right stays on the same one
            there = next(
                (c for c in choices if (c[0] - here[0], c[1] - here[1]) == (-came[1], came[0])), choices[0]
            )
            choices.remove(there)
            if not choices:
                del after[here]
            turn = (there[0] - here[0], there[1] - here[1])
            if turn != came:
                ring.append(here)
            here, came = there, turn
            if here == first:
                break
        rings.append(np.array(ring))
    outer = [ring for ring in rings if _turn(ring) > 0]  # holes go the other way round
    return sorted(outer, key=lambda ring: -_turn(ring))


def _turn(ring: np.ndarray) -> float:
    """Twice the area inside, negative where the ring goes against the clock."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def has_holes(mask: np.ndarray) -> bool:
    _, levels = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return bool((levels[0][:, 3] >= 0).any())


def write_lvis(dataset: Dataset, folder: Path) -> None:
    """LVIS 1: no file names but addresses, no crowds but classes that are not labelled exhaustively."""
    images, annotations = [], []
    counts = dict.fromkeys(range(1, len(dataset.classes) + 1), (0, 0))
    for number, name, pixels, items in labelled_images(dataset):
        save(folder / "train2017" / f"{name}.png", pixels)
        present = {item.annotation.label + 1 for item in items}
        images.append(
            {
                "date_captured": "2013-11-14 17:02:52",
                "neg_category_ids": [label for label in counts if label not in present][:2],
                "id": number,
                "license": 1,
                "height": pixels.shape[0],
                "width": pixels.shape[1],
                "flickr_url": "",
                "coco_url": f"http://images.cocodataset.org/train2017/{name}.png",
                "not_exhaustive_category_ids": [i.annotation.label + 1 for i in items if i.annotation.crowd],
            }
        )
        for label in present:
            counts[label] = (counts[label][0] + 1, counts[label][1])
        for item in items:
            if item.annotation.crowd:
                continue
            label, (x0, y0, x1, y1) = item.annotation.label + 1, whole_box(item.mask)
            rings = corner_rings(item.mask)
            counts[label] = (counts[label][0], counts[label][1] + 1)
            annotations.append(
                {
                    "area": sum(map(_turn, rings)) / 2,
                    "id": item.annotation.id,
                    "segmentation": [ring.reshape(-1).astype(float).tolist() for ring in rings],
                    "image_id": number,
                    "bbox": [float(side) for side in (x0, y0, x1 - x0, y1 - y0)],
                    "category_id": label,
                }
            )
    categories = [
        {
            "frequency": "r",
            "id": label,
            "synset": f"{title}.n.01",
            "image_count": counts[label][0],
            "instance_count": counts[label][1],
            "synonyms": [title],
            "def": f"a {title}",
            "name": title,
        }
        for label, title in enumerate(dataset.classes, start=1)
    ]
    document = {
        "info": {},
        "annotations": annotations,
        "images": images,
        "licenses": [],
        "categories": categories,
    }
    write_json(folder / "annotations/lvis_v1_train.json", document)


def write_via(dataset: Dataset, folder: Path, form: str) -> None:
    """VIA 2: one polygon in whole pixels for each object. `form`: "project", "export" or "csv"."""
    entries: dict[str, Any] = {}
    for _, name, pixels, items in labelled_images(dataset):
        path = folder / f"{name}.png"
        save(path, pixels)
        regions = [_region(item) for item in items if not item.annotation.crowd]
        size = path.stat().st_size
        entry = {"filename": path.name, "size": size, "regions": regions, "file_attributes": {}}
        entries[f"{path.name}{size}"] = entry
    if form == "export":
        write_json(folder / "via_region_data.json", entries, separators=(",", ":"))
    elif form == "csv":
        _write_csv(folder / "via_export_csv.csv", list(entries.values()))
    else:
        options = {"type": "dropdown", "description": "", "options": {title: "" for title in dataset.classes}}
        core = {"buffer_size": 18, "filepath": {}, "default_filepath": ""}
        document = {
            "_via_settings": {"ui": {}, "core": core, "project": {"name": "twelve"}},
            "_via_img_metadata": entries,
            "_via_attributes": {"region": {"class": options | {"default_options": {}}}, "file": {}},
            "_via_data_format_version": "2.0.10",
            "_via_image_id_list": list(entries),
        }
        write_json(folder / "via_project.json", document, separators=(",", ":"))


def _region(item: Item) -> dict[str, Any]:
    xs, ys = corner_rings(item.mask)[0].T.tolist()
    shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    return {"shape_attributes": shape, "region_attributes": {"class": item.name}}


def _write_csv(path: Path, entries: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(VIA_CSV)
        for entry in entries:
            start = [entry["filename"], entry["size"], "{}", len(entry["regions"])]
            for number, region in enumerate(entry["regions"]):
                parts = [region["shape_attributes"], region["region_attributes"]]
                writer.writerow(
                    [*start, number, *(json.dumps(part, separators=(",", ":")) for part in parts)]
                )
            if not entry["regions"]:
                writer.writerow([*start, 0, "{}", "{}"])


def write_cvat(dataset: Dataset, folder: Path) -> None:
    """CVAT for images 1.1: polygons, masks where there are holes or parts, skeletons in a group with them."""
    assert dataset.keypoints is not None
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "name").text = "twelve"
    _add_labels(ElementTree.SubElement(task, "labels"), dataset.classes, dataset.keypoints)
    for number, name, pixels, items in labelled_images(dataset):
        save(folder / "images" / f"{name}.png", pixels)
        size = {"width": str(pixels.shape[1]), "height": str(pixels.shape[0])}
        image = ElementTree.SubElement(root, "image", {"id": str(number - 1), "name": f"{name}.png"} | size)
        for group, item in enumerate(items, start=1):
            if not item.annotation.crowd:
                _add_shapes(image, item, group, dataset.keypoints.names)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(folder / "annotations.xml", encoding="utf-8", xml_declaration=True)


def _add_labels(labels: ElementTree.Element, classes: list[str], schema: KeypointSchema) -> None:
    svg = [
        f'<line data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in schema.skeleton
    ]
    svg += [
        f'<circle r="1" data-type="element node" data-node-id="{k}" data-label-name="{html.escape(title)}"></circle>'
        for k, title in enumerate(schema.names, start=1)
    ]
    entries = [(title, "skeleton" if title == "person" else "any", "") for title in classes]
    entries += [(title, "points", "person") for title in schema.names]
    for title, kind, parent in entries:
        label = ElementTree.SubElement(labels, "label")
        for tag, text in (("name", title), ("color", "#33ddff"), ("type", kind)):
            ElementTree.SubElement(label, tag).text = text
        ElementTree.SubElement(label, "attributes")
        if kind == "skeleton":
            ElementTree.SubElement(label, "svg").text = "".join(svg)
        if parent:
            ElementTree.SubElement(label, "parent").text = parent


def _add_shapes(image: ElementTree.Element, item: Item, group: int, names: list[str]) -> None:
    shared = {"label": item.name, "source": "manual", "occluded": "0"}
    ending = {"z_order": "0"} | ({"group_id": str(group)} if item.annotation.keypoints is not None else {})
    rings = corner_rings(item.mask)
    if len(rings) > 1 or has_holes(item.mask):
        x0, y0, x1, y1 = whole_box(item.mask)
        values = item.mask[y0:y1, x0:x1].reshape(-1)
        edges = np.flatnonzero(
            np.diff(values, prepend=False, append=not values[-1])
        )  # where the value changes
        runs = np.diff(edges, prepend=0).tolist()
        place = {"left": str(x0), "top": str(y0), "width": str(x1 - x0), "height": str(y1 - y0)}
        ElementTree.SubElement(image, "mask", shared | {"rle": ", ".join(map(str, runs))} | place | ending)
    else:
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in rings[0])
        ElementTree.SubElement(image, "polygon", shared | {"points": points} | ending)
    if item.annotation.keypoints is not None:
        skeleton = ElementTree.SubElement(
            image, "skeleton", {"label": item.name, "source": "manual"} | ending
        )
        for title, (x, y, visible) in zip(names, item.annotation.keypoints.tolist(), strict=True):
            flags = {"outside": "0", "occluded": "0" if visible == 2 else "1"}
            ElementTree.SubElement(
                skeleton,
                "points",
                {"label": title, "source": "manual"} | flags | {"points": f"{x:.2f},{y:.2f}"},
            )


def write_label_studio(dataset: Dataset, folder: Path) -> None:
    """Label Studio JSON: polygons, brushes where there are holes or parts, keypoints below them; all in
    percent.
    """
    assert dataset.keypoints is not None
    tasks = []
    for number, name, pixels, items in labelled_images(dataset):
        uploaded = f"{number * 2_654_435_761 % 2**32:08x}-{name}.png"
        save(folder / "images" / uploaded, pixels)
        result = []
        for item in items:
            if not item.annotation.crowd:
                result += _regions(item, number, dataset.keypoints.names)
        annotation = {
            "id": number,
            "completed_by": 1,
            "result": result,
            "was_cancelled": False,
            "ground_truth": False,
        }
        tasks.append(
            {
                "id": number,
                "annotations": [
                    annotation | {"created_at": "2024-01-01T00:00:00.000000Z", "lead_time": 12.5}
                ],
                "file_upload": uploaded,
                "drafts": [],
                "predictions": [],
                "data": {"image": f"/data/upload/3/{uploaded}"},
                "meta": {},
                "total_annotations": 1,
            }
        )
    write_json(folder / "project-3-at-2024-01-01-00-00-00000000.json", tasks)


def _regions(item: Item, number: int, names: list[str]) -> list[dict[str, Any]]:
    height, width = item.mask.shape
    shared: dict[str, Any] = {"original_width": width, "original_height": height, "image_rotation": 0}
    shared |= {"to_name": "image", "origin": "manual"}
    region_id = f"r{number}_{item.annotation.id}"
    rings = corner_rings(item.mask)
    if len(rings) > 1 or has_holes(item.mask):
        value: dict[str, Any] = {"format": "rle", "rle": brush_rle(item.mask), "brushlabels": [item.name]}
    else:
        points = (rings[0] * [100 / width, 100 / height]).tolist()
        value = {"points": points, "closed": True, "polygonlabels": [item.name]}
    kind = list(value)[-1]
    regions = [shared | {"value": value, "id": region_id, "from_name": kind, "type": kind}]
    if item.annotation.keypoints is not None:
        for title, (x, y, _) in zip(names, item.annotation.keypoints.tolist(), strict=True):
            value = {"x": x * 100 / width, "y": y * 100 / height, "width": 0.5, "keypointlabels": [title]}
            more = {
                "id": f"{region_id}_{title}",
                "parentID": region_id,
                "from_name": "kp",
                "type": "keypointlabels",
            }
            regions.append(shared | {"value": value} | more)
    return regions


def write_yolo_pose(dataset: Dataset, folder: Path) -> None:
    """YOLO-pose: persons only, a box and 17 keypoints in six decimals."""
    assert dataset.keypoints is not None
    lines = ["path: .", "train: images/train", "kpt_shape: [17, 3]", f"flip_idx: {dataset.keypoints.flip}"]
    (folder / "labels/train").mkdir(parents=True)
    for _, name, pixels, items in labelled_images(dataset):
        height, width = pixels.shape[:2]
        save(folder / "images/train" / f"{name}.png", Image.fromarray(pixels))
        text = ""
        for item in items:
            if item.annotation.keypoints is not None:
                x0, y0, x1, y1 = whole_box(item.mask)
                numbers = [
                    (x0 + x1) / 2 / width,
                    (y0 + y1) / 2 / height,
                    (x1 - x0) / width,
                    (y1 - y0) / height,
                ]
                for x, y, visible in item.annotation.keypoints.tolist():
                    numbers += [x / width, y / height, visible]
                text += "0 " + " ".join(f"{value:.6f}" for value in numbers) + "\n"
        (folder / "labels/train" / f"{name}.txt").write_text(text)
    (folder / "data.yaml").write_text("\n".join([*lines, "names:", "  0: person", ""]))
