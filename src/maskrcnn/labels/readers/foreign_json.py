"""JSON of other tools and programs that is not read: what it is, and what to give instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn.errors import RecordError

LONGEST_LINE = 1 << 24  # bytes
AS_COCO = "export COCO JSON there, or convert it"


@dataclass(frozen=True)
class ForeignJson:
    """A kind of JSON file."""

    name: str
    keys: frozenset[str]  # that an object of it has, or the first of a list
    remedy: str = AS_COCO
    inner: str = ""  # a key that the value, or the first value, of one of these has
    listed: bool = False  # the file is a list of such objects
    without: str = ""  # a key that it does not have


def _object(name: str, keys: str, remedy: str = AS_COCO, inner: str = "", without: str = "") -> ForeignJson:
    return ForeignJson(name, frozenset(keys.split()), remedy, inner, without=without)


def _list(name: str, keys: str, remedy: str = AS_COCO, inner: str = "") -> ForeignJson:
    return ForeignJson(name, frozenset(keys.split()), remedy, inner, listed=True)


FOUND_FOR = "they are what a model found; give the labels of the same images"
# the first that fits counts, so those of many keys come first
KINDS = (
    _list("results in COCO's form", "image_id category_id score", FOUND_FOR),
    _list("results in COCO's form", "image_id keypoints score", FOUND_FOR),
    _list("results in COCO's form", "image_id category_id segmentation", FOUND_FOR),
    _list("CreateML's JSON", "image annotations", inner="coordinates"),
    _list("CreateML's JSON", "image annotation", inner="coordinates"),
    _list("CreateML's JSON", "imagefilename annotation"),
    _list("MPII's JSON", "joints joints_vis image"),
    _list("MPII's JSON", "joint_self img_paths"),
    _list("an export of Labelbox", "Label ID"),
    _list("an export of Labelbox", "data_row projects"),
    _list("an export of Encord", "label_hash data_units"),
    _list("an export of Kili", "externalId labels"),
    _list("an export of Dataturks", "content annotation"),
    _list("BDD100K's or Scalabel's JSON", "name labels"),
    _list(
        "detectron2's dictionaries", "file_name annotations height", "save them with its convert_to_coco_json"
    ),
    _list(
        "tasks of Label Studio without annotations",
        "data predictions",
        "export as JSON when they are labelled",
    ),
    _list("tasks of Label Studio without annotations", "data id", "export as JSON when they are labelled"),
    _list("metadata of a Hugging Face data set", "file_name objects"),
    _list("a table of nuScenes or nuImages", "token"),
    _list("a file of EISeg", "labelIdx points"),
    _list("a backup of CVAT", "version tags shapes tracks", "export as 'CVAT for images 1.1'"),
    _object("a file of ISAT", "info objects"),
    _object("a file of DeepFashion2", "source pair_id"),
    _object("a file of SA-1B", "image annotations", inner="image_id"),
    _object("OCHuman's JSON", "keypoint_names images", "give ochuman_coco_format_*.json"),
    _object("a project of VoTT", "assets tags name"),
    _object("an asset of VoTT", "asset regions"),
    _object("a project of VoTT 1", "frames inputTags"),
    _object("Datumaro's JSON", "items categories"),
    _object("GeoJSON", "type features"),
    _object("an export of Hasty", "project_name label_classes images"),
    _object("a file of V7 Darwin", "item annotations"),
    _object("a file of V7 Darwin", "image annotations", inner="original_filename"),
    _object("FiftyOne's own data set", "samples", "export it there as fiftyone.types.COCODetectionDataset"),
    _object("a release of Segments.ai", "dataset", inner="samples"),
    _object("a file of SuperAnnotate", "metadata instances"),
    _object("Scalabel's JSON", "frames config"),
    _object("a file of OpenPose", "people version", FOUND_FOR),
    _object("video labels as of YouTube-VIS", "videos annotations categories", "give labels of images"),
    _object("captions in COCO's form", "images annotations", "give the instances file", inner="caption"),
    _object(
        "COCO's image info, which has no labels",
        "images categories info",
        "give labels of a train or val split",
        without="annotations",
    ),
    _object(
        "one file of Cityscapes",
        "imgHeight imgWidth objects",
        "give the folder that holds gtFine and leftImg8bit",
    ),
    _object("one file of Supervisely", "objects size", "give the folder that holds meta.json"),
    _object("meta.json of Supervisely", "classes tags", "give its folder"),
    _object("a report of maskrcnn check", "verdict findings statistics", "give the labels themselves"),
    _object("figures of maskrcnn evaluate", "per_class counts notes", "give the labels themselves"),
)


def foreign_json(document: Any) -> ForeignJson | None:
    """The kind of a JSON document that is no COCO file; None where it is none that we know."""
    listed = isinstance(document, list)
    first = next((entry for entry in document if isinstance(entry, dict)), None) if listed else document
    if not isinstance(first, dict):
        return None
    fitting = (
        kind
        for kind in KINDS
        if kind.listed == listed and kind.keys <= first.keys() and kind.without not in first
    )
    return next((kind for kind in fitting if not kind.inner or _has_inner(first, kind)), None)


def foreign_lines(path: Path) -> ForeignJson | None:
    """The kind of a file with a JSON document in each line, as Labelbox exports them."""
    if path.suffix.lower() not in (".ndjson", ".jsonl") or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return foreign_json([json.loads(file.readline(LONGEST_LINE))])
    except (OSError, RecursionError, ValueError):
        return None


def not_coco(document: Any, path: Path) -> RecordError | None:
    """An error that says what a document is instead of a COCO file; None where it seems meant to be one."""
    kind = foreign_json(document)
    if kind is not None and not _is_coco(document):
        return RecordError(path, f"{kind.name}, not COCO JSON", kind.remedy)
    if isinstance(document, list):
        what = "a list, as results are; labels are an object with images, annotations and categories"
        return RecordError(path, what, "give a COCO label file")
    if not isinstance(document, dict):
        return RecordError(
            path, "not an object with images, annotations and categories", "give a COCO label file"
        )
    if not document.keys() & {"images", "annotations", "categories"}:
        keys = ", ".join(f"{key!r:.40}" for key in list(document)[:5])
        what = f"no labels of a kind that we know: an object with {keys or 'nothing in it'}"
        return RecordError(path, what, "give COCO JSON or another format that docs/data.md lists")
    return None


def _is_coco(document: Any) -> bool:
    return isinstance(document, dict) and all(
        isinstance(document.get(key), list) for key in ("images", "annotations", "categories")
    )


def _has_inner(record: dict[str, Any], kind: ForeignJson) -> bool:
    values = [record[key] for key in kind.keys]
    firsts = [value[0] if isinstance(value, list) and value else value for value in values]
    return any(isinstance(first, dict) and kind.inner in first for first in firsts)
