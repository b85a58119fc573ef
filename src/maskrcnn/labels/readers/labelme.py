"""LabelMe: one JSON file an image, written beside it.

The format is that of github.com/wkentaro/labelme (labelme/_label_file.py); coordinates are continuous pixels.
As there, shapes of the same label and group_id are one object. A rectangle by itself is a box without a mask;
in a group it is a part of the mask. A "mask" is a PNG in base64 for the pixels from its first point to its
second, both included. An image without a JSON file was not labelled yet and is left out: LabelMe saves none
where nothing is drawn.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import posixpath
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

from maskrcnn.errors import RecordError, one_line
from maskrcnn.images.header import LARGEST, SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving, relative_name
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import first_files, has_split_below, of_split, perhaps_of_split
from maskrcnn.labels.readers.folder_files import files_under
from maskrcnn.labels.readers.json_file import glance, load_json
from maskrcnn.labels.readers.label_image import quiet
from maskrcnn.labels.readers.text_lines import read_lines
from maskrcnn.labels.shapes import box_around, drawable, ellipse_ring, joined_rle, placed_rle, sound
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import points
from maskrcnn.masks.rle import Rle

IGNORED = ("__ignore__", "_background_")  # labels that LabelMe's own converters leave out
OPEN_SHAPES = ("point", "points", "line", "lines", "linestrip", "linestring")
TURNED_SHAPES = ("rotation", "oriented_rectangle")


@dataclass
class Part:
    """One shape of an object."""

    record: str
    ring: np.ndarray | None = None  # float64 (n, 2)
    rle: Rle | None = None
    is_box: bool = False  # `ring` is a rectangle's corners


def read_labelme(source: Path, split: str | None = None, *, image_folder: Path | None = None) -> FileDataset:
    """Read the LabelMe files under a folder, or one of them. Classes are in the order of labels.txt, else
    sorted.

    Args:
        split: of labels/train beside labels/val and the like; None: all.
        image_folder: the folder of the images; None: they lie where imagePath says, from the file on.

    Raises:
        DataError: the files cannot be used; one line with the record and the remedy.
    """
    source = Path(source)
    root = source if source.is_dir() else source.parent
    names = perhaps_of_split(files_under(root), split) if source.is_dir() else [source.name]
    builder = LabelBuilder(source, root if image_folder is None else image_folder)
    found = _load_all(of_split(names, split), root, builder)
    used = [
        shape["label"] for _, labels in found for shape in labels["shapes"] if shape["label"] not in IGNORED
    ]
    ids = builder.add_classes(_classes(root, used))
    beside = names if image_folder is None or not source.is_dir() else files_under(image_folder)
    images = [name for name in beside if name.lower().endswith(SUFFIXES)]
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for image in images:
        by_stem[posixpath.splitext(image)[0]].append(image)
        by_stem[f"/{posixpath.basename(image)}"].append(image)  # of that name in any folder
    labelled: dict[str, str] = {}
    for name, labels in found:
        image = _find_image(name, labels, root, by_stem, builder)
        if image in labelled:
            raise RecordError(
                source, f"{labelled[image]!r} and {name!r} both label image {image!r}", "delete one of them"
            )
        labelled[image] = name
        _read_labels(name, labels, image, ids, builder)
    for image in of_split(images, split):
        if image not in labelled:
            builder.problems.note(ProblemKind.IMAGE_WITHOUT_FILE, f"{image!r}")
    return builder.build()


def looks_like_labelme(source: Path) -> bool:
    """Whether `source` is a LabelMe file or a folder with one among the first that it holds."""
    source = Path(source)
    try:
        return any(_glance(file) for file in first_files(source, (".json",)))
    except OSError:
        return False


def has_labelme_split(source: Path, split: str) -> bool:
    """Whether a folder below holds LabelMe files of that split."""
    return has_split_below(source, split, ".json", _glance)


def _glance(path: Path) -> bool:
    text = glance(path)
    keys = ('"imagePath"', '"imageData"', '"imageHeight"')
    return text.startswith("{") and '"shapes"' in text and any(key in text for key in keys)


def _load_all(names: list[str], root: Path, builder: LabelBuilder) -> list[tuple[str, dict[str, Any]]]:
    """The LabelMe files by name, their shapes checked to be objects with a label."""
    found = []
    for name in names:
        if not name.lower().endswith(".json"):
            continue
        refuse_leaving(root, root / name)
        labels = load_json(root / name)
        if not isinstance(labels, dict) or not isinstance(labels.get("shapes"), list):
            builder.problems.note(ProblemKind.FOREIGN_JSON, f"{name!r}")
            continue
        # the image itself in base64; all the others' would fill the memory
        if labels.get("imageData"):
            labels["imageData"] = True
        for position, shape in enumerate(labels["shapes"], start=1):
            if isinstance(shape, dict) and type(shape.get("label")) in (int, float):
                shape["label"] = f"{shape['label']}"
            label = shape.get("label") if isinstance(shape, dict) else None
            if not isinstance(label, str) or not label.strip():
                raise RecordError(
                    root / name, "has no label", "give it one or delete it", f"shape {position}"
                )
        found.append((name, labels))
    return found


def _classes(root: Path, used: list[str]) -> list[str]:
    """The names in labels.txt, where there is one, and then what else is used."""
    listed: list[str] = []
    if (root / "labels.txt").is_file():
        refuse_leaving(root, root / "labels.txt")
        listed = [name for name in read_lines(root / "labels.txt") if name not in IGNORED]
    return list(dict.fromkeys([*listed, *sorted(set(used))]))


def _find_image(
    name: str, labels: dict[str, Any], root: Path, by_stem: dict[str, list[str]], builder: LabelBuilder
) -> str:
    """The image of a LabelMe file, relative to the builder's folder.

    imagePath is relative to the file; where it leads nowhere, as after renaming, the image of the file's own
    name, else the only one in any folder that is called as imagePath says.
    """
    stated, folder = labels.get("imagePath"), builder.folder
    here, stem = posixpath.dirname(name), posixpath.splitext(name)[0]
    elsewhere = folder != root  # a person named it: no path from the file leads there
    if isinstance(stated, str) and stated:
        for attempt in (stated, stated.replace("\\", "/"), unquote(stated)):
            more = [attempt, posixpath.basename(attempt)] if elsewhere else []
            for image in map(relative_name, [posixpath.join(here, attempt), *more]):
                if image is None or image.lower().endswith(".json"):  # some tools write the file's own name
                    continue
                if os.path.isfile(folder / image):
                    return image
    own = [stem, posixpath.basename(stem)] if elsewhere else [stem]
    if isinstance(stated, str):  # as where labels and images were put into folders of their own
        own.append("/" + posixpath.basename(stated.replace("\\", "/")))
    beside = next((by_stem[one] for one in own if one in by_stem), None) or _beside(name, folder)
    if len(beside) == 1:
        builder.problems.note(ProblemKind.IMAGE_PATH, f"{name!r}")
        return beside[0]
    if labels.get("imageData"):
        remedy = "it is embedded in the file as imageData: write that out as a file beside it"
    else:
        remedy = "restore it, give the folder that holds both, or say where the images are: --images FOLDER"
    shown = f"{stated!r:.200}" if isinstance(stated, str) else "not given"
    raise RecordError(root / name, f"its image (imagePath {shown}) is not in {str(folder)!r}", remedy)


def _beside(name: str, folder: Path) -> list[str]:
    """The images of a single file's own name."""
    stem = posixpath.splitext(name)[0]
    return [stem + suffix for suffix in SUFFIXES if os.path.isfile(folder / (stem + suffix))]


def _read_labels(
    name: str, labels: dict[str, Any], file_name: str, ids: dict[str, int], builder: LabelBuilder
) -> None:
    """Add an image and its objects."""
    stated = (labels.get("imageHeight"), labels.get("imageWidth"))
    known = all(side is not None for side in stated)
    if not known:
        builder.problems.note(ProblemKind.IMAGE_SIZE_READ, f"{name!r}")
    image = builder.add_image(file_name, size=stated if known else None)
    if _is_set(labels.get("flags")):
        builder.problems.note(ProblemKind.ATTRIBUTE, f"{name!r}")
    objects: dict[Any, list[Part]] = {}
    for position, shape in enumerate(labels["shapes"], start=1):
        record = f"shape {position} of {name!r}"
        part = _read_shape(shape, record, image.size, builder)
        if part is None:
            continue
        group = shape.get("group_id")
        grouped = isinstance(group, (int, str)) and group != ""
        key = (shape["label"], group if grouped else ("alone", position))
        objects.setdefault(key, []).append(part)
    for (label, _), parts in objects.items():
        _add_object(parts, image, ids[label], builder)


def _read_shape(
    shape: dict[str, Any], record: str, size: tuple[int, int], builder: LabelBuilder
) -> Part | None:
    """A shape, or None for one that is no part of an object, which is counted."""
    kind = shape.get("shape_type") or "polygon"
    if shape["label"] in IGNORED:
        builder.problems.note(ProblemKind.IGNORED_SHAPE, record)
        return None
    if kind in OPEN_SHAPES:
        builder.problems.note(ProblemKind.UNREAD_SHAPE, record)
        return None
    if any(_is_set(shape.get(key)) for key in ("flags", "description", "difficult", "attributes")):
        builder.problems.note(ProblemKind.ATTRIBUTE, record)
    corners = points(shape.get("points"))
    if kind == "mask":
        return Part(record, rle=_mask(shape.get("mask"), corners, builder.source, record, size))
    if kind == "rectangle" and len(corners) >= 2:
        x0, y0, x1, y1 = box_around(corners)
        return Part(record, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), is_box=True)
    if kind == "circle" and len(corners) == 2:
        return Part(record, _circle(corners))
    if kind in TURNED_SHAPES:
        builder.problems.note(ProblemKind.TURNED_BOX_AS_POLYGON, record)
    elif kind != "polygon":
        builder.problems.note(ProblemKind.UNREAD_SHAPE, record)
        return None
    return Part(record, corners)


def _circle(corners: np.ndarray) -> np.ndarray:
    """The outline of a circle given by its centre and a point on it."""
    x, y = corners[0].tolist()
    with np.errstate(over="ignore", invalid="ignore"):
        radius = float(np.hypot(*(corners[1] - corners[0])))
    return ellipse_ring(x, y, radius, radius, 0.0)


def _mask(encoded: Any, corners: np.ndarray, source: Path, record: str, size: tuple[int, int]) -> Rle:
    """The RLE of a mask shape.

    Raises:
        DataError: not a PNG, or not of the size of its box, or outside the image.
    """

    def refused(what: str) -> RecordError:
        return RecordError(source, what, "draw it again", f"the mask of {record}")

    height, width = size
    if corners.shape != (2, 2) or not np.isfinite(corners).all() or np.abs(corners).max() > LARGEST:
        raise refused("has not two points, its first and last pixel")
    (x0, y0), (x1, y1) = np.rint(corners).astype(int).tolist()
    box = (x1 - x0 + 1, y1 - y0 + 1)
    if not (0 <= x0 <= x1 < width and 0 <= y0 <= y1 < height):
        raise refused(f"leaves the image of {width} x {height}")
    try:
        png = base64.b64decode(encoded, validate=True)
        with quiet(), Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            shown, mode = image.size, image.mode
            bitmap = np.asarray(image) if shown == box else np.zeros((0, 0))
    except (TypeError, binascii.Error):
        raise refused("is not base64") from None
    # parsers raise whatever they stumble over on damaged bytes
    except Exception as error:  # noqa: BLE001
        raise refused(f"is not a PNG ({one_line(error):.100})") from None
    if shown != box or bitmap.ndim != 2:
        shape = f"{shown[0]} x {shown[1]} of mode {mode}"
        raise refused(f"is {shape}, not one channel of {box[0]} x {box[1]} as its points say")
    return placed_rle(bitmap, x0, y0, height, width)


def _add_object(parts: list[Part], image: LabelledImage, label: int, builder: LabelBuilder) -> None:
    record = (
        parts[0].record if len(parts) == 1 else f"{parts[0].record} and {len(parts) - 1} more of its group"
    )
    rings = [part.ring for part in parts if part.ring is not None]
    rles = [part.rle for part in parts if part.rle is not None]
    if len(parts) == 1 and parts[0].is_box:
        builder.add_object(image, label, record, box=box_around(rings[0]))
        return
    if not rles:
        builder.add_object(image, label, record, polygons=rings)
        return
    for ring in rings:
        if not sound(ring):
            kind = ProblemKind.SHORT_POLYGON
            if not drawable(ring):
                kind = ProblemKind.OVERLONG_OUTLINE
            elif not np.isfinite(ring).all():
                kind = ProblemKind.NON_FINITE
            builder.problems.note(kind, record)
    builder.add_object(image, label, record, rle=joined_rle(rles, rings, *image.size))


def _is_set(flags: Any) -> bool:
    """Whether one of the flags is set; LabelMe lists those that are not, too."""
    return any(flags.values()) if isinstance(flags, dict) else bool(flags)
