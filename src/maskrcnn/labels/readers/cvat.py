"""CVAT for images 1.1 (docs.cvat.ai/docs/dataset_management/formats/format-cvat,
docs.cvat.ai/docs/other/xml_format).

The export is annotations.xml, beside it images/ with the images; where a project was exported, in a folder
for each subset, of which Train, Validation and Test are the splits. Coordinates are continuous; a mask's runs
go row by row through its own rectangle. Skeletons are keypoints, joined with the box or the outline that has
their label and group. Tracks of a video are read where there are no images.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from maskrcnn.errors import RecordError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder, own_ids
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import present_name, relative_name
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.cvat_tracks import frames_of_tracks
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.safe_xml import MAX_BYTES, XMLS, parse_xml
from maskrcnn.labels.shapes import box_around, box_around_turned, ellipse_ring, joined_rle, placed_rle, sound
from maskrcnn.labels.split_names import other_subsets, split_of, subsets_of
from maskrcnn.labels.values import number, whole
from maskrcnn.masks.rle import Rle
from maskrcnn.safe_files import decoded

FILE_NAME = "annotations.xml"
FRAME_SUFFIXES = (".PNG", ".png", ".jpg", ".jpeg")
SHAPES = ("box", "polygon", "mask", "ellipse", "skeleton")
SUBSET = re.compile(rb"""<(?:image|track)\s[^<]*?\ssubset\s*=\s*["']([^"'<]*)""")
UNREAD = ("points", "polyline", "cuboid", "tag")


@dataclass
class Labels:
    """The labels of a task: classes, and the points of skeletons."""

    classes: list[str] = field(default_factory=list)
    keypoints: list[str] = field(default_factory=list)  # of all skeletons, each name once
    skeletons: set[str] = field(default_factory=set)  # classes that have keypoints
    edges: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Shape:
    """A shape of an image, or several of one group that are one object."""

    label: str
    group: int
    record: str
    box: list[float] | None = None
    rings: list[np.ndarray] | None = None
    rle: Rle | None = None
    keypoints: np.ndarray | None = None


def looks_like_cvat(source: Path) -> bool:
    """Whether this is an XML file of CVAT for images, or a folder with one."""
    path = _xml_file(Path(source))
    if path is None:
        return False
    try:
        with path.open("rb") as file:
            head = decoded(file.read(1 << 20), "ignore")
    except OSError:
        return False
    return "<annotations" in head and any(tag in head for tag in ("<image ", "<track ", "<meta"))


def has_cvat_split(source: Path, split: str) -> bool:
    """Whether images or tracks of a subset are "train", "val" or "test"."""
    path = _xml_file(Path(source))
    try:
        text = b"" if path is None or path.stat().st_size > MAX_BYTES else path.read_bytes()
    except OSError as error:
        raise RecordError(path, f"not readable ({error.strerror})", "check the file") from None
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = text.decode("utf-16", errors="replace").encode()
    # not parsed, which takes minutes where it is large, and is done on reading
    names = {match[1] for match in SUBSET.finditer(text)}
    return any(split_of(html.unescape(name.decode(errors="replace"))) == split for name in names)


def read_cvat(source: Path, split: str | None = None, image_folder: Path | None = None) -> FileDataset:
    """Read an export of CVAT for images: annotations.xml, or the folder that holds it.

    Args:
        split: "train", "val" or "test": the images of the subset that is called so. None: the first of them
            that there is, or all images where no subset is one.
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        UserError: there is no such subset.
        DataError: the file or a record cannot be used; one line with the record and the remedy.
    """
    source = Path(source)
    path = _xml_file(source)
    if path is None:
        raise RecordError(source, f"no {FILE_NAME}", "export as 'CVAT for images 1.1'")
    root = parse_xml(path)
    folder = path.parent if image_folder is None else image_folder
    builder = LabelBuilder(path, folder)
    images = root.findall("image")
    for position, _ in enumerate(root.findall("track") if images else ()):
        builder.problems.note(ProblemKind.TRACK, f"track {position}")
    if root.tag != "annotations":
        raise RecordError(
            path, f"its root is <{root.tag:.40}>, not <annotations>", "export as 'CVAT for images 1.1'"
        )
    images = images or frames_of_tracks(root, folder, builder.problems)
    if not images:
        raise RecordError(path, "has no <image> and no <track>", "export as 'CVAT for images 1.1'")
    labels = _labels(root, images)
    images = _of_split(images, split, builder)
    ids = builder.add_classes(labels.classes)
    _add_schema(builder, labels)
    _add_images(images, folder, labels, ids, builder)
    return builder.build()


def _add_images(
    images: list[Element], folder: Path, labels: Labels, ids: dict[str, int], builder: LabelBuilder
) -> None:
    """Add the images with their objects."""
    files: dict[str, str] = {}
    image_ids = own_ids([whole(image.get("id")) if image.get("id") else None for image in images])
    for image, image_id in zip(images, image_ids, strict=True):
        name = image.get("name") or ""
        stated = (image.get("height"), image.get("width"))
        file_name = _file_name(folder, image)
        named = ((key, image.get(key)) for key in ("id", "subset", "task_id"))
        where = ", ".join(f"{key} {value!r:.80}" for key, value in named if value)
        if file_name in files:
            raise RecordError(
                builder.source,
                f"two images would be {file_name!r}: {where}, and {files[file_name]}",
                "restore the folders of the subsets, or export each task by itself",
            )
        files[file_name] = where
        labelled = builder.add_image(file_name, image_id, None if None in stated else stated)
        shapes = list(_shapes(image, name, labelled.size, labels, builder))
        for shape in _joined(shapes, name, labelled.size, builder):
            if shape.label not in ids:
                raise RecordError(
                    builder.source,
                    f"has the label {shape.label!r}, which is not among the labels of <meta>",
                    "add it there",
                    f"{shape.record} of image {name!r}",
                )
            builder.add_object(
                labelled,
                ids[shape.label],
                shape.record,
                box=shape.box,
                polygons=shape.rings,
                rle=shape.rle,
                keypoints=shape.keypoints,
            )


def _xml_file(source: Path) -> Path | None:
    """`source` itself; of a folder annotations.xml, else the only XML file in it."""
    if source.is_dir():
        files = visible(source, XMLS)
        source = files[0] if len(files) == 1 else source / FILE_NAME
    return source if source.suffix.lower() == ".xml" and source.is_file() else None


def _of_split(images: list[Element], split: str | None, builder: LabelBuilder) -> list[Element]:
    """The images of the subsets that are a split; all where no subset is one."""
    subsets = list(dict.fromkeys(image.get("subset") or "" for image in images))
    wanted = subsets_of(split, subsets)
    if not wanted:
        raise UserError(
            f"{builder.source}: no subset is {split!r} ({', '.join(filter(None, subsets)) or 'none at all'});"
            " name one so in CVAT"
        )
    for subset in other_subsets(subsets):
        builder.problems.note(ProblemKind.OTHER_SUBSET, repr(subset))
    return [image for image in images if (image.get("subset") or "") in wanted]


def _file_name(folder: Path, image: Element) -> str:
    """The image's name relative to `folder`: in the folder of its subset, in images/, as it is or in data/,
    as FiftyOne writes it.
    """
    name, subset = image.get("name") or "", image.get("subset") or ""
    if relative_name(name) is None:  # of which the builder says so
        return name
    places = [f"images/{name}", name, f"data/{name}"]
    if subset:
        places = [f"images/{subset}/{name}", f"{subset}/{name}", *places]
    if not name.lower().endswith(SUFFIXES):  # a frame of a video
        places += [place + suffix for place in places for suffix in FRAME_SUFFIXES]
    present = (present_name(folder, place) for place in places)
    return next((place for place in present if place and os.path.isfile(folder / place)), places[0])


def _labels(root: Element, images: list[Element]) -> Labels:
    labels = Labels()
    found = list(root.iter("label"))
    for label in found:
        name, parent = label.findtext("name") or "", label.findtext("parent")
        if parent:
            labels.skeletons.add(parent)
            if name not in labels.keypoints:
                labels.keypoints.append(name)
        elif name and name not in labels.classes:
            labels.classes.append(name)
    if not labels.classes:
        names = {shape.get("label") or "" for image in images for shape in image if shape.tag in SHAPES}
        labels.classes = sorted(names - {""})
    for image in images:
        for skeleton in image.findall("skeleton"):
            labels.skeletons.add(skeleton.get("label") or "")
            for point in skeleton.findall("points"):
                if (point.get("label") or "") not in labels.keypoints:
                    labels.keypoints.append(point.get("label") or "")
    for label in found:
        labels.edges |= _edges(label.findtext("svg") or "")
    return labels


def _edges(svg: str) -> set[tuple[str, str]]:
    """Pairs of keypoint names that the drawing of a skeleton connects."""
    names: dict[str, str] = {}
    lines: list[tuple[str, str]] = []
    for attributes in re.findall(r"<(?:line|circle)\b([^<>]*)", svg):
        found = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        if "data-label-name" in found:
            names[found.get("data-node-id", "")] = html.unescape(found["data-label-name"])
        if "data-node-from" in found:
            lines.append((found["data-node-from"], found.get("data-node-to", "")))
    return {(names[a], names[b]) for a, b in lines if a in names and b in names}


def _add_schema(builder: LabelBuilder, labels: Labels) -> None:
    """Give the classes that are skeletons their keypoints; one set for all, as there is one set in a
    training.
    """
    index = {name: position + 1 for position, name in enumerate(labels.keypoints)}
    skeleton = sorted([index[a], index[b]] for a, b in labels.edges if a in index and b in index)
    for label, name in enumerate(builder.classes):
        if labels.keypoints and name in labels.skeletons:
            builder.add_keypoints(label, {"keypoints": labels.keypoints, "skeleton": skeleton})


def _shapes(
    image: Element, name: str, size: tuple[int, int], labels: Labels, builder: LabelBuilder
) -> Iterator[Shape]:
    """The shapes of an image one by one; what has no place is counted."""
    for position, element in enumerate(image):
        record = f"{element.tag} {position}"
        where = f"{record} of image {name!r}"
        if element.tag not in SHAPES:
            if element.tag in UNREAD:
                builder.problems.note(ProblemKind.UNREAD_SHAPE, where)
            continue
        for _ in element.iter("attribute"):
            builder.problems.note(ProblemKind.ATTRIBUTE, where)
        if element.get("occluded", "0") != "0":
            builder.problems.note(ProblemKind.OCCLUSION, where)
        if element.get("z_order", "0") != "0":
            builder.problems.note(ProblemKind.Z_ORDER, where)
        shape = Shape(element.get("label") or "", max(whole(element.get("group_id")), 0), record)
        if element.tag == "box":
            shape.box = _box(element, where, builder)
        elif element.tag == "polygon":
            shape.rings = [_points(element.get("points") or "")]
        elif element.tag == "ellipse":
            x, y, rx, ry = (number(element.get(key)) for key in ("cx", "cy", "rx", "ry"))
            shape.rings = [ellipse_ring(x, y, rx, ry, number(element.get("rotation", "0")))]
        elif element.tag == "mask":
            shape.rle = _mask(element, where, size, builder)
        else:
            shape.keypoints = _keypoints(element, where, labels, builder)
        yield shape


def _points(text: str) -> np.ndarray:
    """(n, 2) of "x,y;x,y"; NaN where there is no number."""
    pairs = [pair.split(",") for pair in text.split(";")] if text.strip() else []
    rows = [[number(pair[0]), number(pair[1]) if len(pair) == 2 else np.nan] for pair in pairs]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _box(element: Element, where: str, builder: LabelBuilder) -> list[float]:
    box = [number(element.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")]
    turn = number(element.get("rotation", "0"))
    if turn == 0:
        return box
    builder.problems.note(ProblemKind.TURNED_BOX, where)
    return box_around_turned(box, turn)


def _mask(element: Element, where: str, size: tuple[int, int], builder: LabelBuilder) -> Rle:
    """The mask of an image from the runs, background first, of the rows of a rectangle."""
    left, top, width, height = (whole(element.get(key)) for key in ("left", "top", "width", "height"))
    if left < 0 or top < 0 or width <= 0 or height <= 0 or left + width > size[1] or top + height > size[0]:
        what = (
            f"is no rectangle inside the image (left {left}, top {top}, width {width}, height "
            f"{height}, image {size[1]} x {size[0]})"
        )
        raise RecordError(builder.source, what, "export anew", where)
    runs = [whole(run) for run in (element.get("rle") or "").split(",")]
    if any(run < 0 for run in runs) or sum(runs) != width * height:
        raise RecordError(
            builder.source,
            f"has no whole numbers that add up to {width} x {height}",
            "export anew",
            f"the rle of {where}",
        )
    values = np.arange(len(runs), dtype=np.uint8) & 1
    return placed_rle(np.repeat(values, runs).reshape(height, width), left, top, *size)


def _keypoints(element: Element, where: str, labels: Labels, builder: LabelBuilder) -> np.ndarray:
    keypoints = np.zeros((len(labels.keypoints), 3))
    for point in element.findall("points"):
        row = keypoints[labels.keypoints.index(point.get("label") or "")]
        if point.get("outside", "0") != "0":
            continue
        if row[2]:
            builder.problems.note(ProblemKind.SECOND_KEYPOINT, where)
            continue
        found = _points(point.get("points") or "")
        row[:2] = found[0] if len(found) == 1 else np.nan
        row[2] = 1 if point.get("occluded", "0") != "0" else 2
    return keypoints


def _joined(shapes: list[Shape], name: str, size: tuple[int, int], builder: LabelBuilder) -> list[Shape]:
    """Shapes of the same group and label as one; a skeleton that stays alone gets the box around its
    points.
    """
    groups: dict[Any, list[Shape]] = {}
    for position, shape in enumerate(shapes):
        usable = all(sound(ring) for ring in shape.rings or [])
        key: Any = (shape.label, shape.group) if shape.group and usable else position
        groups.setdefault(key, []).append(shape)
    found: list[Shape] = []
    for group in groups.values():
        if sum(shape.keypoints is not None for shape in group) > 1:
            builder.problems.note(ProblemKind.SEVERAL_SKELETONS, f"{group[0].record} of image {name!r}", name)
            found += group
        else:
            found.append(_one(group, size))
    for shape in found:
        if shape.keypoints is not None and shape.box is None and shape.rings is None and shape.rle is None:
            seen = shape.keypoints[shape.keypoints[:, 2] > 0, :2]
            builder.problems.note(ProblemKind.BOX_FROM_KEYPOINTS, f"{shape.record} of image {name!r}", name)
            shape.box = box_around(seen) if len(seen) else [0.0] * 4
    return found


def _one(group: list[Shape], size: tuple[int, int]) -> Shape:
    """One object of the shapes of a group: the union of masks, the box around boxes, the keypoints."""
    first = group[0]
    if len(group) == 1:
        return first
    one = Shape(first.label, first.group, " + ".join(shape.record for shape in group[:5]))
    rings = [ring for shape in group for ring in shape.rings or []]
    rles = [shape.rle for shape in group if shape.rle is not None]
    if rles:
        one.rle = joined_rle(rles, rings, *size)
    elif rings:
        one.rings = rings
    boxes = [shape.box for shape in group if shape.box is not None]
    if boxes:
        one.box = box_around(np.concatenate([np.reshape(boxes, (-1, 2)), *rings]))
    one.keypoints = next((shape.keypoints for shape in group if shape.keypoints is not None), None)
    return one
