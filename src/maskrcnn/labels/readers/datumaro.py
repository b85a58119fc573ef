"""Datumaro's own JSON (also CVAT's export "Datumaro" and Geti's): annotations/SPLIT.json, images/SPLIT/.

The format: openvinotoolkit.github.io/datumaro, "Datumaro format". Annotations of one label in one group are
one object: its polygons and masks together, its box, its points. Labels of whole images and captions are left
out.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import relative_name
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import folder_of_images, holds_one, load_only
from maskrcnn.labels.readers.json_file import glance
from maskrcnn.labels.shapes import box_around, box_around_turned, ellipse_ring, joined_rle, turned_box
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import number, turn_of
from maskrcnn.masks.rle import Rle, json_rle

TAGS = ("label", "caption")
# attributes that are read, or say nothing
PLAIN = ("is_crowd", "occluded", "keyframe", "rotation", "score", "source")


@dataclass
class Found:
    """An object, of one annotation or of a group."""

    record: str
    label: int
    box: list[float] | None = None
    rings: list[np.ndarray] = field(default_factory=list)
    rles: list[Rle] = field(default_factory=list)
    keypoints: np.ndarray | None = None  # (K, 3)
    crowd: bool = False


def read_datumaro(source: Path, image_folder: Path | None = None) -> FileDataset:
    """Read the file, or the only one of a folder. Images are numbered from 1 in its order.

    Args:
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    path, document = load_only(Path(source), "Datumaro", _glance)
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise RecordError(path, "has no list of items", "export it again")
    named = [(_name(item, position), item) for position, item in enumerate(items)]
    if len({name for name, _ in named}) < len(named):
        raise RecordError(path, "an image is there twice", "delete one")
    builder = LabelBuilder(path, folder_of_images(path, (name for name, _ in named), image_folder))
    labels, places = _add_classes(document, builder)
    for name, item in named:
        image = builder.add_image(name)
        for found in _objects(item, image, labels, places, builder):
            _add(found, image, builder)
    return builder.build()


def looks_like_datumaro(source: Path) -> bool:
    """Whether `source` is such a .json, or a folder with one."""
    return holds_one(Path(source), _glance)


def _glance(path: Path) -> bool:
    text = glance(path)
    keys = ("items", "categories", "annotations", "images")
    found = [bool(re.search(rf'"{key}"\s*:', text)) for key in keys]
    return text.startswith("{") and found == [True, True, True, False]


def _name(item: dict[str, Any], position: int) -> str:
    """The image's name; of a path that leads elsewhere its last part, and without one that of the item."""
    for key in ("media", "image"):
        media = item.get(key)
        text = media.get("path") if isinstance(media, dict) else None
        if isinstance(text, str) and text:
            name = text.replace("\\", "/")
            return name if relative_name(name) is not None else posixpath.basename(name) or name
    return f"{item.get('id', position)}.jpg"


def _add_classes(document: dict[str, Any], builder: LabelBuilder) -> tuple[dict[int, int], dict[int, int]]:
    """Add the labels, but for those that are names of keypoints. The labels, and the places of keypoints in
    their skeleton, by their number in the file.
    """
    categories = document.get("categories")
    categories = categories if isinstance(categories, dict) else {}
    entries, skeletons = (
        value.get(key) if isinstance(value := categories.get(name), dict) else None
        for name, key in (("label", "labels"), ("points", "items"))
    )
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise RecordError(builder.source, "has no list of labels in categories", "export it again")
    named: dict[int, dict[str, Any]] = {}
    for skeleton in skeletons if isinstance(skeletons, list) else ():
        if isinstance(skeleton, dict) and type(skeleton.get("label_id")) is int:
            named[skeleton["label_id"]] = skeleton
    owners = [(entries[at].get("name"), one) for at, one in named.items() if 0 <= at < len(entries)]
    found, places = {}, {}
    for position, entry in enumerate(entries):
        joints = next((one.get("labels") for name, one in owners if name == entry.get("parent")), None)
        if position not in named and isinstance(joints, list) and entry.get("name") in joints:
            places[position] = joints.index(entry["name"])
            continue  # a point of a skeleton; other parents are classes of classes
        label = found[position] = builder.add_class(entry.get("name"), position + 1)
        skeleton = named.get(position, {})
        joints = skeleton.get("joints")
        builder.add_keypoints(label, {"keypoints": skeleton.get("labels"), "skeleton": joints})
    return found, places


def _objects(
    item: dict[str, Any],
    image: LabelledImage,
    labels: dict[int, int],
    places: dict[int, int],
    builder: LabelBuilder,
) -> Sequence[Found]:
    """The objects of an item, the annotations of a group joined."""
    objects: dict[Any, Found] = {}
    annotations = item.get("annotations")
    for position, one in enumerate(annotations if isinstance(annotations, list) else ()):
        record = f"annotation {position}"
        if not isinstance(one, dict):
            raise RecordError(
                builder.source, "is none", "delete it", f"{record} of image {image.file_name!r}"
            )
        if one.get("type") in TAGS:
            builder.note(ProblemKind.TAG, record, image)
            continue
        label = labels.get(one["label_id"]) if type(one.get("label_id")) is int else None
        if label is None:
            builder.note(ProblemKind.NO_CLASS, record, image)
            continue
        group = one.get("group")
        key = (label, group) if type(group) is int and group else ("alone", position)
        if key in objects and _has(objects[key], one.get("type")):  # a person's group of several objects
            objects["full", position] = objects.pop(key)
        found = objects.get(key) or Found(record, label)
        if one.get("type") == "skeleton" and isinstance(one.get("elements"), list):
            one = one | {"points": _joined_points(one["elements"], places, builder)}
        if _read_shape(one, found, image, builder):
            objects[key] = found
            _read_attributes(one.get("attributes"), found, image, builder)
        else:
            builder.note(ProblemKind.UNREAD_SHAPE, record, image)
    return list(objects.values())


def _has(found: Found, kind: Any) -> bool:
    """Whether an object has what an annotation of that kind would give it, of which there is one."""
    if kind in ("points", "skeleton"):
        return found.keypoints is not None
    return kind in ("bbox", "rotated_bbox") and found.box is not None


def _joined_points(elements: list[Any], places: dict[int, int], builder: LabelBuilder) -> list[Any]:
    """The points of a skeleton in the order of its names, where it has an annotation for each (older
    exports of CVAT).
    """
    count = 0 if builder.keypoints is None else len(builder.keypoints.names)
    joined = [0.0, 0.0, 0] * count
    for element in elements:
        label = element.get("label_id") if isinstance(element, dict) else None
        place = places.get(label, count) if type(label) is int else count
        values = (
            [*_numbers(element.get("points")), *_numbers(element.get("visibility"))] if place < count else []
        )
        if len(values) == 3:
            joined[3 * place : 3 * place + 3] = values
    return joined


def _read_attributes(given: Any, found: Found, image: LabelledImage, builder: LabelBuilder) -> None:
    attributes = given if isinstance(given, dict) else {}
    found.crowd = found.crowd or attributes.get("is_crowd") in (True, 1)
    if attributes.get("occluded") is True:
        builder.note(ProblemKind.OCCLUSION, found.record, image)
    if any(
        value not in (None, "", False)
        for key, value in attributes.items()
        if key not in PLAIN or (key == "rotation" and not turn_of(attributes))
    ):
        builder.note(ProblemKind.ATTRIBUTE, found.record, image)


def _read_shape(one: dict[str, Any], found: Found, image: LabelledImage, builder: LabelBuilder) -> bool:
    """Add what an annotation holds to its object; False where it is of a kind that is not read."""
    kind, values = one.get("type"), _numbers(one.get("points"))
    turn = turn_of(one.get("attributes"))
    if kind == "bbox":
        x, y, width, height = (*_numbers(one.get("bbox")), *[np.nan] * 4)[:4]
        found.box = [x, y, x + width, y + height]
        if turn:  # CVAT's, about the centre
            builder.note(ProblemKind.TURNED_BOX, found.record, image)
            found.box = box_around_turned(found.box, turn)
    elif kind == "rotated_bbox":
        x, y, width, height, degrees = (*_numbers(one.get("rotated_bbox")), *[np.nan] * 5)[:5]
        corners = turned_box((x - width / 2, y - height / 2, x + width / 2, y + height / 2), degrees, (x, y))
        builder.note(ProblemKind.TURNED_BOX, found.record, image)
        found.box = box_around(corners)
    elif kind == "polygon":
        found.rings.append(np.array(values[: len(values) // 2 * 2]).reshape(-1, 2))
    elif kind == "ellipse" and len(values) == 4:  # in the rectangle of these corners
        x0, y0, x1, y1 = values
        found.rings.append(ellipse_ring((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, turn))
    elif kind == "mask":
        try:
            rle = one.get("rle")
            found.rles.append(json_rle(rle if isinstance(rle, dict) else {}, *image.size))
        except ValueError as error:
            what = f"RLE of {found.record} of image {image.file_name!r} cannot be used"
            raise RecordError(builder.source, f"{what}: {error}", "export it again") from None
    elif kind in ("points", "skeleton"):
        width = 3 if kind == "skeleton" else 2
        rows = np.array(values[: len(values) // width * width]).reshape(-1, width)
        seen = np.array(_numbers(one.get("visibility")) if kind == "points" else [])
        if kind == "points":
            rows = np.column_stack([rows, seen if len(seen) == len(rows) else np.full(len(rows), 2.0)])
        found.keypoints = rows
    else:
        return False
    return True


def _numbers(values: Any) -> list[float]:
    return [number(value) for value in values] if isinstance(values, list) else []


def _add(found: Found, image: LabelledImage, builder: LabelBuilder) -> None:
    masked = bool(found.rings or found.rles)
    if found.box is None and not masked and found.keypoints is not None:
        there = found.keypoints[found.keypoints[:, 2] > 0, :2]
        if not builder.has_keypoints(found.label) or not len(there):
            builder.note(ProblemKind.UNREAD_SHAPE, found.record, image)
            return
        builder.note(ProblemKind.BOX_FROM_KEYPOINTS, found.record, image)
        found.box = box_around(there)
    if masked and found.box is not None and _apart(found):
        builder.add_object(image, found.label, found.record, box=found.box, crowd=found.crowd)
    rle = joined_rle(found.rles, found.rings, *image.size) if found.rles else None
    builder.add_object(
        image,
        found.label,
        found.record,
        box=None if masked else found.box,
        polygons=found.rings if rle is None else None,
        rle=rle,
        keypoints=found.keypoints,
        crowd=found.crowd,
    )


def _apart(found: Found) -> bool:
    """Whether box and outlines share nothing: two objects that a person grouped."""
    if found.rles or not found.rings or found.box is None:
        return False
    around = box_around(np.concatenate(found.rings))
    return any(found.box[axis] >= around[axis + 2] or around[axis] >= found.box[axis + 2] for axis in (0, 1))
