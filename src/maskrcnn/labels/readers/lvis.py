"""LVIS: COCO's instances of 1203 classes, of which each image was searched for a few
(lvisdataset.org/dataset).

What the other readers take for granted is said here for each image: `neg_category_ids` were looked for and
are not in it, `not_exhaustive_category_ids` are, and some of their objects are not labelled. Of every other
class without an annotation nothing is known.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.cache import cached_labels
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import relative_name
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.readers.coco import fill_builder
from maskrcnn.labels.readers.files_by_name import first_folder
from maskrcnn.labels.readers.json_file import glance, load_json, only_json

NEGATIVE, NOT_EXHAUSTIVE = "neg_category_ids", "not_exhaustive_category_ids"
LOOKED_AT = 2**18  # bytes at both ends of a file, to tell it from COCO's
TRIED_IMAGES = 20  # so many are looked for before a folder is given up


def read_lvis(source: Path, image_folder: Path | None = None) -> FileDataset:
    """Read an LVIS JSON file.

    Args:
        source: the file.
        image_folder: the folder that holds train2017 and val2017, or the image files themselves; None: looked
            for beside the file.

    Raises:
        DataError: the file or a record cannot be used.
    """
    source = Path(source)
    return cached_labels(source, image_folder, "lvis", lambda: _read(source, image_folder))


def _read(source: Path, image_folder: Path | None) -> FileDataset:
    document = load_json(source)
    if not isinstance(document, dict):
        raise RecordError(
            source, "not an object with images, annotations and categories", "give an LVIS label file"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise RecordError(source, f"has no list {key!r}", "give an LVIS label file")
    if not document["images"]:
        raise RecordError(source, "empty data set, 'images' has no entry", "add what was labelled")
    folder, images = _place(source, document["images"], image_folder)
    for annotation in document["annotations"]:
        if isinstance(annotation, dict):
            annotation.setdefault("iscrowd", 0)  # LVIS has no crowds and does not say so
    builder = fill_builder(document | {"images": images}, source, folder)
    _add_searched(builder, images)
    return builder.build()


def looks_like_lvis(source: Path) -> bool:
    """Whether `source` is a JSON file with LVIS's fields at its beginning or end, or a folder whose only
    .json is one.
    """
    file = only_json(Path(source))
    if file is None:
        return False
    # in the file of version 1 the annotations come before the images, and the classes last
    ends = glance(file, LOOKED_AT)
    searched = any(f'"{key}"' in ends for key in (NEGATIVE, NOT_EXHAUSTIVE))
    return searched or ('"synset"' in ends and '"frequency"' in ends)


def _place(source: Path, records: list[Any], image_folder: Path | None) -> tuple[Path, list[Any]]:
    """The folder of the images, and the records with a `file_name` relative to it.

    Version 1 has no file_name: images of train2017 and val2017 are told apart by their address only. People
    keep them in these two folders, or those they need in one.
    """
    here = source.parent
    folders = [here, here / "images", here.parent, here.parent / "images", here / source.stem]
    if image_folder is not None:
        folders = [Path(image_folder)]
    for folder in folders:
        for parts in (2, 1):
            tried = [_named(record, parts) for record in records[:TRIED_IMAGES]]
            names = [record.get("file_name") for record in tried if isinstance(record, dict)]
            if first_folder([folder], [name for name in names if isinstance(name, str) and name]):
                return folder, [_named(record, parts) for record in records]
    first = _named(records[0], 2)
    name = first.get("file_name") if isinstance(first, dict) else None
    if image_folder is None and isinstance(name, str) and relative_name(name) is not None:
        looked = ", ".join(str(folder) for folder in folders)
        raise RecordError(
            source, f"not found in {looked}", "put the images into one of these folders", f"image {name!r}"
        )
    return folders[0], [_named(record, 2) for record in records]


def _named(record: Any, parts: int) -> Any:
    """An image's record with a file_name of the last `parts` of its address; as it is where it has none."""
    address = record.get("coco_url") if isinstance(record, dict) else None
    if not isinstance(address, str) or not address:
        return record
    try:
        path = urlsplit(address).path
    except ValueError:
        return record
    return record | {"file_name": posixpath.join(*path.split("/")[-parts:])}


def _add_searched(builder: LabelBuilder, records: list[Any]) -> None:
    """Give the images what was searched for in them."""
    label_of = {class_id: label for label, class_id in enumerate(builder.class_ids)}
    by_id = {r["id"]: r for r in records if isinstance(r, dict) and type(r.get("id")) in (int, float, str)}
    for image in builder.images:
        record = by_id[image.image_id]
        image.not_exhaustive = _labels(record, NOT_EXHAUSTIVE, label_of, builder.problems)
        negative = _labels(record, NEGATIVE, label_of, builder.problems)
        here = {annotation.label for annotation in image.annotations}
        image.negative = [label for label in negative if label not in here]
        for _ in range(len(negative) - len(image.negative)):
            kind = ProblemKind.LVIS_NEGATIVE_PRESENT
            builder.problems.note(kind, f"image {image.file_name!r}", image.file_name)


def _labels(record: dict[str, Any], key: str, label_of: dict[int, int], problems: Problems) -> list[int]:
    """The labels of a list of class ids, each once."""
    class_ids = record.get(key, [])
    where = f"{key} of image {record.get('id')!r}"
    if not isinstance(class_ids, list):
        problems.note(ProblemKind.LVIS_UNKNOWN_CLASS, where)
        return []
    labels = []
    for class_id in class_ids:
        if type(class_id) is int and class_id in label_of:
            labels.append(label_of[class_id])
        else:
            problems.note(ProblemKind.LVIS_UNKNOWN_CLASS, where)
    return list(dict.fromkeys(labels))
