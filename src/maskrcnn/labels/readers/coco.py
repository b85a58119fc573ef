"""COCO JSON: instances, crowds, keypoints (cocodataset.org/#format-data), with what people's own files get wrong.

A record that can be understood is repaired or dropped, and counted; what cannot is refused here, before any training.
COCO's keypoints are pixel indices: half a pixel is added on reading, so that every coordinate in the program is
continuous.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import DataError
from maskrcnn.images.header import upright_size
from maskrcnn.labels.cache import cached_labels
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import images_folder, relative_name
from maskrcnn.labels.problems import Problem, ProblemKind, Problems, Refused, RefusedRecords
from maskrcnn.labels.readers.coco_annotation import AnnotationReader
from maskrcnn.labels.readers.json_file import load_json
from maskrcnn.labels.readers.keypoint_schema import read_schema
from maskrcnn.labels.types import DatasetInfo, LabelledImage

MAX_PIXELS = 2**31  # of an image; an RLE counts them in 32 bits
TRIED_IMAGES = 20  # so many are looked for before a folder is given up


@dataclass
class Categories:
    """The classes of a COCO file."""

    names: list[str]
    ids: list[int]
    schema: KeypointSchema | None
    with_schema: set[int]  # labels whose keypoints are those of the schema


def read_coco(json_path: Path, image_folder: Path | None = None) -> FileDataset:
    """Read a COCO JSON file and check it.

    Args:
        json_path: the file.
        image_folder: the folder that `file_name` is relative to; None: looked for beside the file (`images_folder`).

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    json_path = Path(json_path)
    return cached_labels(
        json_path, image_folder, "coco", lambda: read_document(_load(json_path), json_path, image_folder)
    )


def read_document(document: dict[str, Any], json_path: Path, image_folder: Path | None = None) -> FileDataset:
    """What a COCO file holds, checked and repaired; other formats' readers make such a document of theirs.

    Besides COCO's fields an annotation may have `source`, which names it in messages, and "measured" as its bbox or area:
    taken from the mask without counting that as a repair.

    Args:
        document: with the lists `images`, `annotations` and `categories`.
        json_path: the file or folder that it is from, for messages and as in `read_coco`.

    Raises:
        RefusedRecords: records cannot be used; with what the others hold.
        DataError: as `read_coco`.
    """
    name = str(json_path)
    problems = Problems(name)
    refused: list[Refused] = []
    categories = _read_categories(document["categories"], name, problems)
    by_id = _read_images(document["images"], json_path, image_folder, problems, refused)
    found = list(by_id.values())
    reader = AnnotationReader(name, categories.names, categories.schema, categories.with_schema, problems)
    label_of = {category_id: label for label, category_id in enumerate(categories.ids)}
    used_ids = {raw["id"] for raw in document["annotations"] if isinstance(raw, dict) and type(raw.get("id")) is int}
    reader.next_id = max(used_ids, default=0) + 1
    if refused:  # their annotations need no line of their own
        lost = {raw["id"] for raw in document["images"] if isinstance(raw, dict) and _is_id(raw.get("id"))}
        reader.refused_images = lost - by_id.keys()
    for position, raw in enumerate(document["annotations"]):
        try:
            reader.read_into(raw, position, by_id, label_of)
        except Refused as record:
            refused.append(record)
    if not refused and not any(image.annotations for image in found):
        raise DataError(
            f"{name}: none of {len(document['annotations'])} annotations is usable"
            f" ({', '.join(f'{count} x {kind}' for kind, count in problems.texts().items()) or 'there is none'}); label"
            " at least one object"
        )
    labels = FileDataset(found, DatasetInfo(name, categories.names, categories.ids, categories.schema, problems))
    if refused:
        raise RefusedRecords(refused, labels if found else None)
    return labels


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


def _read_categories(records: list[Any], name: str, problems: Problems) -> Categories:
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
        schema = read_schema(record, where, problems)
        categories.schema = categories.schema or schema
        if schema is not None and schema == categories.schema:
            categories.with_schema.add(len(categories.names))
        categories.names.append(label)
        categories.ids.append(category_id)
    return categories


def _read_images(
    records: list[Any], json_path: Path, folder: Path | None, problems: Problems, refused: list[Refused]
) -> dict[int | str, LabelledImage]:
    """Images by their id, in the file's order, their files present. Those that cannot be used go to `refused`."""
    named: list[tuple[dict[str, Any], str]] = []
    for position, record in enumerate(records):
        try:
            named.append((record, _file_name(record, position, json_path)))
        except Refused as wrong:
            refused.append(wrong)
    if folder is None:
        # with no name that can be used there is nothing to look for
        folder = images_folder(json_path, [name for _, name in named[:TRIED_IMAGES]]) if named else json_path.parent
    by_id: dict[int | str, LabelledImage] = {}
    missing: list[str] = []
    for record, file_name in named:
        try:
            image = _image(record, folder / file_name, by_id, json_path, problems)
        except FileNotFoundError:
            missing.append(file_name)
        except Refused as wrong:
            refused.append(wrong)
        else:
            by_id[image.image_id] = image
    if missing:
        line = (
            f"{json_path}: {len(missing)} of {len(records)} image files are missing, the first is"
            f" {str(folder / missing[0])!r}; {ProblemKind.IMAGE_MISSING.remedy}"
        )
        kind = ProblemKind.IMAGE_MISSING
        refused[:0] = [Refused(Problem(kind, f"image {name!r}", name), str(json_path), line) for name in missing]
    return by_id


def _image(
    record: dict[str, Any], path: Path, others: dict[int | str, LabelledImage], json_path: Path, problems: Problems
) -> LabelledImage:
    """An image without its annotations.

    Raises:
        FileNotFoundError: its file is not there.
        Refused: it cannot be used.
    """
    image_id, file_name = record.get("id"), record["file_name"]
    where = f"image {file_name!r}"
    if not _is_id(image_id):
        what = f"{where} has the id {image_id!r}"
        raise Refused(Problem(ProblemKind.IMAGE_WITHOUT_ID, where, file_name, what), str(json_path))
    if image_id in others:
        what = f"images {others[image_id].file_name!r} and {file_name!r} have the same id {image_id!r}"
        raise Refused(Problem(ProblemKind.IMAGE_ID_TWICE, where, file_name, what), str(json_path))
    if not os.path.isfile(path):
        raise FileNotFoundError(path)
    image = LabelledImage(image_id, file_name, path, 0, 0)
    image.height, image.width = _size(record, image, json_path, problems)
    return image


def _is_id(image_id: Any) -> TypeGuard[int | str]:
    return type(image_id) is int or isinstance(image_id, str)


def _file_name(record: Any, position: int, json_path: Path) -> str:
    """The normalised name of an image's file, relative to the folder of the images."""
    if not isinstance(record, dict) or not isinstance(record.get("file_name"), str) or not record["file_name"]:
        where = f"entry {position} of images"
        what = f"{where} has no file_name"
        raise Refused(Problem(ProblemKind.IMAGE_WITHOUT_NAME, where, what=what), str(json_path))
    name = relative_name(record["file_name"])
    if name is None:
        what = f"file_name {record['file_name']!r} of image {record.get('id')!r} leaves the folder of the images"
        problem = Problem(ProblemKind.IMAGE_OUTSIDE_FOLDER, f"image {record['file_name']!r}", what=what)
        raise Refused(problem, str(json_path))
    return name


def _size(record: dict[str, Any], image: LabelledImage, json_path: Path, problems: Problems) -> tuple[int, int]:
    """Height and width as the record states them, or as the image's header does where it is silent."""
    stated: Sequence[Any] = (record.get("height"), record.get("width"))
    where = f"image {image.file_name!r}"
    if any(side is None for side in stated):
        assert image.path is not None
        problems.note(ProblemKind.IMAGE_SIZE_READ, where, image.file_name)
        try:
            stated = upright_size(image.path)
        except DataError as wrong:
            problem = Problem(ProblemKind.IMAGE_UNREADABLE, where, image.file_name)
            raise Refused(problem, str(json_path), str(wrong)) from None
    if not all(isinstance(side, (int, float)) and 0 < side < MAX_PIXELS and side == int(side) for side in stated) or (
        stated[0] * stated[1] >= MAX_PIXELS
    ):
        what = f"{where} has height {stated[0]!r} and width {stated[1]!r}"
        raise Refused(Problem(ProblemKind.IMAGE_NO_SIZE, where, image.file_name, what), str(json_path))
    return int(stated[0]), int(stated[1])
