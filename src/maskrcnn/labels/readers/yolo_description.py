"""What describes a YOLO data set: the names of its classes, where each split's images are, its keypoints.

- data.yaml of Ultralytics, Roboflow and CVAT (docs.ultralytics.com/datasets/detect): `names`, `train`, `val`,
  `test`. Where it names no split, or there is none, images are looked for in the folders that are usual.
- obj.data of Darknet and of CVAT's YOLO 1.1 (github.com/AlexeyAB/darknet): lines of key = value.
- classes.txt of LabelImg and Label Studio, obj.names, Roboflow's _darknet.labels, makesense.ai's labels.txt:
  the name of a class in each line. Label Studio's notes.json says the same.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from maskrcnn.errors import RecordError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.image_files import refuse_leaving, relative_name
from maskrcnn.labels.readers.folder_files import each_visible, visible
from maskrcnn.labels.readers.json_file import load_json
from maskrcnn.labels.readers.text_lines import TEXTS, read_lines, read_text
from maskrcnn.labels.split_names import SPLIT_NAMES, split_of
from maskrcnn.labels.values import whole
from maskrcnn.safe_files import decoded, parse_yaml
from maskrcnn.shell import counted

MAX_CLASSES = 100_000
MAX_KEYPOINTS = 1000
YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml", "DATA.YAML", "DATA.YML")
NAMES_FILES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels", "labels.txt")
NOTES = "notes.json"  # of Label Studio
DARKNET_KEYS = ("classes", "names", "backup", "eval", "labels", "top")
# what is `labels` in the name of a folder of labels, as a word of it
IMAGE_WORDS = {name: re.compile(rf"(?<![^_-]){name}(?![^_-])") for name in ("images", "Images", "JPEGImages")}
TRIED_TEXTS = 100  # texts that are looked into before a folder is taken for something else


@dataclass
class Description:
    """What is known of a data set before its labels are read."""

    path: Path  # the file that says it, for messages
    folder: Path  # of the data set
    classes: dict[int, str]
    subsets: dict[str, list[Any]]  # folders of images, lists of images and images of each, by its name
    document: dict[str, Any] = field(default_factory=dict)  # data.yaml
    keypoints: int = 0  # 0: none
    values: int = 0  # 2 or 3 for each keypoint


def describe(source: Path) -> Description:
    """The description of the data set that is, or lies in, `source`.

    Raises:
        UserError: nothing describes it; the line says what to write.
        DataError: what describes it cannot be used.
    """
    path = description_file(source)
    if path is None:
        raise UserError(_what_to_write(source))
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path)
    if path.suffix.lower() == ".data":
        return _from_darknet(path)
    if source != path:
        folder = source if source.is_dir() else source.parent
    else:
        folder = path.parent.parent if path.parent.name.lower() == "labels" else path.parent
    subsets: dict[str, list[Any]] = {"": [source.name]} if is_list_of_images(source) else usual_places(folder)
    return Description(path, folder, _listed_classes(path), subsets)


def description_file(source: Path) -> Path | None:
    """data.yaml, obj.data or classes.txt: `source` itself or the one that lies in it.

    Raises:
        UserError: several could be meant.
        DataError: several say different names.
    """
    if source.is_file():
        if source.suffix.lower() in (".yaml", ".yml", ".data") or source.name in NAMES_FILES:
            return source
        return _names_file(source.parent) if source.name == NOTES or is_list_of_images(source) else None
    if not source.is_dir():
        return None
    for name in (*YAML_NAMES, "obj.data"):
        if (source / name).is_file():
            return source / name
    for pattern in ("*.[yY]*[mM][lL]", "*.data"):
        files = visible(source, pattern)
        if len(files) > 1 and pattern != "*.data":  # settings of a training may lie there too
            files = [path for path in files if _is_yolo(path)]
        if len(files) > 1:
            raise UserError(
                f"{source}: holds {files[0].name!r} and {files[1].name!r}; name the one that is meant"
            )
        if files and (pattern == "*.data" or _is_yolo(files[0]) or _names_file(source) is None):
            return files[0]
    return _names_file(source)


def usual_places(folder: Path) -> dict[str, list[Any]]:
    """The folders of images by their split where nothing says it, as those that have labels show; "" for one
    that is no split.
    """
    found: dict[str, list[Any]] = {}
    for split, aliases in SPLIT_NAMES.items():
        for alias in aliases:
            forms = ("images/{}", "{}/images", "{}", "obj_{}_data", "{}_images", "images_{}")
            there = [in_any_case(folder, form.format(alias)) for form in forms]
            with_labels = [place for place in there if _has_labels(folder, place)]
            if is_list_of_images(folder / f"{alias}.txt"):
                with_labels = [f"{alias}.txt"]
            if with_labels:
                found.setdefault(split, []).append(with_labels[0])
            # perhaps of the same images, so not taken but told, as a part that no split has
            found |= {f"./{place}": [place] for place in with_labels[1:]}
    for other in sorted([*folder.glob("[iI]mages/*/"), *folder.glob("*/[iI]mages/")] if found else []):
        name = other.relative_to(folder).as_posix()
        subset = name[len("images/") :] if name.lower().startswith("images/") else name[: -len("/images")]
        if split_of(subset) is None and subset.lower() != "images" and _has_labels(folder, name):
            found[subset] = [name]  # a part that no split would take, which is told
    if not found:
        there = [in_any_case(folder, "images"), "."]
        place = next((place for place in there if _has_labels(folder, place)), None)
        found = {} if place is None else {"": [place]}
    return found


def in_any_case(folder: Path, place: str) -> str:
    """A place in a folder, with capitals, as Images/Train, where it is there only so."""
    found = ""
    for part in place.split("/"):
        tries = [posixpath.join(found, each) for each in (part, part.capitalize())]
        found = next((one for one in tries if os.path.exists(folder / one)), tries[0])
    return found


def is_list_of_images(path: Path) -> bool:
    """Whether the first line of a text is an image's name."""
    return path.suffix.lower() == ".txt" and _first_line(path).lower().endswith(SUFFIXES)


def _first_line(path: Path) -> str:
    """The first line that says something; "" where there is none, or no text."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
        return next((line.strip() for line in decoded(head).splitlines() if line.strip()), "")
    except (OSError, ValueError):
        return ""


def is_label_text(path: Path) -> bool:
    """Whether the first line of a text is a class and the coordinates of a box or of points."""
    try:
        numbers = [float(word) for word in words_of(_first_line(path))]
    except ValueError:
        return False
    return len(numbers) >= 5 and numbers[0] >= 0 and numbers[0].is_integer()


def words_of(line: str) -> list[str]:
    """The numbers of a line, as texts: between spaces, or between commas or semicolons, which may end it.

    Decimal commas stay in the words, which are then no numbers.
    """
    line = line.strip().rstrip(",;")
    mark = next((each for each in ";," if each in line), None)
    return [word.strip() for word in line.split(mark)]


def label_names(image: str) -> list[str]:
    """Where the labels of an image may be: labels/A/b.txt for images/A/b.jpg, A_labels/ for A_images/, else
    beside it. The last folder called images comes first, as for Ultralytics, before those called so in part.
    """
    beside = PurePosixPath(image).with_suffix(".txt")
    parts = beside.parts
    places = [
        (index, folder)
        for folder, word in IMAGE_WORDS.items()
        for index in reversed(range(len(parts) - 1))
        if word.search(parts[index])
    ]
    found = []
    for index, folder in sorted(places, key=lambda place: parts[place[0]] != place[1]):
        for labels in ("Labels", "labels") if folder == "Images" else ("labels", "Labels"):
            renamed = IMAGE_WORDS[folder].sub(labels, parts[index])
            found.append("/".join([*parts[:index], renamed, *parts[index + 1 :]]))
    return [*found, str(beside)]


def _has_labels(folder: Path, place: str) -> bool:
    """Whether a folder of images has texts of labels: in its folder called labels, or beside the images."""
    if place == "." and any((folder / in_any_case(folder, name)).is_dir() for name in ("images", "labels")):
        return False
    for name in label_names(f"{place}/x.jpg"):
        texts = folder / posixpath.dirname(name)
        paired = posixpath.normpath(posixpath.dirname(name)) == posixpath.normpath(place)
        files = (path for path in each_visible(texts, TEXTS) if path.name not in NAMES_FILES)
        deeper = iter(()) if paired else texts.glob(f"*/{TEXTS}")
        for path in (*islice(files, TRIED_TEXTS), *islice(deeper, TRIED_TEXTS)):
            if is_label_text(path) and (not paired or _has_image_beside(path)):
                return True
            if not paired and os.path.isfile(path) and not os.path.getsize(path):  # an image without objects
                return True
    return False


def _has_image_beside(path: Path) -> bool:
    return any(path.with_suffix(suffix).is_file() for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES)))


def _what_to_write(source: Path) -> str:
    if is_list_of_images(source):
        return (
            f"{source}: a list of images, but no names of classes; write classes.txt beside it, a name a line"
        )
    places = usual_places(source) if source.is_dir() else {}
    if not places:
        return f"{source}: no data.yaml; give the file or the folder that holds it"
    above = next((parent for parent in (source.parent, source.parent.parent) if _described(parent)), None)
    if above is not None:
        split = split_of(source.name) or split_of(source.parent.name) or "test"
        return (
            f"{source}: no data.yaml, but there is one above; give {str(above)!r} (evaluate: --split {split})"
        )
    lines = ", ".join(f"{split or 'train'}: {where[0]}" for split, where in places.items())
    return (
        f"{source}: YOLO labels but no data.yaml; write one with the lines {lines} and names: [cat, dog], or "
        "classes.txt with the name of a class in each line"
    )


def _described(folder: Path) -> bool:
    return any((folder / name).is_file() for name in YAML_NAMES)


# ---- data.yaml


def _is_yolo(path: Path) -> bool:
    try:
        document = parse_yaml(path, RecordError)
    except RecordError:
        return False
    return isinstance(document, dict) and ("names" in document or "nc" in document)


def _from_yaml(path: Path) -> Description:
    document = parse_yaml(path, RecordError)
    if not isinstance(document, dict):
        raise RecordError(path, "not a list of keys", "write a data.yaml, with train, val and names")
    found = Description(path, path.parent, _classes(document, path), {}, document)
    for key, value in document.items():
        if not isinstance(key, str) or not key.isprintable() or not value or key in ("path", "names"):
            continue
        listed = isinstance(value, str) and value.strip().endswith(".txt")
        if split_of(key) or (listed and os.path.isfile(path.parent / value.strip())):  # a subset of CVAT
            found.subsets[key] = value if isinstance(value, list) else [value]
    base = document.get("path")
    inside = relative_name(base) if isinstance(base, str) and base else None
    found.subsets = found.subsets or (usual_places(path.parent / inside) if inside else {})
    found.subsets = found.subsets or usual_places(path.parent)
    shape = document.get("kpt_shape")
    if shape is not None:
        sides = [whole(side) for side in shape] if isinstance(shape, list) else []
        if len(sides) != 2 or not 1 <= sides[0] <= MAX_KEYPOINTS or sides[1] not in (2, 3):
            raise RecordError(
                path, "kpt_shape must be [number of keypoints, 2 or 3], as [17, 3]", "correct it"
            )
        found.keypoints, found.values = sides
    return found


def _classes(document: dict[str, Any], path: Path) -> dict[int, str]:
    """Names by their index."""
    names, count = document.get("names"), document.get("nc")
    if count is not None and not (type(count) is int and 1 <= count <= MAX_CLASSES):
        raise RecordError(path, "nc must be the number of classes", "correct it")
    if names is None and (listed := _names_file(path.parent)) is not None:
        names = _listed_classes(listed)
    if names is None and count is not None:
        return {index: f"class_{index}" for index in range(count)}
    found = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(found, dict) or not 1 <= len(found) <= MAX_CLASSES:
        raise RecordError(path, "names must list the classes, as names: [cat, dog]", "correct it")
    classes = {}
    for index, name in found.items():
        if isinstance(index, str) and index.isdecimal() and len(index) < 10:  # in quotes
            index = int(index)
        if type(index) is not int or not 0 <= index < 2**31:
            raise RecordError(
                path, "names must have the class's number before each name, counted from 0", "correct it"
            )
        # unquoted, YAML takes no, on, 3 and 1.5 for other things than names
        if isinstance(name, bool) or not isinstance(name, (str, int, float)) or not str(name).strip():
            raise RecordError(path, "is not a text", "put it in quotes", f"the name of class {index}")
        classes[index] = str(name).strip()
    if count is not None and count != len(classes):
        raise RecordError(
            path, f"nc is {count} but names has {counted(len(classes), 'class')}", "correct one of them"
        )
    return classes


# ---- obj.data and classes.txt


def _from_darknet(path: Path) -> Description:
    values: dict[str, str] = {}
    for line in read_lines(path):
        key, equals, value = (part.strip() for part in line.partition("="))
        if equals and not line.startswith("#"):
            values[key.lower()] = value
    stated = values.get("names") or values.get("labels") or "obj.names"
    # the paths are those of the machine where Darknet ran
    names = next((file for file in _shortened(stated, path.parent) if os.path.isfile(file)), None)
    if names is None:
        raise RecordError(
            path, f"names is {stated!r}, which is not there", f"put that file beside {path.name}"
        )
    classes = _listed_classes(names)
    count = values.get("classes")
    if count and whole(count) != len(classes):
        raise RecordError(
            path,
            f"classes is {whole(count)!r:.20} but {names.name!r} has {len(classes)} names",
            "correct one of them",
        )
    subsets: dict[str, list[Any]] = {
        key: [value]
        for key, value in values.items()
        if key not in DARKNET_KEYS and key.isprintable() and value
    }
    return Description(path, path.parent, classes, subsets or usual_places(path.parent))


def _shortened(name: str, folder: Path) -> Iterator[Path]:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return (folder.joinpath(*parts[begin:]) for begin in range(len(parts)))


def _names_file(folder: Path) -> Path | None:
    """classes.txt or the like beside the labels.

    Raises:
        DataError: there are several that differ.
    """
    places = [place for where in usual_places(folder).values() for place in where]
    folders = [".", *(posixpath.dirname(name) for place in places for name in label_names(f"{place}/x.jpg"))]
    paths = [folder / place / name for place in [*folders, "labels"] for name in NAMES_FILES]
    found = list(dict.fromkeys(path for path in paths if path.is_file()))
    for other in found[1:]:
        if _listed_classes(other) != _listed_classes(found[0]):
            raise RecordError(
                other,
                f"not the names of {str(found[0])!r}",
                "write data.yaml with names, and check which of them the labels of each folder mean",
            )
    found += [*visible(folder, "*.names"), *folder.glob(NOTES)]
    return found[0] if found else None


def _listed_classes(path: Path) -> dict[int, str]:
    """Names by the number of their line, counted from 0; of notes.json by the id of their category."""
    refuse_leaving(path.parent, path)
    if path.suffix == ".json":
        document = load_json(path)
        records = document.get("categories") if isinstance(document, dict) else None
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise RecordError(path, "no list 'categories', as Label Studio writes it", "write classes.txt")
        return {whole(record.get("id")): str(record.get("name") or "") for record in records}
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if not 1 <= len(lines) <= MAX_CLASSES:
        raise RecordError(path, "no names of classes", "write one in each line")
    if not all(lines):
        raise RecordError(path, "is empty, but lines count classes", "name it", f"line {lines.index('') + 1}")
    return dict(enumerate(lines))
