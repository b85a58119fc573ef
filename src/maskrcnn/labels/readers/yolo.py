"""YOLO: data.yaml, and one text file an image with one object a line, for boxes, polygons or poses.

The format is described at docs.ultralytics.com/datasets: /detect, /segment and /pose. The image
images/A/b.jpg has its objects in labels/A/b.txt; every coordinate is a share of the image's width or height.
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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from maskrcnn.config.keypoints import COCO_FLIP, COCO_NAMES
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving, relative_name
from maskrcnn.labels.problems import ProblemKind
from maskrcnn.labels.readers.folder_files import files_under
from maskrcnn.labels.readers.safe_yaml import parse_yaml
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import whole

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
MAX_CLASSES = 100_000
MAX_KEYPOINTS = 1000
# a share of the image's side beyond this is a pixel; a little outside the image is an honest polygon
LARGEST_SHARE = 2.0


@dataclass
class Description:
    """What data.yaml says, checked."""

    path: Path
    document: dict[str, Any]
    classes: dict[int, str]
    keypoints: int  # 0: none
    values: int  # 2 or 3 for each keypoint

    @property
    def folder(self) -> Path:
        return self.path.parent


def read_yolo(source: Path, split: str | None = None) -> FileDataset:
    """Read one split of a YOLO data set. Images are numbered from 1; one without a text file has no object.

    Args:
        source: data.yaml or the folder that holds it.
        split: "train", "val" or "test"; None: the first of them that there is.

    Raises:
        UserError: there is no such split.
        DataError: the files cannot be used; one line with the record and the remedy.
    """
    description = _describe(_yaml_file(Path(source)))
    images = _images(description, _split_key(description, split))
    builder = LabelBuilder(description.path, description.folder)
    for class_id, name in description.classes.items():
        label = builder.add_class(name, class_id)
        if description.keypoints:
            builder.add_keypoints(label, _keypoint_fields(description, class_id, builder))
    labels = {image: _label_name(image) for image in images}
    if not any(os.path.isfile(description.folder / label) for label in labels.values()):
        first = next(iter(labels.values()))
        raise DataError(
            f"{description.path}: none of {len(images)} images has a label file, the first would be "
            f"{first!r};"
            " export the labels beside the images"
        )
    for image, text in labels.items():
        if not os.path.isfile(description.folder / image):
            raise DataError(
                f"{description.path}: image {image!r} is missing; restore it or delete it from the list"
            )
        _read_labels(description, builder, text, builder.add_image(image))
    _note_orphans(description, set(labels.values()), builder)
    return builder.build()


def looks_like_yolo(source: Path) -> bool:
    """Whether `source` is, or is a folder with, a data.yaml that has classes and a split, or cannot be
    read.
    """
    try:
        path = _yaml_file(Path(source))
        document = parse_yaml(path)
    except DataError:
        return path.name == "data.yaml"  # of which `read_yolo` says what is wrong
    except UserError:
        return False
    if not isinstance(document, dict) or not ("names" in document or "nc" in document):
        return False
    return any(document.get(key) for keys in SPLITS.values() for key in keys)


def has_split(source: Path, split: str) -> bool:
    """Whether a data.yaml names images for "train", "val" or "test"."""
    document = parse_yaml(_yaml_file(Path(source)))
    return isinstance(document, dict) and any(document.get(key) for key in SPLITS[split])


def _yaml_file(source: Path) -> Path:
    if source.is_file() and source.suffix.lower() in (".yaml", ".yml"):
        return source
    for name in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml"):
        if (source / name).is_file():
            return source / name
    files = sorted(source.glob("*.y*ml")) if source.is_dir() else []
    if len(files) == 1:
        return files[0]
    if files:
        raise UserError(
            f"{source}: holds {files[0].name!r} and {files[1].name!r}; name the one that is meant"
        )
    raise UserError(f"{source}: no data.yaml; give the file or the folder that holds it")


# ---- data.yaml


def _describe(path: Path) -> Description:
    document = parse_yaml(path)
    if not isinstance(document, dict):
        raise DataError(f"{path}: not a list of keys; a data.yaml has train, val and names")
    classes = _classes(document, path)
    shape = document.get("kpt_shape")
    keypoints = values = 0
    if shape is not None:
        sides = [whole(side) for side in shape] if isinstance(shape, list) else []
        if len(sides) != 2 or not 1 <= sides[0] <= MAX_KEYPOINTS or sides[1] not in (2, 3):
            raise DataError(
                f"{path}: kpt_shape must be [number of keypoints, 2 or 3], as [17, 3]; correct it"
            )
        keypoints, values = sides
    return Description(path, document, classes, keypoints, values)


def _classes(document: dict[str, Any], path: Path) -> dict[int, str]:
    """Names by their index."""
    names, count = document.get("names"), document.get("nc")
    if count is not None and not (type(count) is int and 1 <= count <= MAX_CLASSES):
        raise DataError(f"{path}: nc must be the number of classes; correct it")
    if names is None and count is not None:
        return {index: f"class_{index}" for index in range(count)}
    found = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(found, dict) or not 1 <= len(found) <= MAX_CLASSES:
        raise DataError(f"{path}: names must list the classes, as names: [cat, dog]; correct it")
    classes = {}
    for index, name in found.items():
        if type(index) is not int or not 0 <= index < 2**31:
            raise DataError(
                f"{path}: names must have the class's number before each name, counted from 0; correct it"
            )
        # unquoted, YAML takes no, on, 3 and 1.5 for other things than names
        if isinstance(name, bool) or not isinstance(name, (str, int, float)) or not str(name).strip():
            raise DataError(f"{path}: the name of class {index} is not a text; put it in quotes")
        classes[index] = str(name).strip()
    if count is not None and count != len(classes):
        raise DataError(f"{path}: nc is {count} but names has {len(classes)} classes; correct one of them")
    return classes


def _keypoint_fields(description: Description, class_id: int, builder: LabelBuilder) -> dict[str, Any]:
    """The keypoints of a class, as the fields of a COCO category."""
    where, count = str(description.path), description.keypoints
    flip = description.document.get("flip_idx")
    if flip is not None:
        flip = [whole(index) for index in flip] if isinstance(flip, list) else []
        if sorted(flip) != list(range(count)):
            raise DataError(f"{where}: flip_idx must hold each number from 0 to {count - 1} once; correct it")
    names = description.document.get("kpt_names")
    if isinstance(names, dict):
        names = names.get(class_id, next(iter(names.values()), None))
    if names is not None and not (isinstance(names, list) and len(names) == count):
        raise DataError(
            f"{where}: kpt_names must be {count} names, as many as kpt_shape says; correct one of them"
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


# ---- images


def _split_key(description: Description, split: str | None) -> str:
    keys = [key for keys in SPLITS.values() for key in keys if description.document.get(key)]
    wanted = keys if split is None else [key for key in SPLITS.get(split, (split,)) if key in keys]
    if not wanted:
        raise UserError(
            f"{description.path}: has no {split or 'train'!r} split ({', '.join(keys) or 'none at all'}); "
            "add it"
        )
    return wanted[0]


def _images(description: Description, key: str) -> list[str]:
    """The images of a split, each once, as names relative to the folder of data.yaml."""
    value = description.document[key]
    found: dict[str, None] = {}
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, str) or not entry.strip():
            raise DataError(
                f"{description.path}: {key} must name a folder of images or a .txt list; correct it"
            )
        name = _locate(description, key, entry.strip())
        path = description.folder / name
        if path.is_dir():
            files = files_under(path)
            found |= {
                posixpath.normpath(posixpath.join(name, file)): None for file in files if _is_image(file)
            }
        elif path.suffix.lower() == ".txt":
            refuse_leaving(description.folder, path)
            found |= dict.fromkeys(_listed(description, name))
        elif _is_image(name):
            found[name] = None
        else:
            raise DataError(
                f"{description.path}: {key} {entry!r} is no folder, .txt list or image; correct it"
            )
    if not found:
        raise DataError(
            f"{description.path}: empty data set, {key} has no image; put images into {value!r:.100}"
        )
    return list(found)


def _locate(description: Description, key: str, entry: str) -> str:
    """Where an entry of data.yaml is, relative to its folder.

    `path` often still names the place where the data set was made, and Roboflow's exports have
    ../train/images for what lies in train/images: so the entry is looked for under the folder of data.yaml
    too.
    """
    base = description.document.get("path")
    tries = [posixpath.join(base, entry)] if isinstance(base, str) and base else []
    tries.append(entry)
    bare = entry.replace("\\", "/")
    while bare.startswith("../"):
        bare = bare[3:]
    tries.append(bare)
    for attempt in tries:
        name = _inside(attempt, description.folder)
        if name is not None and os.path.exists(description.folder / name):
            return name
    raise DataError(
        f"{description.path}: {key} is {entry!r}, which is not there in {str(description.folder)!r}; put "
        "data.yaml into"
        " the folder that holds the images and write train and val relative to it"
    )


def _inside(entry: str, folder: Path) -> str | None:
    """`entry` relative to `folder`, or None when it leads elsewhere."""
    if posixpath.isabs(entry):
        try:
            entry = PurePosixPath(posixpath.normpath(entry)).relative_to(folder.absolute()).as_posix()
        except ValueError:
            return None
    return "." if posixpath.normpath(entry) == "." else relative_name(entry)


def _listed(description: Description, name: str) -> list[str]:
    """The images that a .txt list names, relative to data.yaml's folder; its lines are relative to it or to
    the list.
    """
    images = []
    for number, line in enumerate(_lines(description.folder / name), start=1):
        entry = line.strip()
        if not entry:
            continue
        tries = [_inside(posixpath.join(posixpath.dirname(name), entry), description.folder)]
        tries.append(_inside(entry, description.folder))
        names = [attempt for attempt in tries if attempt is not None]
        if not names:
            raise DataError(
                f"{description.path}: line {number} of {name!r} names an image outside the folder of "
                "data.yaml,"
                f" {entry!r:.200}; write it relative to that folder"
            )
        images.append(next((n for n in names if os.path.isfile(description.folder / n)), names[0]))
    return images


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


# ---- labels


def _label_name(image: str) -> str:
    """labels/A/b.txt of images/A/b.jpg; beside the image where no folder is called images."""
    path = PurePosixPath(image).with_suffix(".txt")
    parts = list(path.parts)
    if "images" in parts[:-1]:
        last = max(index for index, part in enumerate(parts[:-1]) if part == "images")
        parts[last] = "labels"
    return "/".join(parts)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path}: not readable ({error.strerror}); check the file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not text; export the labels again") from None


def _read_labels(description: Description, builder: LabelBuilder, label: str, image: LabelledImage) -> None:
    path = description.folder / label
    if not os.path.isfile(path):
        return
    refuse_leaving(description.folder, path)
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        record = f"line {number} of {label!r}"
        numbers = _numbers(line, record, description)
        class_label, shares = builder.class_ids.index(int(numbers[0])), numbers[1:]
        if len(shares) == 4:
            builder.add_object(image, class_label, record, box=_box(shares, image.size))
        elif description.keypoints:
            keypoints = _keypoints(description, shares[4:], image.size)
            builder.add_object(image, class_label, record, box=_box(shares, image.size), keypoints=keypoints)
        else:
            ring = shares.reshape(-1, 2) * [image.width, image.height]
            builder.add_object(image, class_label, record, polygons=[ring])


def _numbers(line: str, record: str, description: Description) -> np.ndarray:
    """The numbers of a line, as many as the format allows, the first a known class."""
    where = f"{description.path}: {record}"
    try:
        numbers = np.array([float(word) for word in line.split()], dtype=np.float64)
    except ValueError:
        raise DataError(f"{where} is not all numbers, {line.strip()!r:.80}; export it again") from None
    pose = 5 + description.keypoints * description.values
    if description.keypoints:
        if len(numbers) not in (5, pose):
            raise DataError(
                f"{where} has {len(numbers)} numbers but kpt_shape asks for {pose}: class, box, keypoints; "
                "correct one"
            )
    elif len(numbers) != 5 and (len(numbers) < 7 or len(numbers) % 2 == 0):
        raise DataError(
            f"{where} has {len(numbers)} numbers; write a class and 4 for a box, or the x, y of 3 or more "
            "points"
        )
    if not math.isfinite(numbers[0]) or numbers[0] not in description.classes:
        known = ", ".join(f"{index} {name}" for index, name in list(description.classes.items())[:10])
        raise DataError(
            f"{where} has the class {numbers[0]:g}, which names does not list ({known}); add it to names"
        )
    shares = numbers[1:]
    if description.keypoints and len(numbers) == pose and description.values == 3:
        shares = np.delete(shares, np.s_[6::3])  # visibilities
    beyond = shares[np.isfinite(shares) & (np.abs(shares) > LARGEST_SHARE)]
    if len(beyond):
        raise DataError(
            f"{where} has {beyond[0]:g}, but coordinates are shares of the image's width and height, from 0 "
            "to 1;"
            " divide pixels by them"
        )
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
    for folder in sorted({posixpath.dirname(label) for label in labels}):
        path = description.folder / folder
        if "labels" not in folder.split("/") or not path.is_dir():
            continue  # beside images lie other texts too
        refuse_leaving(description.folder, path)
        for name in sorted(file.name for file in path.glob("*.txt")):
            label = posixpath.join(folder, name)
            # other splits may lie in the same folder where the split is a list
            if label in labels or name == "classes.txt" or _has_image(description, label):
                continue
            builder.problems.note(ProblemKind.LABELS_WITHOUT_IMAGE, f"{label!r}")


def _has_image(description: Description, label: str) -> bool:
    stem = posixpath.splitext(label)[0]
    parts = stem.split("/")
    stems = [stem]
    for index, part in enumerate(parts[:-1]):
        if part == "labels":
            stems.append("/".join([*parts[:index], "images", *parts[index + 1 :]]))
    return any(os.path.isfile(description.folder / (s + suffix)) for s in stems for suffix in SUFFIXES)
