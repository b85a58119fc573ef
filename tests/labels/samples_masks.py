"""The twelve images in the formats that are label images or brushes, written by hand as the tools write
them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from maskrcnn.labels.types import Annotation, Dataset
from maskrcnn.masks.rle import rle_bitmap

# which of Cityscapes' classes the shapes become
CITYSCAPES = {"circle": "car", "square": "truck", "triangle": "bus", "star": "bicycle", "person": "person"}
CITYSCAPES_IDS = {"person": 24, "car": 26, "truck": 27, "bus": 28, "bicycle": 33}


@dataclass
class Item:
    """One object."""

    name: str  # of its class
    mask: np.ndarray  # bool (H, W)
    annotation: Annotation


def labelled_images(dataset: Dataset) -> Iterator[tuple[int, str, np.ndarray, list[Item]]]:
    """Of each image its number from 1, its name without suffix, its pixels and its objects."""
    for index in range(len(dataset)):
        image = dataset.image(index)
        items = [Item(dataset.classes[a.label], rle_bitmap(a.rle) > 0, a) for a in image.annotations]
        yield index + 1, Path(image.file_name).stem, dataset.pixels(index), items


def save(path: Path, pixels: np.ndarray | Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, optimize=True)


def write_json(path: Path, document: Any, **layout: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, **layout), encoding="utf-8")


def whole_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 around the pixels, half-open."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def write_mask_folders(dataset: Dataset, folder: Path) -> None:
    """Data Science Bowl 2018: a folder for each image, in it a mask of 0 and 255 for each object."""
    for _, name, pixels, items in labelled_images(dataset):
        save(folder / name / "images" / f"{name}.png", Image.fromarray(pixels).convert("RGBA"))
        (folder / name / "masks").mkdir(parents=True, exist_ok=True)
        for item in items:
            if not item.annotation.crowd:
                mask = item.mask.astype(np.uint8) * 255
                save(folder / name / "masks" / f"{hashlib.sha256(mask.tobytes()).hexdigest()[:32]}.png", mask)
        if not any((folder / name / "masks").iterdir()):
            (folder / name / "masks" / ".gitkeep").touch()  # git knows no empty folders


def write_penn_fudan(dataset: Dataset, folder: Path) -> None:
    """Penn-Fudan: ids of persons in PedMasks, their boxes in Annotation, counted from 1."""
    for _, name, pixels, items in labelled_images(dataset):
        height, width = pixels.shape[:2]
        people = [item for item in items if item.name == "person"]
        save(folder / "PNGImages" / f"{name}.png", pixels)
        ids = np.zeros((height, width), np.uint8)
        for number, item in enumerate(people, start=1):
            ids[item.mask] = number
        save(folder / "PedMasks" / f"{name}_mask.png", ids)
        labels = " ".join(['"PASpersonWalking"'] * len(people))
        text = (
            "# Compatible with PASCAL Annotation Version 1.00\n"
            f'Image filename : "PennFudanPed/PNGImages/{name}.png"\n'
            f"Image size (X x Y x C) : {width} x {height} x 3\n"
            'Database : "The Penn-Fudan-Pedestrian Database"\n'
            f"Objects with ground truth : {len(people)} {{ {labels} }}\n"
            "# Note there may be some objects not included in the ground truth list for they are "
            "severe-occluded\n"
            "# or have very small size.\n"
            "# Top left pixel co-ordinates : (1, 1)\n"
        )
        for number, item in enumerate(people, start=1):
            x0, y0, x1, y1 = whole_box(item.mask)
            what = f'object {number} "PASpersonWalking"'
            text += (
                f'# Details for pedestrian {number} ("PASpersonWalking")\n'
                f'Original label for {what} : "PennFudanPed"\n'
                f"Bounding box for {what} - (Xmin, Ymin) - (Xmax, Ymax) : ({x0 + 1}, {y0 + 1}) - ({x1}, "
                f"{y1})\n"
                f'Pixel mask for {what} : "PennFudanPed/PedMasks/{name}_mask.png"\n\n'
            )
        (folder / "Annotation").mkdir(exist_ok=True)
        (folder / "Annotation" / f"{name}.txt").write_text(text)


def write_cityscapes(dataset: Dataset, folder: Path) -> None:
    """Cityscapes: ids in 16 bits, and polygons through the middles of pixels that are drawn one over the
    other.
    """
    for number, _, pixels, items in labelled_images(dataset):
        key = f"train/ulm/ulm_{number:06d}_000019"
        save(folder / "leftImg8bit" / f"{key}_leftImg8bit.png", pixels)
        ids = np.full(pixels.shape[:2], 1, np.uint16)  # "ego vehicle", one of the classes without instances
        counts = dict.fromkeys(CITYSCAPES_IDS, 0)
        for item in items:
            name = CITYSCAPES[item.name]
            ids[item.mask] = CITYSCAPES_IDS[name]
            if not item.annotation.crowd:
                ids[item.mask] = CITYSCAPES_IDS[name] * 1000 + counts[name]
                counts[name] += 1
        save(folder / "gtFine" / f"{key}_gtFine_instanceIds.png", ids)
        document = {
            "imgHeight": ids.shape[0],
            "imgWidth": ids.shape[1],
            "objects": _cityscapes_polygons(items),
        }
        write_json(folder / "gtFine" / f"{key}_gtFine_polygons.json", document, indent=1)


def _cityscapes_polygons(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Ground everywhere; each object's parts joined, and over them in reverse what is no part of it."""
    height, width = items[0].mask.shape if items else (2, 2)
    corners = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
    objects: list[dict[str, Any]] = [{"label": "ground", "polygon": corners}]
    for item in items:
        name = CITYSCAPES[item.name]
        parts, _ = cv2.findContours(item.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        rings = [part[:, 0].tolist() for part in sorted(parts, key=cv2.contourArea, reverse=True)]
        if item.annotation.crowd:
            objects += [{"label": f"{name}group", "polygon": ring} for ring in rings]
            continue
        objects.append({"label": name, "polygon": rings[0]})
        _, levels = cv2.findContours(item.mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        if (levels[0][:, 3] >= 0).any():
            holes, _ = cv2.findContours(_holes(item.mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            objects += [
                {"label": "ground", "polygon": hole[:, 0].tolist()} for hole in holes if len(hole) >= 3
            ]
    return objects


def _holes(mask: np.ndarray) -> np.ndarray:
    """uint8 (H, W): what the mask encloses and is not of it."""
    filled = np.zeros(mask.shape, np.uint8)
    parts, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(filled, parts, -1, 1, cv2.FILLED)
    return filled & ~mask


def write_panoptic(dataset: Dataset, folder: Path) -> None:
    """COCO panoptic: annotations/panoptic_train2017.json, its PNGs in a folder of that name, images in
    train2017.
    """
    stuff = len(dataset.classes) + 1
    images, annotations = [], []
    for number, name, pixels, items in labelled_images(dataset):
        height, width = pixels.shape[:2]
        save(folder / "train2017" / f"{name}.png", pixels)
        images.append(
            {"file_name": f"{name}.png", "height": height, "width": width, "id": number, "license": 1}
        )
        ids = np.zeros((height, width), np.uint32)
        segments = []
        background = np.ones((height, width), bool)
        for item in items:
            background &= ~item.mask
            segments.append(
                _segment(2_000_003 * item.annotation.id % 2**24, item.mask, item.annotation.label + 1)
            )
            segments[-1]["iscrowd"] = int(item.annotation.crowd)
            ids[item.mask] = segments[-1]["id"]
        segments.append(_segment(7 + number, background, stuff))
        ids[background] = segments[-1]["id"]
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
        save(folder / "annotations/panoptic_train2017" / f"{name}.png", colours)
        annotations.append({"segments_info": segments, "file_name": f"{name}.png", "image_id": number})
    categories = [
        {"supercategory": "shape", "isthing": 1, "id": label + 1, "name": title}
        for label, title in enumerate(dataset.classes)
    ]
    categories.append({"supercategory": "background", "isthing": 0, "id": stuff, "name": "wall"})
    document = {
        "info": {},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    write_json(folder / "annotations/panoptic_train2017.json", document)


def _segment(number: int, mask: np.ndarray, category: int) -> dict[str, Any]:
    x0, y0, x1, y1 = whole_box(mask)
    box = [x0, y0, x1 - x0, y1 - y0]
    return {"id": number, "category_id": category, "iscrowd": 0, "bbox": box, "area": int(mask.sum())}


def write_supervisely(dataset: Dataset, folder: Path) -> None:
    """Supervisely: every object a bitmap, which is a palette PNG in zlib in base64 from its origin on."""
    classes = [
        {
            "title": title,
            "shape": "bitmap",
            "color": f"#{37 * k:02X}80FF",
            "geometry_config": {},
            "id": 900 + k,
            "hotkey": "",
        }
        for k, title in enumerate(dataset.classes)
    ]
    write_json(folder / "meta.json", {"classes": classes, "tags": [], "projectType": "images"}, indent=4)
    for _, name, pixels, items in labelled_images(dataset):
        height, width = pixels.shape[:2]
        save(folder / "ds0/img" / f"{name}.png", pixels)
        objects = [_figure(item) for item in items if not item.annotation.crowd]
        document = {
            "description": "",
            "tags": [],
            "size": {"height": height, "width": width},
            "objects": objects,
        }
        write_json(folder / "ds0/ann" / f"{name}.png.json", document, indent=4)


def _figure(item: Item) -> dict[str, Any]:
    x0, y0, x1, y1 = whole_box(item.mask)
    return {
        "id": 497_521_000 + item.annotation.id,
        "classId": 900 + item.annotation.label,
        "description": "",
        "geometryType": "bitmap",
        "labelerLogin": "someone",
        "createdAt": "2020-08-07T11:09:51.054Z",
        "updatedAt": "2020-08-07T11:09:51.054Z",
        "tags": [],
        "classTitle": item.name,
        "bitmap": {"data": packed_bitmap(item.mask[y0:y1, x0:x1]), "origin": [x0, y0]},
    }


def packed_bitmap(mask: np.ndarray) -> str:
    """As Supervisely's own library writes a mask: a palette PNG whose colour 0 is transparent, zlib,
    base64.
    """
    image = Image.fromarray(mask.astype(np.uint8), mode="P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    file = io.BytesIO()
    image.save(file, format="PNG", transparency=0, optimize=0)
    return base64.b64encode(zlib.compress(file.getvalue())).decode()


def brush_rle(mask: np.ndarray, literal: bool = False) -> list[int]:
    """Label Studio's brush: RGBA values of 255 or 0 in runs of up to four lengths, as a stream of bits in
    bytes.

    Args:
        mask: (H, W).
        literal: write the values one by one, as the stream may.
    """
    sizes = (3, 4, 8, 16)  # bits of a run's length
    values = np.repeat(mask.reshape(-1).astype(np.uint8) * 255, 4).tolist()
    bits = f"{len(values):032b}{8 - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    begin = 0
    while begin < len(values):
        if literal:
            run = values[begin : begin + 16]
            bits += "0" + f"{1:02b}" + f"{len(run) - 1:04b}" + "".join(f"{value:08b}" for value in run)
        else:
            end = begin
            while end < min(len(values), begin + 2**16) and values[end] == values[begin]:
                end += 1
            run = values[begin:end]
            which = next(i for i, size in enumerate(sizes) if len(run) <= 2**size)
            bits += "1" + f"{which:02b}" + f"{len(run) - 1:0{sizes[which]}b}" + f"{run[0]:08b}"
        begin += len(run)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
