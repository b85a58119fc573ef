"""What a file of VGG Image Annotator 1 or 2 holds, whichever of its forms it has: a project, JSON or CSV."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn.errors import RecordError
from maskrcnn.labels.readers.tables import csv_rows

HEADER = (
    *("filename", "file_size", "file_attributes", "region_count", "region_id"),
    *("region_shape_attributes", "region_attributes"),
)


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


def read_json(path: Path, document: Any) -> Project:
    """The project of a JSON file of VIA 2 or 1, or of its exported JSON.

    Raises:
        DataError: it is none.
    """
    if not isinstance(document, dict):
        raise RecordError(path, "not an object of images", "export the annotations as JSON from VIA 2")
    project = Project()
    entries: Any = document
    if "_via_img_metadata" in document:
        entries = document["_via_img_metadata"]
        project.definitions = object_at(document, "_via_attributes", "region")
        folder = object_at(document, "_via_settings", "core").get("default_filepath")
        project.folder = folder if isinstance(folder, str) else ""
    entries = list(entries.values()) if isinstance(entries, dict) else entries
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str) or not entry["filename"]:
            raise RecordError(
                path, "an entry has no filename", "export the annotations as JSON from VIA 2 again"
            )
        name = entry["filename"]
        if name in project.regions:
            raise RecordError(path, "is there twice", "delete one", f"image {name!r}")
        if is_set(entry.get("file_attributes")):
            project.images_with_attributes.append(name)
        if "regions" not in entry:
            project.images_without_regions.append(name)
        regions = entry.get("regions") or []
        # VIA 1 numbers the regions, VIA 2 lists them
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise RecordError(
                path, "are no list of objects", "export them again", f"the regions of image {name!r}"
            )
        project.regions[name] = [
            Region(
                f"region {position} of {name!r}",
                object_at(region, "shape_attributes"),
                object_at(region, "region_attributes"),
            )
            for position, region in enumerate(regions, start=1)
        ]
    return project


def read_csv(path: Path) -> Project:
    """The project of an exported CSV.

    Raises:
        DataError: it cannot be read as one.
    """
    project, sizes, counts = Project(), dict[str, str](), dict[str, str]()
    for line, row in csv_rows(path, HEADER, remedy="export CSV from VIA 2, or save the project of VIA 3"):
        name = row["filename"]
        if not name:
            raise RecordError(path, "has no filename", "export the annotations again", f"line {line}")
        if sizes.setdefault(name, row["file_size"]) != row["file_size"]:
            raise RecordError(
                path, f"line {line}: image {name!r} is there with two file sizes", "delete one of the two"
            )
        record = f"line {line}"
        regions = project.regions.setdefault(name, [])
        if is_set(_cell(row["file_attributes"], path, record)) and name not in project.images_with_attributes:
            project.images_with_attributes.append(name)
        shape = _cell(row["region_shape_attributes"], path, record)
        if shape or row["region_count"].strip() not in ("", "0"):
            regions.append(Region(record, shape, _cell(row["region_attributes"], path, record)))
        counts[name] = row["region_count"].strip()
    for name, count in counts.items():
        if count and count != str(len(project.regions[name])):
            project.miscounted_images.append(name)
    return project


def _cell(text: str, path: Path, record: str) -> dict[str, Any]:
    """The JSON object in a cell."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        what = f"holds {text!r:.80}, which is not a JSON object"
        raise RecordError(path, what, "export the annotations again", record)
    return value


def object_at(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The object under `keys`; empty where there is none."""
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def is_set(attributes: Any) -> bool:
    """Whether one of the attributes has a value."""
    return isinstance(attributes, dict) and any(attribute_values(value) for value in attributes.values())


def attribute_values(value: Any) -> list[str]:
    """What an attribute says: one text, or the ticked boxes of several."""
    if isinstance(value, dict):
        return [key for key, ticked in value.items() if ticked is True]
    if isinstance(value, float) and math.isfinite(value):  # a script's; VIA writes text
        value = int(value) if value.is_integer() else str(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return []
    # an int of more than 4300 digits cannot be a text
    text = value if isinstance(value, str) else str(value) if abs(value) < 10**20 else ""
    return [text.strip()] if text.strip() else []
