"""VGG Image Annotator 2 (and 1): its project file, its exported JSON (via_region_data.json) and its CSV.

The format is described at robots.ox.ac.uk/~vgg/software/via; angles of ellipses are in radians, as in its
source. VIA has no classes but attributes of regions with any name: `read_via` says which of them is taken for
the class. A rect is a box without a mask. VIA writes no sizes of images and no folder that is sure to be
right.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import DataError, UserError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import present_name, refuse_leaving, relative_name
from maskrcnn.labels.problems import ProblemKind
from maskrcnn.labels.readers.json_file import glance, load_json
from maskrcnn.labels.shapes import ellipse_ring
from maskrcnn.labels.types import DEFAULT_CLASS, LabelledImage
from maskrcnn.labels.values import number

CLASS_ATTRIBUTES = ("class", "label", "name", "type", "category")  # looked for in this order, in any case
HEADER = ["filename", "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes"]
HEADER += ["region_attributes"]
LONGEST_CELL = 2**27  # characters; Python's own limit is less than a long polygon
TRIED_IMAGES = 20


@dataclass
class Region:
    """One region of an image."""

    record: str
    shape: dict[str, Any]
    attributes: dict[str, Any]


@dataclass
class Project:
    """What a VIA file holds, whichever of its forms it has."""

    regions: dict[str, list[Region]] = field(default_factory=dict)  # by file name
    images_with_attributes: list[str] = field(default_factory=list)
    images_without_regions: list[str] = field(default_factory=list)  # not even an empty list
    miscounted_images: list[str] = field(default_factory=list)  # whose rows are not as many as they say
    definitions: dict[str, Any] = field(default_factory=dict)  # of attributes, in a project file only
    folder: str = ""  # where a project file says the images are


def read_via(source: Path, attribute: str | None = None) -> FileDataset:
    """Read a VIA file, or the only one of a folder. Images are numbered from 1 in its order.

    Args:
        attribute: the region attribute that is the class. None: the only one, else one called class, label,
            name, type or category. Where no region has any attribute, every region is an "object".

    Raises:
        UserError: the folder has no VIA file, or several.
        DataError: the file cannot be used; one line with the record and the remedy.
    """
    path = _via_file(Path(source))
    project = _read_csv(path) if path.suffix.lower() == ".csv" else _read_json(path)
    builder = LabelBuilder(path, _images_folder(path, project))
    for image in project.images_with_attributes:
        builder.problems.note(ProblemKind.ATTRIBUTE, f"{image!r}")
    for image in project.images_without_regions:
        builder.problems.note(ProblemKind.NO_REGIONS, f"{image!r}")
    for image in project.miscounted_images:
        builder.problems.note(ProblemKind.REGION_COUNT, f"{image!r}")
    name = _class_attribute(project, attribute, path)
    classes = _region_classes(project, name, builder)
    ids = builder.add_classes(_class_names(project, name, classes))
    for image, regions in project.regions.items():
        labelled = builder.add_image(image)
        for region in regions:
            if region.record in classes:
                _add_region(region, labelled, ids[classes[region.record]], builder)
    return builder.build()


def looks_like_via(source: Path) -> bool:
    """Whether `source` is a VIA file or a folder with one."""
    try:
        return bool(_via_files(Path(source)))
    except (DataError, OSError):
        return False


def _via_file(source: Path) -> Path:
    found = _via_files(source)
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{source}: holds {found[0].name!r} and {found[1].name!r} of VIA; name the one that is meant"
        )
    raise DataError(
        f"{source}: no file of VGG Image Annotator 2; export the annotations as JSON or CSV from it (files "
        "of VIA 3 are"
        " others)"
    )


def _via_files(source: Path) -> list[Path]:
    """`source` itself or the files in it, those that look like VIA's."""
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.suffix.lower() in (".json", ".csv"))
        for path in files:
            refuse_leaving(source, path)
        return [path for path in files if path.is_file() and _glance(path)]
    return [source] if source.is_file() and _glance(source) else []


def _glance(path: Path) -> bool:
    text = glance(path)
    if path.suffix.lower() == ".csv":
        return text.lstrip('#"').startswith("filename") and "region_" in text
    if '"_via_img_metadata"' in text:
        return True
    # a project file may begin with more settings than we look at; none of its names is anyone else's
    return '"_via_settings"' in text or ('"filename"' in text and '"regions"' in text)


# ---- the three forms of the file


def _read_json(path: Path) -> Project:
    document = load_json(path)
    if not isinstance(document, dict):
        raise DataError(f"{path}: not an object of images; export the annotations as JSON from VIA 2")
    project = Project()
    entries: Any = document
    if "_via_img_metadata" in document:
        entries = document["_via_img_metadata"]
        project.definitions = _at(document, "_via_attributes", "region")
        folder = _at(document, "_via_settings", "core").get("default_filepath")
        project.folder = folder if isinstance(folder, str) else ""
    entries = list(entries.values()) if isinstance(entries, dict) else entries
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str) or not entry["filename"]:
            raise DataError(
                f"{path}: an entry has no filename; export the annotations as JSON from VIA 2 again"
            )
        name = entry["filename"]
        if name in project.regions:
            raise DataError(f"{path}: image {name!r} is there twice; delete one")
        if _is_set(entry.get("file_attributes")):
            project.images_with_attributes.append(name)
        if "regions" not in entry:
            project.images_without_regions.append(name)
        regions = entry.get("regions") or []
        # VIA 1 numbers the regions, VIA 2 lists them
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise DataError(
                f"{path}: the regions of image {name!r} are no list of objects; export them again"
            )
        project.regions[name] = [
            Region(
                f"region {position} of {name!r}",
                _at(region, "shape_attributes"),
                _at(region, "region_attributes"),
            )
            for position, region in enumerate(regions, start=1)
        ]
    return project


def _read_csv(path: Path) -> Project:
    project, sizes, counts = Project(), dict[str, str](), dict[str, str]()
    for line, row in _rows(path):
        name = row["filename"]
        if not name:
            raise DataError(f"{path}: line {line} has no filename; export the annotations again")
        if sizes.setdefault(name, row["file_size"]) != row["file_size"]:
            raise DataError(
                f"{path}: line {line}: image {name!r} is there with two file sizes; delete one of the two"
            )
        where = f"{path}: line {line}"
        regions = project.regions.setdefault(name, [])
        if _is_set(_cell(row["file_attributes"], where)) and name not in project.images_with_attributes:
            project.images_with_attributes.append(name)
        shape = _cell(row["region_shape_attributes"], where)
        if shape or row["region_count"].strip() not in ("", "0"):
            regions.append(Region(f"line {line}", shape, _cell(row["region_attributes"], where)))
        counts[name] = row["region_count"].strip()
    for name, count in counts.items():
        if count and count != str(len(project.regions[name])):
            project.miscounted_images.append(name)
    return project


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of the CSV with the line that each ends on."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not readable as text ({' '.join(str(error).split())}); save it as UTF-8"
        ) from None
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        reader = csv.reader(io.StringIO(text, newline=""))
        header = [cell.strip().lstrip("#") for cell in next(reader, [])]
        if any(name not in header for name in HEADER):
            raise DataError(
                f"{path}: its first line is not {','.join(HEADER)}; export the annotations as CSV from VIA 2"
            )
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}: not readable as CSV ({error}); export the annotations again") from None
    finally:
        csv.field_size_limit(before)
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {line} has {len(row)} cells, not {len(header)}; export the annotations again"
            )
        yield line, dict(zip(header, row, strict=True))


def _cell(text: str, where: str) -> dict[str, Any]:
    """The JSON object in a cell."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise DataError(
            f"{where} holds {text!r:.80}, which is not JSON; export the annotations again"
        ) from None
    if not isinstance(value, dict):
        raise DataError(
            f"{where} holds {text!r:.80}, which is not a JSON object; export the annotations again"
        )
    return value


def _at(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The object under `keys`; empty where there is none."""
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _is_set(attributes: Any) -> bool:
    """Whether one of the attributes has a value."""
    return isinstance(attributes, dict) and any(_value(value) for value in attributes.values())


# ---- images


def _images_folder(path: Path, project: Project) -> Path:
    """The folder that holds the images."""
    if not project.regions:
        raise DataError(f"{path}: empty data set, it has no image; add images in VIA")
    here = path.parent
    stated = relative_name(project.folder.replace("\\", "/")) if project.folder else None
    folders = [here / stated] if stated else []
    folders += [here / path.stem, here / "images", here, here.parent / "images"]
    for image in project.regions:
        if "://" in image:
            raise DataError(
                f"{path}: image {image!r:.200} is on the web; download it and put its file's name there"
            )
        if relative_name(image) is None:
            raise DataError(
                f"{path}: image {image!r:.200} leaves the folder of the images; write its name relative to "
                "that"
                " folder, without '..'"
            )
    for image in list(project.regions)[:TRIED_IMAGES]:
        for folder in folders:
            if os.path.isfile(folder / (present_name(folder, image) or "")):
                return _complete(path, folder, project)
    looked = ", ".join(str(folder) for folder in folders)
    first = next(iter(project.regions))
    raise DataError(
        f"{path}: image {first!r:.200} not found in {looked}; put the images into one of these folders"
    )


def _complete(path: Path, folder: Path, project: Project) -> Path:
    """`folder`, in which every image must be."""
    missing = [
        image for image in project.regions if not os.path.isfile(folder / (present_name(folder, image) or ""))
    ]
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(project.regions)} image files are missing, the first is"
            f" {posixpath.join(str(folder), missing[0])!r:.300}; restore them or delete their entries from "
            "the labels"
        )
    return folder


# ---- classes


def _value(value: Any) -> list[str]:
    """What an attribute says: one text, or the ticked boxes of several."""
    if isinstance(value, dict):
        return [key for key, ticked in value.items() if ticked is True]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return []
    # an int of more than 4300 digits cannot be a text
    text = value if isinstance(value, str) else str(value) if abs(value) < 10**20 else ""
    return [text.strip()] if text.strip() else []


def _class_attribute(project: Project, attribute: str | None, path: Path) -> str | None:
    """The name of the attribute that is the class; None where no region has any."""
    used = {
        name: None
        for regions in project.regions.values()
        for region in regions
        for name, value in region.attributes.items()
        if _value(value)
    }
    known = ", ".join(repr(name) for name in used) or "none"
    if attribute is not None:
        if attribute not in used:
            raise DataError(
                f"{path}: no region has the attribute {attribute!r} (there are: {known:.300}); name one of "
                "these"
            )
        return attribute
    if len(used) <= 1:
        return next(iter(used), None)
    for wanted in CLASS_ATTRIBUTES:
        for name in used:
            if name.strip().lower() == wanted:
                return name
    raise DataError(
        f"{path}: which attribute is the class: {known:.300}? Name it as attribute, or rename it to 'class'"
    )


def _region_classes(project: Project, name: str | None, builder: LabelBuilder) -> dict[str, str]:
    """The class of each region that has one, by its record; what else it says is counted as lost."""
    classes = {}
    for region in (region for regions in project.regions.values() for region in regions):
        if any(_value(value) for other, value in region.attributes.items() if other != name):
            builder.problems.note(ProblemKind.ATTRIBUTE, region.record)
        values = [DEFAULT_CLASS] if name is None else _value(region.attributes.get(name))
        if len(values) == 1:
            classes[region.record] = values[0]
        else:
            kind = ProblemKind.SEVERAL_CLASSES if values else ProblemKind.NO_LABEL
            builder.problems.note(kind, region.record)
    return classes


def _class_names(project: Project, name: str | None, classes: dict[str, str]) -> list[str]:
    """The options of the attribute in the project's order, then what else is used."""
    options = _at(project.definitions, name, "options") if name is not None else {}
    return list(
        dict.fromkeys(
            [*(option.strip() for option in options if option.strip()), *sorted(set(classes.values()))]
        )
    )


# ---- shapes


def _add_region(region: Region, image: LabelledImage, label: int, builder: LabelBuilder) -> None:
    shape, kind, record = region.shape, region.shape.get("name"), region.record

    def numbers(*keys: str) -> list[float]:
        return [number(shape.get(key)) for key in keys]

    if kind == "rect":
        x, y, width, height = numbers("x", "y", "width", "height")
        builder.add_object(image, label, record, box=[x, y, x + width, y + height])
    elif kind == "circle":
        x, y, radius = numbers("cx", "cy", "r")
        builder.add_object(image, label, record, polygons=[ellipse_ring(x, y, radius, radius, 0.0)])
    elif kind == "ellipse":
        x, y, rx, ry = numbers("cx", "cy", "rx", "ry")
        theta = number(shape.get("theta", 0.0))
        builder.add_object(image, label, record, polygons=[ellipse_ring(x, y, rx, ry, math.degrees(theta))])
    elif kind in ("polygon", "polyline"):
        if kind == "polyline":
            builder.problems.note(ProblemKind.POLYLINE, record)
        builder.add_object(image, label, record, polygons=[_polygon(shape)])
    else:
        builder.problems.note(ProblemKind.UNREAD_SHAPE, record)


def _polygon(shape: dict[str, Any]) -> np.ndarray:
    """(n, 2); empty where x and y are not as many."""
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        return np.zeros((0, 2))
    return np.array([[number(x), number(y)] for x, y in zip(xs, ys, strict=True)], dtype=np.float64).reshape(
        -1, 2
    )
