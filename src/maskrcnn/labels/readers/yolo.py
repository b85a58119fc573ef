"""YOLO: one text file an image with one object a line, for boxes, polygons or poses.

The format is described at docs.ultralytics.com/datasets: /detect, /segment and /pose. The image
images/A/b.jpg has its objects in labels/A/b.txt, or beside it; every coordinate is a share of the image's
width or height. What the classes are and which images there are say `yolo_description` and `yolo_images`.
A line is a class and
- x, y, width, height of a box about its centre, or
- the points of one polygon, or
- where data.yaml has `kpt_shape: [K, 2 or 3]`, a box and K keypoints: x, y and, of three, the visibility.
Without visibility a keypoint is labelled unless it is negative or exactly 0, 0. A turned box (class and four
corners) looks like a polygon and is read as one.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.config.keypoints import COCO_FLIP, COCO_NAMES
from maskrcnn.errors import DataError, RecordError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.text_lines import TEXTS, read_text
from maskrcnn.labels.readers.yolo_description import (
    NAMES_FILES,
    Description,
    describe,
    description_file,
    is_label_text,
    label_names,
    usual_places,
    words_of,
)
from maskrcnn.labels.readers.yolo_images import images_of
from maskrcnn.labels.split_names import other_subsets, split_of
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import whole
from maskrcnn.shell import counted

# a share of the image's side beyond this is a pixel; a little outside the image is an honest polygon
LARGEST_SHARE = 2.0
SOME = 4  # boxes, of which something can be told
FAR = 0.02  # share of a side by which a box leaves its image for more than sloppiness
VISIBLE = {0.0, 1.0, 2.0}  # what the visibility of a keypoint may be


def read_yolo(source: Path, split: str | None = None) -> FileDataset:
    """Read one split of a YOLO data set. Images are numbered from 1; one without a text file has no object.

    Args:
        source: data.yaml, obj.data, classes.txt or the folder that holds it.
        split: "train", "val" or "test"; None: the first of them that there is, or all images where there is
            none.

    Raises:
        UserError: there is no such split, or nothing names the classes.
        DataError: the files cannot be used; one line with the record and the remedy.
    """
    description = describe(Path(source))
    images = images_of(description, split)
    builder = LabelBuilder(description.path, description.folder)
    for class_id, name in description.classes.items():
        label = builder.add_class(name, class_id)
        if description.keypoints:
            builder.add_keypoints(label, _keypoint_fields(description, class_id, builder))
    labels = {image: _label_file(description.folder, image) for image in images}
    if not any(os.path.isfile(description.folder / label) for label in labels.values()):
        first = next(iter(labels.values()))
        near = _of_label_studio(description.folder, first)
        remedy = "export the labels beside the images"
        if near is not None:
            remedy = f"there is {near!r}: give the images the names of their labels"
        raise RecordError(
            description.path,
            f"none of {len(images)} images has a label file, the first would be {first!r}",
            remedy,
        )
    _refuse_shared(description, labels)
    counts = Counter[str]()  # of boxes
    for image, text in labels.items():
        if os.path.isfile(description.folder / image):
            _read_labels(description, builder, text, builder.add_image(image), counts)
        else:
            builder.image_count += 1
            builder.missing.append(image)
    _refuse_corners(counts, description.path)
    _refuse_poses(counts, description.path)
    for subset in other_subsets(description.subsets):
        builder.problems.note(ProblemKind.OTHER_SUBSET, repr(subset))
    _note_orphans(description, set(labels.values()), builder)
    return builder.build()


def looks_like_yolo(source: Path) -> bool:
    """Whether `source` is, or is a folder with, a data.yaml that has classes and images, or cannot be read;
    an obj.data or classes.txt with labels; or labels of YOLO that lack those.
    """
    source = Path(source)
    path: Path | None = None
    try:
        path = description_file(source)
        if path is not None:
            return bool(describe(source).subsets)
    except DataError:
        # of which `read_yolo` says what is wrong
        named = "" if path is None else path.name
        texts = named in NAMES_FILES and path != source and bool(usual_places(source))
        return named.lower() in ("data.yaml", "obj.data") or texts
    except UserError:
        return path is None and bool(usual_places(source))  # several describe it
    if not source.is_dir():
        return False
    # labels without names: not where another format's may lie
    others = any(file.suffix.lower() in (".json", ".xml", ".yaml", ".yml") for file in source.iterdir())
    places = [] if others else [place for where in usual_places(source).values() for place in where]
    return any(not place.endswith(".txt") for place in places)


def has_split(source: Path, split: str) -> bool:
    """Whether images of "train", "val" or "test" are described."""
    return any(split_of(subset) == split for subset in describe(Path(source)).subsets)


def _keypoint_fields(description: Description, class_id: int, builder: LabelBuilder) -> dict[str, Any]:
    """The keypoints of a class, as the fields of a COCO category."""
    where, count = str(description.path), description.keypoints
    flip = description.document.get("flip_idx")
    if flip is not None:
        flip = [whole(index) for index in flip] if isinstance(flip, list) else []
        if sorted(flip) != list(range(count)):
            raise RecordError(
                where, f"flip_idx must hold each number from 0 to {count - 1} once", "correct it"
            )
    names = description.document.get("kpt_names")
    if isinstance(names, dict):
        names = names.get(class_id, next(iter(names.values()), None))
    if names is not None and not (isinstance(names, list) and len(names) == count):
        raise RecordError(
            where, f"kpt_names must be {count} names, as many as kpt_shape says", "correct one of them"
        )
    if names is None and flip == COCO_FLIP:  # no other 17 points swap like a person's
        names = COCO_NAMES
    shown = (
        [f"keypoint_{index}" for index in range(count)] if names is None else [str(name) for name in names]
    )
    fields: dict[str, Any] = {"keypoints": shown}
    if flip is not None:
        fields["keypoints_flip"] = [shown[index] for index in flip]
    elif names is None:  # from names left and right could be told
        builder.problems.note(ProblemKind.KEYPOINTS_WITHOUT_FLIP, where)
    return fields


def _of_label_studio(folder: Path, label: str) -> str | None:
    """The name of a text that is `label` with eight letters and a dash before, as of what was uploaded."""
    try:
        names = sorted(os.listdir(folder / posixpath.dirname(label)))
    except (OSError, ValueError):  # a name that no folder can have
        return None
    return next((name for name in names if name.endswith(f"-{posixpath.basename(label)}")), None)


def _label_file(folder: Path, image: str) -> str:
    """The text of an image's labels, or where it would be."""
    names = label_names(image)
    names += [posixpath.splitext(name)[0] + ".TXT" for name in names]
    return next((name for name in names if os.path.isfile(folder / name)), names[0])


def _refuse_shared(description: Description, labels: dict[str, str]) -> None:
    """Refuse two images with one text: a.jpg and a.png, of which nobody knows whose the objects are."""
    owners: dict[str, str] = {}
    for image, text in labels.items():
        if os.path.isfile(description.folder / image) and owners.setdefault(text, image) != image:
            raise RecordError(
                description.path,
                f"images {owners[text]!r} and {image!r} share a name, and so the labels in {text!r}",
                "rename one, and its labels, or delete one",
            )


def _read_labels(
    description: Description, builder: LabelBuilder, label: str, image: LabelledImage, counts: Counter[str]
) -> None:
    path = description.folder / label
    if not os.path.isfile(path):
        return
    refuse_leaving(description.folder, path)
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        record = f"line {number} of {label!r}"
        numbers = _numbers(line, record, description)
        class_label, shares = builder.class_ids.index(int(numbers[0])), numbers[1:]
        if len(shares) == 4:
            _count_corners(shares, counts)
            builder.add_object(image, class_label, record, box=_box(shares, image.size))
        elif description.keypoints:
            keypoints = _keypoints(description, shares[4:], image.size)
            builder.add_object(image, class_label, record, box=_box(shares, image.size), keypoints=keypoints)
        else:
            _count_pose(shares, counts)
            ring = shares.reshape(-1, 2) * [image.width, image.height]
            builder.add_object(image, class_label, record, polygons=[ring])


def _count_corners(shares: np.ndarray, counts: Counter[str]) -> None:
    """Count a box of 4 shares, whether it leaves its image, and whether it may be corners x1, y1, x2, y2."""
    x, y, w, h = shares.tolist()
    counts["all"] += 1
    counts["leaving"] += max(x + w / 2, y + h / 2) > 1 + FAR or min(x - w / 2, y - h / 2) < -FAR
    counts["corners"] += 0 <= x < w <= 1 and 0 <= y < h <= 1


def _refuse_corners(counts: Counter[str], path: Path) -> None:
    """Refuse boxes of which all may be corners, and most leave their image if they are not."""
    total, leaving = counts["all"], counts["leaving"]
    if counts["corners"] == total >= SOME and 2 * leaving > total:
        what = f"{leaving} of {total} boxes leave their image: they are corners x1, y1, x2, y2"
        raise RecordError(path, what, "write the centre, the width and the height")


def _count_pose(shares: np.ndarray, counts: Counter[str]) -> None:
    """Count the points of an outline, whether they may be a box and keypoints in it, and whether its second
    point, the width and the height then, is far from them, as no point of an outline is.
    """
    points = shares.reshape(-1, 2)
    lower, upper = points[0] - points[1] / 2, points[0] + points[1] / 2
    rest = points[2:][(points[2:] != 0).any(axis=1)]  # 0, 0 is an unlabelled keypoint
    in_image = (lower >= -FAR).all() and (upper <= 1 + FAR).all()
    counts["outlines"] += 1
    if len(shares) % 3 == 1 and set(shares[6::3].tolist()) <= VISIBLE:
        seen = shares[4:].reshape(-1, 3)
        seen = seen[seen[:, 2] > 0, :2]
        counts["seen"] += bool((seen >= lower - FAR).all() and (seen <= upper + FAR).all())
    counts[f"of {len(points)}"] += 1
    counts["poses"] += bool(in_image and (rest >= lower - FAR).all() and (rest <= upper + FAR).all())
    counts["far"] += bool((points[1] < lower).any() or (points[1] > upper).any())


def _refuse_poses(counts: Counter[str], path: Path) -> None:
    """Refuse outlines of as many points each, of which all may be a box and keypoints."""
    total = counts["outlines"]
    size = next((key for key, count in counts.items() if key.startswith("of ") and count == total), None)
    if size is not None and counts["seen"] == total >= SOME:
        count = (2 * int(size[3:]) - 4) // 3
        what = f"all {total} lines have a box and what seem to be {count} keypoints with their visibility"
        raise RecordError(path, what, f"write kpt_shape: [{count}, 3] into data.yaml, or export polygons")
    if size is not None and counts["poses"] == total >= SOME and 4 * counts["far"] >= total:
        count = int(size[3:]) - 2
        what = f"all {total} lines have a box and what seem to be {count} keypoints in it, without visibility"
        raise RecordError(path, what, f"write kpt_shape: [{count}, 2] into data.yaml, or export polygons")


def _numbers(line: str, record: str, description: Description) -> np.ndarray:
    """The numbers of a line, as many as the format allows, the first a known class."""

    def refused(what: str, remedy: str) -> RecordError:
        return RecordError(description.path, what, remedy, record)

    try:
        numbers = np.array([float(word) for word in words_of(line)], dtype=np.float64)
    except ValueError:
        raise refused(f"is not all numbers, {line.strip()!r:.80}", "export it again") from None
    pose = 5 + description.keypoints * description.values
    if description.keypoints:
        if len(numbers) not in (5, pose):
            wanted = f"kpt_shape asks for {pose}: class, box, keypoints"
            raise refused(f"has {counted(len(numbers), 'number')} but {wanted}", "correct one")
    elif len(numbers) % 3 == 2 and 2.0 in numbers[7::3] and set(numbers[7::3].tolist()) <= VISIBLE:
        count = (len(numbers) - 5) // 3
        what = f"has a box and what seem to be {count} keypoints with their visibility"
        raise refused(what, f"write kpt_shape: [{count}, 3] into data.yaml, or export polygons")
    elif len(numbers) != 5 and (len(numbers) < 7 or len(numbers) % 2 == 0):
        remedy = "write a class and 4 for a box, or the x, y of 3 or more points"
        raise refused(f"has {counted(len(numbers), 'number')}", remedy)
    if not math.isfinite(numbers[0]) or numbers[0] not in description.classes:
        known = ", ".join(f"{index} {name}" for index, name in list(description.classes.items())[:10])
        what = f"has the class {numbers[0]:g}, which names does not list ({known})"
        raise refused(what, "add it to names")
    shares = numbers[1:]
    if description.keypoints and len(numbers) == pose and description.values == 3:
        shares = np.delete(shares, np.s_[6::3])  # visibilities
    beyond = shares[np.isfinite(shares) & (np.abs(shares) > LARGEST_SHARE)]
    if len(beyond):
        shares_of = "coordinates are shares of the image's width and height, from 0 to 1"
        raise refused(f"has {beyond[0]:g}, but {shares_of}", "divide pixels by them")
    return numbers


def _box(shares: np.ndarray, size: tuple[int, int]) -> list[float]:
    """xyxy in pixels."""
    height, width = size
    x, y, w, h = (float(share) for share in shares[:4])
    return [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]


def _keypoints(description: Description, shares: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(K, 3) continuous x, y and visibility."""
    rows = shares.reshape(description.keypoints, description.values)
    if description.values == 2:
        unlabelled = (rows < 0).any(axis=1) | (rows == 0).all(axis=1)
        rows = np.column_stack([rows, np.where(unlabelled, 0.0, 2.0)])
    return rows * [size[1], size[0], 1.0]


def _note_orphans(description: Description, labels: set[str], builder: LabelBuilder) -> None:
    """Count label files that no image belongs to."""
    places: dict[str, str] = {}  # folders, and the texts in each that are looked at
    for folder in {posixpath.dirname(label) for label in labels}:
        parts = folder.split("/")
        top = next((index for index, part in enumerate(parts, start=1) if part.lower() == "labels"), None)
        # all below the folder called labels: those of images that were looked for elsewhere too
        places |= {folder: TEXTS} if top is None else {"/".join(parts[:top]): f"**/{TEXTS}"}
    texts: dict[str, Path] = {}
    for place, pattern in places.items():
        path = description.folder / place
        if os.path.isdir(path):
            refuse_leaving(description.folder, path)
            found = visible(path, pattern)
            texts |= {posixpath.join(place, text.relative_to(path).as_posix()): text for text in found}
    own = {posixpath.dirname(label) for label in labels}
    stems: dict[str, set[str]] = {}  # of the images in a folder, each of which is listed once
    for label, path in sorted(texts.items()):
        # other splits may lie in the same folder
        if path.name in NAMES_FILES or label in labels or _has_image(description, label, stems):
            continue
        folder = posixpath.dirname(label)
        # beside images lie other texts too, and above the labels notes and lists
        if (folder in own and "labels" in folder.lower().split("/")) or is_label_text(path):
            builder.problems.note(ProblemKind.LABELS_WITHOUT_IMAGE, f"{label!r}")


def _has_image(description: Description, label: str, stems: dict[str, set[str]]) -> bool:
    folder, stem = posixpath.split(posixpath.splitext(label)[0])
    parts = folder.split("/")
    folders = [folder]
    for index, part in enumerate(parts):
        if part.lower() == "labels":
            folders += [
                "/".join([*parts[:index], name, *parts[index + 1 :]]) for name in ("images", "Images")
            ]
    for each in folders:
        if each not in stems:
            path = description.folder / each
            names = os.listdir(path) if os.path.isdir(path) else []
            stems[each] = {posixpath.splitext(name)[0] for name in names if name.lower().endswith(SUFFIXES)}
        if stem in stems[each]:
            return True
    return False
