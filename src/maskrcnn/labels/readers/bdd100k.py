"""BDD100K's and Scalabel's JSON: a list of frames with boxes, outlines or RLEs.

The format: doc.scalabel.com/format.html (doc.bdd100k.com/format.html). The last pixel of a box is inside, as
Scalabel's own tools have it; outlines are taken as continuous. An outline's "C" are Bezier curves' control
points and end. What is not closed, as a lane, is no object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import folder_of_images, holds_one, load_only
from maskrcnn.labels.readers.json_file import glance
from maskrcnn.labels.shapes import curve
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import number, points
from maskrcnn.masks.rle import json_rle

SHAPES = ("box2d", "poly2d", "rle")
CORNERS = ("x1", "y1", "x2", "y2")
FLAGS = ("occluded", "truncated")
IGNORED = ("crowd", "ignored")  # flags of regions that are no single object


def read_bdd100k(source: Path, image_folder: Path | None = None) -> FileDataset:
    """Read the file, or the only one of a folder. Images are numbered from 1 in its order.

    Args:
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    path, document = load_only(Path(source), "BDD100K, a list of frames", _glance)
    frames = document.get("frames") if isinstance(document, dict) else document
    if not isinstance(frames, list):
        raise RecordError(path, "has no list of frames", "give the label file itself")
    images: dict[str, list[Any]] = {}
    for position, frame in enumerate(frames):
        name = frame.get("name") if isinstance(frame, dict) else None
        labels = frame.get("labels") or [] if isinstance(frame, dict) else None
        if not isinstance(name, str) or not name or not isinstance(labels, list):
            raise RecordError(path, "has no name or no list of labels", "correct it", f"frame {position}")
        video = frame.get("videoName")
        name = f"{video}/{name}" if isinstance(video, str) and video else name
        if name in images:
            raise RecordError(path, "is there twice", "delete one", f"image {name!r}")
        images[name] = labels
    builder = LabelBuilder(path, folder_of_images(path, images, image_folder, _folders(path)))
    used = {_category(one) for labels in images.values() for one in labels}
    ids = builder.add_classes(sorted(used - {""}))
    for name, labels in images.items():
        image = builder.add_image(name)
        for position, one in enumerate(labels):
            _add(one, image, f"label {position}", ids, builder)
    return builder.build()


def looks_like_bdd100k(source: Path) -> bool:
    """Whether `source` is such a .json, or a folder with one."""
    return holds_one(Path(source), _glance)


def _glance(path: Path) -> bool:
    text = glance(path)
    if not text.startswith("[") and '"frames"' not in text:
        return False
    return '"name"' in text and '"labels"' in text and any(f'"{shape}"' in text for shape in SHAPES)


def _folders(path: Path) -> list[str]:
    """Where the images of bdd100k/labels/det_20/det_train.json and the like lie."""
    split = next((name for name in ("train", "val", "test") if name in path.stem), "train")
    inner = [f"images/{size}/{split}" for size in ("100k", "10k", "seg_track_20", "track")]
    return [
        f"{up}{name}" for up in ("", "../", "../../", "../../../") for name in [*inner, f"images/{split}"]
    ]


def _category(one: Any) -> str:
    name = one.get("category") if isinstance(one, dict) else None
    return name.strip() if isinstance(name, str) else ""


def _add(one: Any, image: LabelledImage, record: str, ids: dict[str, int], builder: LabelBuilder) -> None:
    name = _category(one)
    if not name:
        builder.note(ProblemKind.NO_CLASS, record, image)
        return
    said = one.get("attributes")
    said = said if isinstance(said, dict) else {}
    if any(said.get(flag) is True for flag in FLAGS):
        builder.note(ProblemKind.OCCLUSION, record, image)
    if any(
        value not in (False, None, "none", "NA", "")
        for key, value in said.items()
        if key not in (*FLAGS, *IGNORED)
    ):
        builder.note(ProblemKind.ATTRIBUTE, record, image)
    box, outlines, rle = (one.get(shape) for shape in SHAPES)
    corners = [number(box.get(key)) for key in CORNERS] if isinstance(box, dict) else None
    rings = _rings(outlines)
    if corners is None and rle is None and not rings:
        builder.note(ProblemKind.UNREAD_SHAPE, record, image)
        return
    mask = None
    if isinstance(rle, dict):
        try:
            mask = json_rle(rle, *image.size)
        except ValueError as error:
            raise RecordError(
                builder.source,
                f"cannot be used: {error}",
                "encode the mask again",
                f"RLE of {record} of image {image.file_name!r}",
            ) from None
    if corners is not None:
        last = np.minimum(np.array(corners[2:]) + 1, (image.width, image.height))
        corners[2:] = np.maximum(last, corners[2:]).tolist()
    crowd = any(said.get(flag) is True for flag in IGNORED)
    builder.add_object(image, ids[name], record, box=corners, polygons=rings, rle=mask, crowd=crowd)


def _rings(outlines: Any) -> list[np.ndarray]:
    """The closed outlines (n, 2) of a poly2d, curves drawn."""
    rings = []
    for one in outlines if isinstance(outlines, list) else ():
        if isinstance(one, dict) and one.get("closed", True):
            corners, kinds = points(one.get("vertices")), one.get("types")
            rings.append(_drawn(corners, kinds if isinstance(kinds, str) else ""))
    return rings


def _drawn(corners: np.ndarray, kinds: str) -> np.ndarray:
    found: list[np.ndarray] = []
    at = 0
    while at < len(corners):
        if found and kinds[at : at + 3] == "CCC" and at + 3 <= len(corners):
            found.append(curve(np.concatenate([found[-1][-1:], corners[at : at + 3]])))
            at += 3
        else:
            found.append(corners[at : at + 1])
            at += 1
    return np.concatenate(found) if found else corners
