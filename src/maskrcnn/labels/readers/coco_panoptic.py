"""COCO panoptic (cocodataset.org/#format-data, section 4): a JSON file and a folder of PNGs, one for each
image.

A pixel belongs to the segment R + 256 G + 65536 B; the JSON says of each segment what it is. Segments of
categories that are things are objects; stuff has no instances and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder, own_ids
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import present_name, refuse_leaving
from maskrcnn.labels.image_places import image_folders
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.coco_annotation import stated_area, xyxy
from maskrcnn.labels.readers.files_by_name import first_folder
from maskrcnn.labels.readers.json_file import glance, load_json
from maskrcnn.labels.readers.label_image import open_label_image, rles_by_id
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import other_kind
from maskrcnn.masks.rle import Rle

HEAD = 1 << 20  # bytes that are looked at to tell the format


def looks_like_coco_panoptic(source: Path) -> bool:
    """Whether this is such a JSON file, or a folder with one panoptic*.json."""
    path = _json_file(Path(source))
    # the list of the images comes first and may be long; the categories are last
    return path is not None and '"segments_info"' in glance(path, HEAD)


def read_coco_panoptic(source: Path, image_folder: Path | None = None) -> FileDataset:
    """Read a panoptic JSON file, or the folder with its only panoptic*.json.

    Args:
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    path = _json_file(Path(source))
    if path is None:
        raise RecordError(source, "not one panoptic JSON file", "give the file itself")
    content = load_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise RecordError(
                path, f"no list {key!r}", "give a file with the lists images, annotations, categories"
            )
        if not all(isinstance(record, dict) for record in content[key]):
            raise RecordError(path, f"an entry of {key} is not an object", "delete it")
    images, by_image = content["images"], _by_image(path, content["annotations"])
    names = [str(image.get("file_name") or "") for image in images]
    folder = _folder(path, names, [path.stem.removeprefix("panoptic_"), "images", "."], "image", image_folder)
    pngs = [str(record.get("file_name") or "") for record in content["annotations"]]
    labels = _folder(path, pngs, [path.stem, "panoptic", "labels", "annotations", "."], "label image")
    builder = LabelBuilder(path, folder)
    things, stuff = _classes(path, builder, content["categories"])
    image_ids = own_ids([image.get("id") for image in images])
    for image, image_id, name in zip(images, image_ids, names, strict=True):
        record = by_image.get(_key(image.get("id")))
        if record is None:
            builder.problems.note(ProblemKind.IMAGE_WITHOUT_ANNOTATION, f"image {name!r}", name)
            continue
        stated = (image.get("height"), image.get("width"))
        labelled = builder.add_image(name, image_id, None if None in stated else stated)
        png = present_name(labels, str(record.get("file_name") or ""))
        if png is None:
            raise RecordError(
                path, "leaves its folder", "write it without '..'", f"label image {record.get('file_name')!r}"
            )
        refuse_leaving(labels, labels / png)
        masks = _masks(labels / png, labelled.size)
        _add_segments(builder, labelled, name, record, masks, things, stuff)
    return builder.build()


def _json_file(source: Path) -> Path | None:
    if not source.is_dir():
        return source if source.suffix.lower() == ".json" and source.is_file() else None
    found = sorted([*source.glob("panoptic*.json"), *source.glob("annotations/panoptic*.json")])
    return found[0] if len(found) == 1 else None


def _key(image_id: Any) -> str:
    """What ids of one image have in common: 7, 7.0 and "7"."""
    if isinstance(image_id, (float, str)) and isinstance(number := other_kind(image_id), int):
        image_id = number
    return (
        f"{type(image_id).__name__} {image_id!r:.200}" if not isinstance(image_id, int) else f"{image_id:x}"
    )


def _by_image(path: Path, records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for position, record in enumerate(records):
        key = _key(record.get("image_id"))
        if key in found:
            raise RecordError(
                path, "is the second of its image", "delete one", f"entry {position} of annotations"
            )
        if not isinstance(record.get("segments_info"), list):
            raise RecordError(
                path, "has no list segments_info", "give a panoptic file", f"entry {position} of annotations"
            )
        found[key] = record
    return found


def _folder(
    path: Path, names: Sequence[str], places: Sequence[str], what: str, given: Path | None = None
) -> Path:
    """The folder beside the file, or beside its folder, that holds the first of `names` that any holds."""
    folders = [base / place for base in (path.parent, path.parent.parent) for place in places]
    if what == "image":
        like = path.with_name(path.name.removeprefix("panoptic_"))
        folders = [*folders * (given is None), *image_folders(like, given)]
    folder = first_folder(folders, [name for name in names[:20] if name])
    if folder is not None:
        return folder
    looked = ", ".join(str(folder) for folder in folders[: len(places)])
    first = names[0] if names else ""
    raise RecordError(
        path, f"not found in {looked}", f"put the {what}s into one of these folders", f"{what} {first!r}"
    )


def _classes(
    path: Path, builder: LabelBuilder, categories: list[dict[str, Any]]
) -> tuple[dict[Any, int], set[Any]]:
    """The labels of things by their ids in the file, and the ids of stuff."""
    ids = [category.get("id") for category in categories]
    if own_ids(ids) != ids:
        raise RecordError(path, "the ids of categories must be different whole numbers", "correct them")
    names = [name for category in categories if isinstance(name := category.get("name"), str) and name]
    if len(names) < len(categories):
        raise RecordError(path, "a category has no name", "add it")
    # where it does not say, all are things: people's own files often leave it out
    isthing = [bool(category.get("isthing", True)) for category in categories]
    things = [(number, name) for number, name, thing in zip(ids, names, isthing, strict=True) if thing]
    if not things:
        raise RecordError(
            path, "no category is a thing (isthing 1), so there is no object to find", "check the file"
        )
    labels = {class_id: builder.add_class(name, class_id) for class_id, name in things}
    return labels, set(ids) - labels.keys()


def _masks(path: Path, size: tuple[int, int]) -> dict[int, Rle]:
    """The mask of each segment by its id."""
    with open_label_image(path, size, ("PNG",)) as image:
        mode, colours = image.mode, np.asarray(image.convert("RGB"), dtype=np.uint32)
    if mode not in ("RGB", "RGBA", "P"):
        raise RecordError(path, f"a panoptic label image is in colour, not mode {mode}", "export it anew")
    return rles_by_id(colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2])


def _add_segments(
    builder: LabelBuilder,
    image: LabelledImage,
    name: str,
    record: dict[str, Any],
    masks: dict[int, Rle],
    things: dict[Any, int],
    stuff: set[Any],
) -> None:
    """Add the things of an image; count stuff and what is on one side only, the PNG's or the JSON's."""
    for position, segment in enumerate(record["segments_info"]):
        if not isinstance(segment, dict):
            raise RecordError(
                builder.source, "is not an object", "delete it", f"segment {position} of image {name!r}"
            )
        segment_id, category_id = segment.get("id"), segment.get("category_id")
        known = type(category_id) is int
        where = f"segment {segment_id!r:.20} of image {name!r}"
        rle = masks.pop(segment_id, None) if type(segment_id) is int else None
        if known and category_id in stuff:
            builder.problems.note(ProblemKind.STUFF, where)
        elif not known or category_id not in things:
            raise RecordError(
                builder.source,
                f"has category_id {category_id!r:.40}, which is not in categories",
                "add the category or correct the id",
                where,
            )
        elif rle is None:
            builder.problems.note(ProblemKind.EMPTY_SEGMENT, where)
        else:
            area = stated_area(segment.get("area"))
            builder.add_object(
                image,
                things[category_id],
                f"segment {segment_id}",
                box=xyxy(segment.get("bbox")),
                rle=rle,
                crowd=bool(segment.get("iscrowd")),
                area=area,
            )
            if area is None and "area" in segment:
                builder.note(ProblemKind.AREA_COMPUTED, f"segment {segment_id}", image)
    for unlisted in masks:
        builder.problems.note(ProblemKind.UNLISTED_SEGMENT, f"segment {unlisted} of image {name!r}", name)
