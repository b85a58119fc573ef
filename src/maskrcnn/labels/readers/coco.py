"""COCO JSON: instances, crowds, keypoints (cocodataset.org/#format-data), with what people's own files get
wrong.

A record that can be understood is repaired or dropped, and counted; what cannot is refused here, before any
training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeGuard

from maskrcnn.errors import DataError, RecordError
from maskrcnn.images.header import upright_size
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.cache import cached_labels
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import NearNames, relative_name
from maskrcnn.labels.image_places import Spelling, find_images
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problem
from maskrcnn.labels.readers.coco_annotation import AnnotationReader, read_keypoints
from maskrcnn.labels.readers.foreign_json import not_coco
from maskrcnn.labels.readers.json_file import load_json
from maskrcnn.labels.refused import Refused
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import number, other_kind
from maskrcnn.shell import counted

MAX_PIXELS = 2**31  # of an image; an RLE counts them in 32 bits
MOST_KEYPOINTS = 1000  # of an object, that are given names


def read_coco(json_path: Path, image_folder: Path | None = None) -> FileDataset:
    """Read a COCO JSON file and check it.

    Args:
        json_path: the file.
        image_folder: the folder of the images; None: looked for beside the file (`find_images`).

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    json_path = Path(json_path)
    return cached_labels(
        json_path,
        image_folder,
        "coco",
        lambda: fill_builder(_load(json_path), json_path, image_folder).build(),
    )


def fill_builder(document: dict[str, Any], json_path: Path, image_folder: Path | None = None) -> LabelBuilder:
    """A builder with what a COCO file holds.

    Args:
        document: with the lists `images`, `annotations` and `categories`.
        json_path: the file that it is from, for messages and as in `read_coco`.

    Raises:
        DataError: a category cannot be used, or no image is found.
    """
    builder = LabelBuilder(json_path, json_path.parent if image_folder is None else image_folder)
    label_of = _add_categories(document, builder)
    by_id = _add_images(document["images"], builder, image_folder)
    lost: set[int | str] = set()
    if builder.refused or builder.missing:  # their annotations need no line of their own
        known = {raw["id"] for raw in document["images"] if isinstance(raw, dict) and _is_id(raw.get("id"))}
        lost = known - by_id.keys()
    used_ids = {
        raw["id"] for raw in document["annotations"] if isinstance(raw, dict) and type(raw.get("id")) is int
    }
    reader = AnnotationReader(builder, label_of, by_id, lost, max(used_ids, default=0) + 1)
    for position, raw in enumerate(document["annotations"]):
        try:
            reader.read(raw, position)
        except Refused as record:
            builder.refused.append(record)
    reader.numbers.refuse(json_path)
    return builder


def _load(path: Path) -> dict[str, Any]:
    """The JSON document, with its three lists in place."""
    document = load_json(path, "correct the file")
    foreign = not_coco(document, path)
    if foreign is not None:
        raise foreign
    by_id = document.get("annotations")
    if isinstance(by_id, dict) and by_id:  # of LIVECell's single cell types
        document["annotations"] = list(by_id.values())
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            state = "is not a list" if key in document else "is missing"
            raise RecordError(
                path, f"{key!r} {state}", "give a file with the lists images, annotations and categories"
            )
    for key in ("images", "categories"):
        if not document[key]:
            raise RecordError(path, f"empty data set, {key!r} has no entry", "add what was labelled")
    found: dict[str, Any] = document
    return found


def _add_categories(document: dict[str, Any], builder: LabelBuilder) -> dict[int | str, int]:
    """Add the classes, but for repetitions and for Roboflow's root above them; their labels by their ids."""
    records = [record if isinstance(record, dict) else {} for record in document["categories"]]
    raws = (raw.get("category_id") for raw in document["annotations"] if isinstance(raw, dict))
    used = {raw for raw in raws if isinstance(raw, (int, float, str))}
    used |= {number for raw in used if (number := other_kind(raw)) is not None}
    roots = [record for record in records if record.get("supercategory") == "none"]
    names = _unnamed_keypoints(document, builder)
    done: dict[str, Any] = {}
    label_of: dict[int | str, int] = {}
    numbers = (record.get("id") for record in records)
    free = count(max((number for number in numbers if type(number) is int), default=0) + 1)
    for fields in records:
        where = f"category {fields.get('name')!r:.80}"
        key = f"{fields.get('id')!r:.100} {fields.get('name')!r:.1000}"
        if key in done and fields and done[key] == fields.get("keypoints"):
            builder.problems.note(ProblemKind.CATEGORY_REPEATED, where)
        elif len(records) > 1 and roots == [fields] and _is_id(fields.get("id")) and fields["id"] not in used:
            builder.problems.note(ProblemKind.ROOT_CATEGORY, where)
        else:
            done[key] = fields.get("keypoints")
            raw = class_id = fields.get("id")
            if type(raw) is not int and _is_id(number := other_kind(raw)):
                class_id = number
            elif isinstance(raw, str):
                class_id = next(free)
            name = fields.get("name")
            label = builder.add_class(str(name) if type(name) in (int, float) else name, class_id)
            if class_id is not raw:
                builder.problems.note(ProblemKind.CATEGORY_ID_NO_NUMBER, f"{where}, id {raw!r:.40}")
            label_of[raw if isinstance(raw, str) else builder.class_ids[label]] = label
            builder.add_keypoints(label, fields | names.get(str(raw), {}))
    return label_of


def _unnamed_keypoints(document: dict[str, Any], builder: LabelBuilder) -> dict[str, dict[str, list[str]]]:
    """Names of keypoints by the id of their category, where objects have some and no category names any."""
    if any(isinstance(record, dict) and record.get("keypoints") for record in document["categories"]):
        return {}
    names: dict[str, dict[str, list[str]]] = {}
    for position, raw in enumerate(document["annotations"]):
        found = read_keypoints(raw.get("keypoints")) if isinstance(raw, dict) else None
        if found is None or not 0 < len(found) <= MOST_KEYPOINTS or not (found[:, 2] > 0).any():
            continue
        record = f"annotation {raw.get('id', position)!r:.40}"
        if (found[:, 2] > 2).any():
            what = f"has a keypoint of visibility {found[:, 2].max():g}; are its keypoints x, y alone?"
            raise RecordError(builder.source, what, "write x, y and 0, 1 or 2 for each", record)
        if _is_id(raw.get("category_id")):
            builder.problems.note(
                ProblemKind.KEYPOINTS_UNNAMED, f"{record} with {counted(len(found), 'keypoint')}"
            )
            called = [f"k{number}" for number in range(1, len(found) + 1)]
            names.setdefault(str(raw["category_id"]), {"keypoints": called})
    return names


def _add_images(
    records: list[Any], builder: LabelBuilder, folder: Path | None
) -> dict[int | str, LabelledImage]:
    """Add the images, in the file's order; by their id those that can be used and whose files are there."""
    builder.image_count = len(records)
    named = [record for record in records if _has_name(record)]
    spelling = Spelling()
    try:
        if named:
            place = find_images(builder.source, named, folder)
            builder.folder, spelling = place.folder, place.spelling
    except DataError:
        if any(relative_name(record["file_name"]) for record in named):
            raise  # else every record is refused below, for what its name is
    by_id: dict[int | str, LabelledImage] = {}
    # x/a.png without its folder, or A.png, is not the a.png that another record names
    whole = {relative_name(record["file_name"]) for record in named}
    near = NearNames(builder.folder)
    for position, record in enumerate(records):
        try:
            file_name = _file_name(record, position, spelling, whole, near, builder)
            image = _image(record, file_name, by_id, builder)
        except FileNotFoundError:
            builder.missing.append(file_name)
        except Refused as wrong:
            builder.refused.append(wrong)
        else:
            by_id[image.image_id] = image
            builder.images.append(image)
            builder.note_file(file_name)
    return by_id


def _image(
    record: dict[str, Any], file_name: str, others: dict[int | str, LabelledImage], builder: LabelBuilder
) -> LabelledImage:
    """An image without its annotations.

    Raises:
        FileNotFoundError: its file is not there.
        Refused: it cannot be used.
    """
    image_id, path = record.get("id"), builder.folder / file_name
    if isinstance(image_id, float) and image_id.is_integer():
        image_id = int(image_id)
    shown = record["file_name"] if relative_name(record["file_name"]) == file_name else file_name
    where = f"image {shown!r}"
    if not _is_id(image_id):
        what = f"{where} has the id {image_id!r}"
        raise Refused(Problem(ProblemKind.IMAGE_WITHOUT_ID, where, shown, what), str(builder.source))
    if image_id in others:
        what = f"images {others[image_id].file_name!r} and {shown!r} have the same id {image_id!r}"
        raise Refused(Problem(ProblemKind.IMAGE_ID_TWICE, where, shown, what), str(builder.source))
    if not os.path.isfile(path):
        raise FileNotFoundError(path)
    return LabelledImage(image_id, shown, path, *_size(record, shown, path, builder))


def _is_id(image_id: Any) -> TypeGuard[int | str]:
    return type(image_id) is int or isinstance(image_id, str)


def _has_name(record: Any) -> bool:
    return isinstance(record, dict) and isinstance(record.get("file_name"), str) and bool(record["file_name"])


def _file_name(
    record: Any,
    position: int,
    spelling: Spelling,
    whole: set[str | None],
    near: NearNames,
    builder: LabelBuilder,
) -> str:
    """The normalised name of an image's file, relative to the folder of the images; none of `whole` where
    it is not as written.
    """
    source = str(builder.source)
    if not _has_name(record):
        where = f"entry {position} of images"
        what = f"{where} has no file_name"
        raise Refused(Problem(ProblemKind.IMAGE_WITHOUT_NAME, where, what=what), source)
    as_written = relative_name(record["file_name"])
    for each in (spelling, Spelling(), Spelling(slashes=True)):
        found = each.name(record)
        if found != as_written and found in whole:
            continue
        if found is not None and os.path.isfile(builder.folder / found):
            if each.kind is not None and found != as_written:
                builder.problems.note(each.kind, f"image {record['file_name']!r}", found)
            return found
    for each in (spelling, Spelling(slashes=True)):
        name = each.name(record)
        found = None if name is None else near.find(name)
        if found is not None and found not in whole:
            builder.problems.note(ProblemKind.NEAR_NAME, f"image {record['file_name']!r}", found)
            return found
    if as_written is None:
        what = (
            f"file_name {record['file_name']!r} of image {record.get('id')!r} leaves the folder of the images"
        )
        problem = Problem(ProblemKind.IMAGE_OUTSIDE_FOLDER, f"image {record['file_name']!r}", what=what)
        raise Refused(problem, source)
    return as_written


def _size(record: dict[str, Any], file_name: str, path: Path, builder: LabelBuilder) -> tuple[int, int]:
    """Height and width as the record states them, or as the image's header does where it is silent."""
    where, source = f"image {file_name!r}", str(builder.source)
    stated: Sequence[Any] = (record.get("height"), record.get("width"))
    stated = [number(side) if isinstance(side, str) else side for side in stated]
    if any(side is None for side in stated) or list(stated) == [0, 0]:
        builder.problems.note(ProblemKind.IMAGE_SIZE_READ, where, file_name)
        try:
            stated = upright_size(path)
        except RecordError as wrong:
            raise Refused(Problem(ProblemKind.IMAGE_UNREADABLE, where, file_name), source, wrong) from None
    if not all(
        isinstance(side, (int, float)) and 0 < side < MAX_PIXELS and side == int(side) for side in stated
    ) or (stated[0] * stated[1] >= MAX_PIXELS):
        what = f"{where} has height {stated[0]!r} and width {stated[1]!r}"
        raise Refused(Problem(ProblemKind.IMAGE_NO_SIZE, where, file_name, what), source)
    return int(stated[0]), int(stated[1])
