"""Label Studio's exports JSON and JSON-MIN (labelstud.io/guide/export, labelstud.io/guide/task_format).

Coordinates are percent of the image's width and height; turns are in degrees, of a rectangle about its upper
left corner, of an ellipse about its centre. An export names images by their address in the tool; here they
are looked for by the end of that address in the export's folder and in images/ beside it. Keypoints belong to
the region that their parentID names; JSON-MIN has none.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from PIL import Image

from maskrcnn.errors import RecordError, one_line
from maskrcnn.images.header import SUFFIXES, upright_size
from maskrcnn.labels.builder import LabelBuilder, own_ids
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import NearNames, in_small_letters
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.json_file import glance, load_json, only_json
from maskrcnn.labels.readers.label_image import quiet
from maskrcnn.labels.readers.label_studio_rle import brush_mask
from maskrcnn.labels.shapes import box_around, ellipse_ring, turned_box
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import number, points
from maskrcnn.masks.rle import bitmap_rle

HEAD = 1 << 20  # bytes that are looked at to tell the format
KINDS = ("polygon", "rectangle", "brush", "bitmask", "ellipse", "keypoint")
NO_SHAPES = (
    *("choices", "textarea", "number", "rating", "taxonomy", "datetime", "relation", "ranker", "pairwise"),
)
SHAPES_OF_MIN = {"points", "x", "rle"}  # keys of a shape of JSON-MIN
MIN_FIELDS = ("annotator", "annotation_id", "lead_time")  # of a task of JSON-MIN
UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")  # the tool puts eight digits before the name of an uploaded file
LONGEST_PATH = 20  # parts of an image's address that are tried


@dataclass
class Task:
    """An image and its regions, the same from both exports."""

    record: str
    number: Any
    address: str
    file_name: str  # relative to the folder of the export
    regions: list[dict[str, Any]]


def looks_like_label_studio(source: Path) -> bool:
    """Whether this is such a JSON file, or a folder whose only .json is one."""
    path = only_json(Path(source))
    text = glance(path, HEAD) if path is not None else ""
    if not text.startswith("["):
        return False
    full = '"data"' in text and ('"annotations"' in text or '"completions"' in text)
    return full or '"annotation_id"' in text or '"original_width"' in text


def read_label_studio(source: Path, image_folder: Path | None = None) -> FileDataset:
    """Read an export, or the folder whose only .json it is.

    Args:
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    path = only_json(Path(source))
    if path is None:
        raise RecordError(source, "not one .json", "give the export itself")
    content = load_json(path)
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise RecordError(path, "not a list of tasks", "export as JSON or JSON-MIN")
    root = path.parent if image_folder is None else image_folder
    builder = LabelBuilder(path, root)
    tasks = list(_tasks(content, builder))
    if not tasks and any(task.get("predictions") for task in content):
        raise RecordError(
            path, "predictions only", "submit the tasks in Label Studio and export them as JSON"
        )
    _find_images(tasks, path, root, builder)
    first_labels = [
        (_kind(region), _labels(region)[0]) for task in tasks for region in task.regions if _labels(region)
    ]
    ids = builder.add_classes(sorted({label for kind, label in first_labels if kind in KINDS[:-1]}))
    keypoint_names = sorted({label for kind, label in first_labels if kind == "keypoint"})
    for task, image_id in zip(tasks, own_ids([task.number for task in tasks]), strict=True):
        image = builder.add_image(task.file_name, image_id, _stated_size(task, path, root))
        _add_regions(builder, task, image, ids, keypoint_names)
    return builder.build()


def _tasks(content: list[dict[str, Any]], builder: LabelBuilder) -> Iterator[Task]:
    """The labelled tasks. Of several annotations of one the first that was not skipped is taken."""
    seen: set[str] = set()
    for position, raw in enumerate(content):
        record = f"task {raw.get('id', position)!r:.40}"
        if raw.get("predictions"):
            builder.problems.note(ProblemKind.PREDICTION, record)
        annotations = raw.get("annotations", raw.get("completions"))
        if annotations is None:
            # JSON-MIN has a task once for each annotation
            key = repr(raw.get("id"))[:200]
            if "id" in raw and key in seen:
                builder.problems.note(ProblemKind.OTHER_ANNOTATOR, record)
                continue
            seen.add(key)
            if not any(name in raw for name in MIN_FIELDS) and not _min_regions(raw):
                builder.problems.note(ProblemKind.TASK_WITHOUT_ANNOTATION, record)
                continue
            yield Task(record, raw.get("id"), _address(raw, builder.source, record), "", _min_regions(raw))
            continue
        data = raw.get("data")
        if not isinstance(annotations, list) or not all(isinstance(item, dict) for item in annotations):
            raise RecordError(
                builder.source, "are no list of objects", "export anew", f"the annotations of {record}"
            )
        done = [item for item in annotations if not item.get("was_cancelled")]
        if not done:
            builder.problems.note(ProblemKind.TASK_WITHOUT_ANNOTATION, record)
            continue
        for _ in annotations[1:]:
            builder.problems.note(ProblemKind.OTHER_ANNOTATOR, record)
        regions = done[0].get("result")
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise RecordError(
                builder.source, "is no list of objects", "export anew", f"the result of {record}"
            )
        places = {f"{one['to_name']!r:.40}" for one in regions if _kind(one) in KINDS and "to_name" in one}
        if len(places) > 1:
            what = f"has regions on {' and '.join(sorted(places)[:2])}"
            raise RecordError(builder.source, what, "give each image a task of its own", record)
        address = _address(data if isinstance(data, dict) else {}, builder.source, record)
        yield Task(record, raw.get("id"), address, "", regions)


def _min_regions(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """The regions of a task of JSON-MIN as those of JSON."""
    regions = []
    for values in raw.values():
        for value in values if isinstance(values, list) else []:
            kind = None
            if isinstance(value, dict):
                shape = SHAPES_OF_MIN & value.keys()  # without a label: it is counted
                kind = next((key for key in value if key.endswith("labels")), "polygon" if shape else None)
            if kind is not None:
                shared = {
                    key: value[key]
                    for key in ("original_width", "original_height", "image_rotation")
                    if key in value
                }
                regions.append({"type": kind, "value": value} | shared)
    return regions


def _address(data: dict[str, Any], source: Path, record: str) -> str:
    """The address of the image: `image`, or the only text that ends as an image's name does."""
    if isinstance(data.get("image"), str) and data["image"]:
        return str(data["image"])
    texts = [value for value in data.values() if isinstance(value, str)]
    found = [
        text for text in texts if unquote(text).lower().partition("?")[0].endswith(SUFFIXES) or "?d=" in text
    ]
    if len(found) != 1:
        raise RecordError(source, "has no image in data.image", "export a project of images", record)
    return found[0]


def _uploaded_name(name: str) -> str:
    """What Django makes of a name, and with that Label Studio: a_b_1.jpg of "a b (1).jpg"."""
    return re.sub(r"[^-\w.]", "", in_small_letters(name).strip().replace(" ", "_"))


def _find_images(tasks: list[Task], path: Path, root: Path, builder: LabelBuilder) -> None:
    """Set `file_name` of each task.

    Raises:
        DataError: some are not there, or two tasks would get one image.
    """
    missing: list[Task] = []
    addresses: dict[str, str] = {}
    near = NearNames(root, _uploaded_name)
    for task in tasks:
        places = ("", "images/", f"{path.stem}/")
        names = [f"{folder}{name}" for name in _names(task.address) for folder in places]
        task.file_name = next((name for name in names if os.path.isfile(root / name)), "")
        if not task.file_name and (
            found := next(filter(None, (near.find(name, False) for name in names)), "")
        ):
            task.file_name = found
            builder.problems.note(ProblemKind.NEAR_NAME, f"{task.record}, {task.address!r:.200}", found)
        if not task.file_name:
            missing.append(task)
        elif addresses.setdefault(task.file_name, task.address) != task.address:
            what = (
                f"with {task.address!r} and another with {addresses[task.file_name]!r} would both get "
                f"{task.file_name!r}"
            )
            raise RecordError(path, what, "keep the folders of the images", task.record)
    if missing:
        what = (
            f"{len(missing)} of {len(tasks)} images are missing, the first is "
            f"{missing[0].address!r:.200} of {missing[0].record}"
        )
        raise RecordError(
            path, what, f"put them into {str(root / 'images')!r}, or say where they are: --images FOLDER"
        )


def _names(address: str) -> Iterator[str]:
    """Names that the image at an address may have here, the most telling first."""
    found = [address]
    try:
        parts = urlsplit(address)
        found.append(unquote(parts.path))
        found += parse_qs(parts.query).get("d", [])  # of local-files/?d=...
    except ValueError:  # an address that is none
        pass
    found.reverse()
    plain = [
        [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")] for name in found
    ]
    for parts_of_name in plain:
        for begin in range(max(len(parts_of_name) - LONGEST_PATH, 0), len(parts_of_name)):
            yield "/".join(parts_of_name[begin:])
    for parts_of_name in plain:
        uploaded = UPLOADED.fullmatch(parts_of_name[-1]) if parts_of_name else None
        if uploaded:
            yield uploaded.group(1)


def _stated_size(task: Task, path: Path, root: Path) -> tuple[Any, Any]:
    """Height and width as the regions state them, else as the image has them."""
    sizes = [(region.get("original_height"), region.get("original_width")) for region in task.regions]
    stated = {size for size in sizes if all(isinstance(side, (int, float)) for side in size)}
    if len(stated) > 1:
        raise RecordError(path, "states several sizes of its image", "label it again", task.record)
    return stated.pop() if stated else upright_size(root / task.file_name)


def _kind(region: dict[str, Any]) -> str:
    """One of KINDS, or what else the region says that it is."""
    kind = str(region.get("type", "")).lower()
    value = region.get("value")
    if kind == "labels" and isinstance(value, dict):
        # labels apart from the shape: its fields tell
        fields = {
            "points": "polygon",
            "rle": "brush",
            "imageDataURL": "bitmask",
            "radiusX": "ellipse",
            "height": "rectangle",
            "x": "keypoint",
        }
        return next((kind for key, kind in fields.items() if key in value), "labels")
    return kind.removesuffix("labels") if kind.removesuffix("labels") in KINDS else kind


def _labels(region: dict[str, Any]) -> list[str]:
    value = region.get("value")
    if not isinstance(value, dict):
        return []
    labels = value.get(str(region.get("type")), value.get("labels"))
    return [label for label in labels if isinstance(label, str) and label] if isinstance(labels, list) else []


def _add_regions(
    builder: LabelBuilder, task: Task, image: LabelledImage, ids: dict[str, int], keypoint_names: list[str]
) -> None:
    """Add the objects of a task, and the keypoints of their classes."""
    keypoints = _keypoints(builder, task, image.size, keypoint_names)
    shapes = [region for region in task.regions if _kind(region) not in NO_SHAPES]
    labelled = {
        region.get("id") for region in shapes if _labels(region) and isinstance(region.get("id"), str)
    }
    for position, region in enumerate(task.regions):
        kind, labels, record = _kind(region), _labels(region), f"region {position}"
        where = f"{record} of {task.record}"
        if kind == "keypoint":
            continue
        if kind not in KINDS:
            lost = ProblemKind.ATTRIBUTE if kind in NO_SHAPES else ProblemKind.UNREAD_SHAPE
            builder.problems.note(lost, where)
            continue
        if not labels:
            # a shape and its label may be two regions of one id; the one with the label has the shape too
            if not isinstance(region.get("id"), str) or region["id"] not in labelled:
                builder.problems.note(ProblemKind.NO_LABEL, where)
            continue
        for _ in labels[1:]:
            builder.problems.note(ProblemKind.SECOND_LABEL, where)
        if number(region.get("image_rotation", 0)) != 0:
            builder.problems.note(ProblemKind.TURNED_IMAGE, where)
            continue
        shape = _shape(builder, kind, region["value"], image.size, where)
        region_id = region.get("id")
        if isinstance(region_id, str) and region_id in keypoints:
            shape["keypoints"] = keypoints.pop(region_id)
            if not builder.has_keypoints(ids[labels[0]]):
                builder.add_keypoints(ids[labels[0]], {"keypoints": keypoint_names})
        builder.add_object(image, ids[labels[0]], record, **shape)
    for region_id in keypoints:
        builder.problems.note(ProblemKind.LONE_KEYPOINT, f"those of {region_id!r:.40} of {task.record}")


def _keypoints(
    builder: LabelBuilder, task: Task, size: tuple[int, int], names: list[str]
) -> dict[str, np.ndarray]:
    """The keypoints (K, 3) of each region that has some, by its id."""
    found: dict[str, np.ndarray] = {}
    for position, region in enumerate(task.regions):
        if _kind(region) != "keypoint":
            continue
        where, labels, parent = f"region {position} of {task.record}", _labels(region), region.get("parentID")
        if not labels:
            builder.problems.note(ProblemKind.NO_LABEL, where)
        elif not isinstance(parent, str) or not parent:
            builder.problems.note(ProblemKind.LONE_KEYPOINT, where)
        elif number(region.get("image_rotation", 0)) != 0:
            builder.problems.note(ProblemKind.TURNED_IMAGE, where)
        else:
            row = found.setdefault(parent, np.zeros((len(names), 3)))[names.index(labels[0])]
            if row[2]:
                builder.problems.note(ProblemKind.SECOND_KEYPOINT, where)
                continue
            value = region["value"]
            row[:] = number(value.get("x")) * size[1] / 100, number(value.get("y")) * size[0] / 100, 2
    return found


def _shape(
    builder: LabelBuilder, kind: str, value: dict[str, Any], size: tuple[int, int], where: str
) -> dict[str, Any]:
    """The box, outline or mask of a region, in pixels, as arguments of `LabelBuilder.add_object`."""
    height, width = size
    if kind == "brush":
        try:
            if not isinstance(value.get("rle"), list):
                raise ValueError("it has no rle")
            return {"rle": bitmap_rle(brush_mask(value["rle"], height, width))}
        except ValueError as error:
            raise RecordError(
                builder.source, f"cannot be used: {error}", "export anew", f"the brush of {where}"
            ) from None
    if kind == "bitmask":
        try:
            return {"rle": bitmap_rle(_bitmask(value.get("imageDataURL"), height, width))}
        except ValueError as error:
            what = f"cannot be used: {error}"
            raise RecordError(builder.source, what, "export anew", f"the bitmask of {where}") from None
    if kind == "polygon":
        with np.errstate(over="ignore"):
            return {"polygons": [points(value.get("points")) * [width / 100, height / 100]]}
    x, y = number(value.get("x")) * width / 100, number(value.get("y")) * height / 100
    turn = number(value.get("rotation") or 0)
    if kind == "ellipse":
        rx, ry = number(value.get("radiusX")) * width / 100, number(value.get("radiusY")) * height / 100
        return {"polygons": [ellipse_ring(x, y, rx, ry, turn)]}
    box = [x, y, x + number(value.get("width")) * width / 100, y + number(value.get("height")) * height / 100]
    if turn != 0:
        builder.problems.note(ProblemKind.TURNED_BOX, where)
        box = box_around(turned_box(box, turn, (x, y)))
    return {"box": box}


def _bitmask(url: Any, height: int, width: int) -> np.ndarray:
    """Where the PNG (H, W) of a data URL is opaque.

    Raises:
        ValueError: it is no such PNG, or of another size.
    """
    if not isinstance(url, str) or not url.startswith("data:image/png;base64,"):
        raise ValueError("it has no imageDataURL of a PNG")
    try:
        png = io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True))
        with quiet(), Image.open(png, formats=("PNG",)) as image:
            size = image.size
            # before anything is decoded, so that a file that claims to be huge costs nothing
            opaque = (
                np.asarray(image)[..., -1] != 0 if size == (width, height) and image.mode == "RGBA" else None
            )
    # parsers raise whatever they stumble over on damaged bytes
    except Exception as error:  # noqa: BLE001
        raise ValueError(f"it is not readable as PNG ({one_line(error):.100})") from None
    if opaque is None:
        raise ValueError(f"its PNG of {size[0]} x {size[1]} is not RGBA of {width} x {height}")
    return opaque
