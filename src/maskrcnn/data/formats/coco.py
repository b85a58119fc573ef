"""COCO JSON: instances, crowds, keypoints (cocodataset.org/#format-data), with what people's own files get wrong.

A record that can be understood is repaired or dropped, and counted; what cannot is refused here, before any training.
COCO's keypoints are pixel indices: half a pixel is added on reading, so that every coordinate in the program is
continuous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn.config import KeypointSchema
from maskrcnn.data.dataset import Picture
from maskrcnn.data.formats.coco_annotation import AnnotationReader
from maskrcnn.data.formats.json_file import load_json
from maskrcnn.data.formats.keypoint_schema import read_schema
from maskrcnn.data.formats.repairs import Repairs
from maskrcnn.data.label_cache import cached_labels
from maskrcnn.data.labelled import LabelledPictures
from maskrcnn.data.picture_files import pictures_folder, relative_name, require_files, upright_size
from maskrcnn.errors import DataError

MAX_PIXELS = 2**31  # of a picture; an RLE counts them in 32 bits
TRIED_PICTURES = 20  # so many are looked for before a folder is given up


@dataclass
class Categories:
    """The classes of a COCO file."""

    names: list[str]
    ids: list[int]
    schema: KeypointSchema | None
    with_schema: set[int]  # labels whose keypoints are those of the schema


def read_coco(json_path: Path, pictures: Path | None = None) -> LabelledPictures:
    """Read a COCO JSON file and check it.

    Args:
        json_path: the file.
        pictures: the folder that `file_name` is relative to; None: looked for beside the file (`pictures_folder`).

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    json_path = Path(json_path)
    return cached_labels(json_path, pictures, "coco", lambda: read_document(_load(json_path), json_path, pictures))


def read_document(document: dict[str, Any], json_path: Path, pictures: Path | None = None) -> LabelledPictures:
    """What a COCO file holds, checked and repaired; other formats' readers make such a document of theirs.

    Besides COCO's fields an annotation may have `source`, which names it in messages, and "measured" as its bbox or area:
    taken from the mask without counting that as a repair.

    Args:
        document: with the lists `images`, `annotations` and `categories`.
        json_path: the file or folder that it is from, for messages and as in `read_coco`.

    Raises:
        DataError: as `read_coco`.
    """
    name = str(json_path)
    repairs = Repairs()
    categories = _read_categories(document["categories"], name, repairs)
    by_id = _read_images(document["images"], json_path, pictures, repairs)
    found = list(by_id.values())
    reader = AnnotationReader(name, categories.names, categories.schema, categories.with_schema, repairs)
    label_of = {category_id: label for label, category_id in enumerate(categories.ids)}
    used_ids = {raw["id"] for raw in document["annotations"] if isinstance(raw, dict) and type(raw.get("id")) is int}
    reader.next_id = max(used_ids, default=0) + 1
    for position, raw in enumerate(document["annotations"]):
        reader.read_into(raw, position, by_id, label_of)
    if not any(picture.annotations for picture in found):
        raise DataError(
            f"{name}: none of {len(document['annotations'])} annotations is usable"
            f" ({', '.join(f'{count} x {kind}' for kind, count in repairs.counts.items()) or 'there is none'}); label"
            " at least one object"
        )
    return LabelledPictures(
        found,
        name=name,
        classes=categories.names,
        class_ids=categories.ids,
        keypoints=categories.schema,
        repairs=repairs.counts,
        warnings=repairs.lines(name),
    )


def _load(path: Path) -> dict[str, Any]:
    """The JSON document, with its three lists in place."""
    document = load_json(path, "correct the file")
    if isinstance(document, list):
        raise DataError(f"{path}: a list, as results are; labels are an object with images, annotations and categories")
    if not isinstance(document, dict):
        raise DataError(f"{path}: not an object with images, annotations and categories; give a COCO label file")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            state = "is not a list" if key in document else "is missing"
            raise DataError(f"{path}: {key!r} {state}; a COCO file has the lists images, annotations and categories")
    for key in ("images", "categories"):
        if not document[key]:
            raise DataError(f"{path}: empty data set, {key!r} has no entry; add what was labelled")
    return document


def _read_categories(records: list[Any], name: str, repairs: Repairs) -> Categories:
    categories = Categories([], [], None, set())
    for position, record in enumerate(records):
        if not isinstance(record, dict) or not isinstance(record.get("name"), str) or not record["name"]:
            raise DataError(f"{name}: entry {position} of categories has no name; add it")
        if not record["name"].isprintable():
            raise DataError(f"{name}: category {record['name']!r} has control characters in its name; remove them")
        label, where = record["name"], f"{name}: category {record['name']!r}"
        category_id = record.get("id")
        if type(category_id) is not int:
            raise DataError(f"{where} has the id {category_id!r}; give it a whole number")
        if category_id in categories.ids:
            raise DataError(f"{where} has the id {category_id} of another category; give each its own")
        if label in categories.names:
            raise DataError(f"{where} is there twice; classes are told apart by name, so give each its own")
        schema = read_schema(record, where, repairs)
        categories.schema = categories.schema or schema
        if schema is not None and schema == categories.schema:
            categories.with_schema.add(len(categories.names))
        categories.names.append(label)
        categories.ids.append(category_id)
    return categories


def _read_images(
    records: list[Any], json_path: Path, folder: Path | None, repairs: Repairs
) -> dict[int | str, Picture]:
    """Pictures by their id, in the file's order, their files present."""
    names = [_file_name(record, position, json_path) for position, record in enumerate(records)]
    if folder is None:
        folder = pictures_folder(json_path, names[:TRIED_PICTURES])
    by_id: dict[int | str, Picture] = {}
    for record, file_name in zip(records, names, strict=True):
        image_id = record.get("id")
        if type(image_id) is not int and not isinstance(image_id, str):
            raise DataError(f"{json_path}: picture {file_name!r} has the id {image_id!r}; give it a whole number")
        if image_id in by_id:
            raise DataError(
                f"{json_path}: pictures {by_id[image_id].file_name!r} and {record['file_name']!r} have the same id"
                f" {image_id!r}; give each its own, or delete one"
            )
        by_id[image_id] = Picture(image_id, record["file_name"], folder / file_name, 0, 0)
    require_files(str(json_path), list(by_id.values()))
    for record, picture in zip(records, by_id.values(), strict=True):
        picture.height, picture.width = _size(record, picture, json_path, repairs)
    return by_id


def _file_name(record: Any, position: int, json_path: Path) -> str:
    """The normalised name of a picture's file, relative to the folder of the pictures."""
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str) or not record["file_name"]:
        raise DataError(f"{json_path}: entry {position} of images has no file_name; add it")
    name = relative_name(record["file_name"])
    if name is None:
        raise DataError(
            f"{json_path}: file_name {record['file_name']!r} of picture {record.get('id')!r} leaves the folder of the"
            " pictures; write it relative to that folder, without '..'"
        )
    return name


def _size(record: dict[str, Any], picture: Picture, json_path: Path, repairs: Repairs) -> tuple[int, int]:
    """Height and width as the record states them, or as the picture's header does where it is silent."""
    stated: Sequence[Any] = (record.get("height"), record.get("width"))
    if any(side is None for side in stated):
        assert picture.path is not None
        repairs.note("missing picture size read from the picture", f"picture {picture.file_name!r}")
        stated = upright_size(picture.path)
    if not all(isinstance(side, (int, float)) and 0 < side < MAX_PIXELS and side == int(side) for side in stated) or (
        stated[0] * stated[1] >= MAX_PIXELS
    ):
        raise DataError(
            f"{json_path}: picture {picture.file_name!r} has height {stated[0]!r} and width {stated[1]!r}; write its"
            " real size in pixels"
        )
    return int(stated[0]), int(stated[1])
