"""QuPath's GeoJSON: NAME.geojson, NAME.tif.geojson or NAME.json beside the image NAME.tif.

As qupath-core's QuPathTypeAdapters write it: a list of features or a FeatureCollection, coordinates in pixels
of the whole image, classes in properties.classification. A polygon is a mask with holes; of a cell the
outline is taken and not its nucleus. Objects of classes whose name ends with * are left out, as QuPath's own
commands do.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import (
    first_files,
    has_split_below,
    image_of_each,
    of_split,
    perhaps_of_split,
)
from maskrcnn.labels.readers.folder_files import files_under
from maskrcnn.labels.readers.json_file import glance, load_json
from maskrcnn.labels.shapes import holed_rle, sound
from maskrcnn.labels.types import DEFAULT_CLASS, LabelledImage
from maskrcnn.labels.values import points
from maskrcnn.masks.rle import union_rle

SUFFIXES = (".geojson", ".json")
DETECTED = ("detection", "cell")  # objects that were found inside annotations
KIND_PROPERTIES = ("objectType", "object_type")
NO_OBJECTS = ("root", "tile", "tma_core", "unknown")
# what QuPath before 0.3 wrote as the id of a feature instead
OLD_KINDS = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "PathRootObject": "root",
    "TMACoreObject": "tma_core",
}


@dataclass
class Feature:
    """One object."""

    record: str
    kind: str  # "annotation", "cell", ...
    name: str  # of its class; "" where it has none
    geometry: dict[str, Any]
    texts: tuple[str, ...]  # properties that have a text


def read_qupath(source: Path, split: str | None = None, *, class_attribute: str | None = None) -> FileDataset:
    """Read the .geojson files under a folder, or one of them.

    Args:
        split: of annotations/train beside annotations/val and the like; None: all.
        class_attribute: the property that is the class, as "name"; None: the classification.

    Raises:
        DataError: a file or a record cannot be used; one line with the record and the remedy.
    """
    source = Path(source)
    root = source if source.is_dir() else source.parent
    names = perhaps_of_split(files_under(root), split)
    labels = [source.name]
    if source.is_dir():
        labels = [
            name
            for name in of_split(names, split)
            if name.lower().endswith(SUFFIXES) and _glance(root / name)
        ]
    builder = LabelBuilder(source, root)
    images, alone = image_of_each(labels, names, root, lambda name: posixpath.splitext(name)[0])
    features: dict[str, list[Feature]] = {}
    for label in labels:
        refuse_leaving(root, root / label)
        features[label] = list(_features(load_json(root / label), label, class_attribute, builder))
    everything = [one for found in features.values() for one in found]
    if everything and not any(one.name for one in everything):
        if class_attribute is not None:
            known = ", ".join(map(repr, sorted({text for one in everything for text in one.texts})))
            what = f"no object has a text as {class_attribute!r} (there are: {known or 'none':.300})"
            raise RecordError(source, what, "name one of these")
        for one in everything:
            for text in one.texts:
                builder.problems.note(ProblemKind.TEXT_PROPERTY, f"{text!r:.80} of {one.record}")
    _name_classes(everything)
    used = {one.name for found in features.values() for one in found if one.name}
    ids = builder.add_classes(sorted(used))
    for label, found in features.items():
        image = builder.add_image(images[label])
        for one in found:
            if one.name:
                _add_feature(one, image, ids[one.name], builder)
            else:
                builder.problems.note(ProblemKind.NO_CLASS, one.record)
    for image_name in of_split(alone, split) if source.is_dir() else ():
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_FILE, f"{image_name!r}")
    return builder.build()


def looks_like_qupath(source: Path) -> bool:
    """Whether `source` is such a file, or a folder with one among the first that it holds."""
    try:
        return any(_glance(file) for file in first_files(Path(source), SUFFIXES))
    except OSError:
        return False


def _glance(path: Path) -> bool:
    if path.suffix.lower() == ".geojson":
        return True
    text = glance(path)
    return '"Feature"' in text and '"geometry"' in text and '"coordinates"' in text


def _features(
    document: Any, label: str, class_attribute: str | None, builder: LabelBuilder
) -> Iterator[Feature]:
    """The objects of a file, those inside others too."""
    entries = document.get("features", [document]) if isinstance(document, dict) else document
    waiting = list(reversed(entries)) if isinstance(entries, list) else [None]
    number = 0
    while waiting:
        entry = waiting.pop()
        number += 1
        record = f"feature {number} of {label!r}"
        properties = (entry.get("properties") or {}) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(properties, dict):
            raise RecordError(builder.source, "is no object of GeoJSON", "export the objects again", record)
        for inner in (entry.get("childObjects"), properties.get("childObjects")):
            waiting += reversed(inner) if isinstance(inner, list) else []
        old = OLD_KINDS.get(str(entry.get("id")), "annotation")
        kind = properties.get("objectType", properties.get("object_type", old))
        geometry = entry.get("geometry")
        if kind == "root":
            continue
        name = _class(properties.get("classification" if class_attribute is None else class_attribute))
        plane = geometry.get("plane") if isinstance(geometry, dict) else None
        if not isinstance(geometry, dict) or kind in NO_OBJECTS:
            builder.problems.note(ProblemKind.UNREAD_SHAPE, record)
        elif isinstance(plane, dict) and (plane.get("z") or plane.get("t")):
            builder.problems.note(ProblemKind.OTHER_PLANE, record)
        elif name.endswith("*"):
            builder.problems.note(ProblemKind.QUPATH_IGNORED, record)
        else:
            said = (key for key in properties if key not in KIND_PROPERTIES)
            texts = tuple(key for key in said if isinstance(properties[key], str) and properties[key].strip())
            yield Feature(record, str(kind), name, geometry, texts)


def _class(value: Any) -> str:
    """The name of a classification; "" for none."""
    if isinstance(value, dict):
        names = value.get("names")
        value = value.get("name") if not isinstance(names, list) else ": ".join(map(str, names))
    return value.strip() if isinstance(value, str) else ""


def has_qupath_split(source: Path, split: str) -> bool:
    """Whether a folder below holds .geojson files of that split."""
    return has_split_below(source, split, SUFFIXES, _glance)


def _name_classes(features: list[Feature]) -> None:
    """Where nobody gave classes, what was detected is an object; where nothing was, every annotation."""
    if any(one.name for one in features):
        return
    detected = any(one.kind in DETECTED for one in features)
    for one in features:
        if one.kind in DETECTED or not detected:
            one.name = DEFAULT_CLASS


def _add_feature(one: Feature, image: LabelledImage, label: int, builder: LabelBuilder) -> None:
    kind, coordinates = one.geometry.get("type"), one.geometry.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if kind not in ("Polygon", "MultiPolygon") or not isinstance(polygons, list):
        builder.problems.note(ProblemKind.UNREAD_SHAPE, one.record)
        return
    parts = [[_ring(ring) for ring in polygon] for polygon in polygons if isinstance(polygon, list)]
    parts = [rings for rings in parts if rings]
    if len(parts) > 1:
        kept = builder.without_short([rings[0] for rings in parts], one.record)
        parts = [rings for rings in parts if any(rings[0] is outer for outer in kept)]
    if all(len(rings) == 1 for rings in parts) or not all(sound(rings[0]) for rings in parts):
        builder.add_object(image, label, one.record, polygons=[rings[0] for rings in parts])
        return
    merged = union_rle([holed_rle(outer, holes, *image.size) for outer, *holes in parts])
    builder.add_object(image, label, one.record, rle=merged)


def _ring(ring: Any) -> np.ndarray:
    """(n, 2), without the last point, which is the first again."""
    pairs = [pair[:2] if isinstance(pair, list) else pair for pair in ring] if isinstance(ring, list) else []
    found = points(pairs)
    return found[:-1] if len(found) > 1 and (found[0] == found[-1]).all() else found
