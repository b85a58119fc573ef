"""Cityscapes: gtFine, masks of eight classes in images of ids or as polygons that hide one another.

The format: github.com/mcordts/cityscapesScripts (helpers/labels.py, preparation/json2instanceImg.py). In
*_gtFine_instanceIds.png a pixel is 1000 times its class plus the number of the instance; one that is the
class alone belongs to a group whose members nobody could tell apart: a crowd. The polygons of
*_gtFine_polygons.json are drawn in their order, each over those before it, whatever their class, which gives
the same image. Classes without instances (road, sky, ...) hide what is behind them and are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from maskrcnn.errors import RecordError, UserError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.readers.folder_files import has_folders, need_folders, visible
from maskrcnn.labels.readers.json_file import load_json
from maskrcnn.labels.readers.label_image import read_ids, rles_by_id
from maskrcnn.labels.split_names import SPLITS
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import short
from maskrcnn.masks.rle import MIN_POINTS, Rle

CLASSES = dict(person=24, rider=25, car=26, truck=27, bus=28, train=31, motorcycle=32, bicycle=33)
UNEVALUATED = {"caravan": 29, "trailer": 30}  # labelled as instances, but too few to be one of the eight
PER_CLASS = 1000  # ids of a class
NOT_DRAWN = "license plate"  # lies on its car and does not hide it
STUFF = {
    *"unlabeled|ego vehicle|rectification border|out of roi|static|dynamic|ground|road|sidewalk".split("|"),
    *"parking|rail track|building|wall|fence|guard rail|bridge|tunnel|pole|polegroup".split("|"),
    *("traffic light", "traffic sign", "vegetation", "terrain", "sky", NOT_DRAWN),
}
FOLDERS = ("gtFine", "leftImg8bit")
IDS, POLYGONS, IMAGE = "_gtFine_instanceIds.png", "_gtFine_polygons.json", "_leftImg8bit.png"
FAR = 1e6  # Pillow draws with whole numbers of 32 bits


@dataclass
class Instance:
    """An object, or all groups of a class in an image."""

    class_id: int
    crowd: bool
    source: str
    rle: Rle


def read_cityscapes(source: Path, split: str | None = None) -> FileDataset:
    """Read gtFine beside leftImg8bit. Images are numbered from 1 in the order of their names.

    Args:
        source: the folder that holds both.
        split: a folder in gtFine; None: the first there is of train, val, test and others.

    Raises:
        UserError: no such folder or split.
        DataError: the labels cannot be used.
    """
    labels, images = need_folders(source, *FOLDERS)
    part = _split(labels, split)
    keys = _keys(labels / part, IDS) | _keys(labels / part, POLYGONS)
    if not keys:
        raise RecordError(
            labels / part, f"no {IDS} and no {POLYGONS} in the folders of its cities", "unpack gtFine there"
        )
    builder = LabelBuilder(labels / part, images / part)
    builder.add_classes(list(CLASSES), list(CLASSES.values()))
    for key in sorted(_keys(images / part, IMAGE) - keys):
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_GTFINE, repr(key + IMAGE))
    for key in sorted(keys):
        _read(labels / part, key, builder)
    return builder.build()


def looks_like_cityscapes(source: Path) -> bool:
    """Whether `source` holds gtFine and leftImg8bit."""
    return has_folders(source, *FOLDERS)


def _split(labels: Path, split: str | None) -> str:
    """The name of the folder in gtFine that is meant."""
    names = [path.name for path in visible(labels) if path.is_dir()]
    known = [name for name in SPLITS if name in names] + [name for name in names if name not in SPLITS]
    if not known or (split is not None and split not in known):
        wanted = "" if split is None else f" {split!r}"
        raise UserError(f"{labels}: no split{wanted}; there is {', '.join(known) or 'no folder'}")
    return known[0] if split is None else split


def _keys(folder: Path, ending: str) -> set[str]:
    """city/name of each file with that ending."""
    return {
        path.relative_to(folder).as_posix().removesuffix(ending) for path in visible(folder, f"*/*{ending}")
    }


def _read(labels: Path, key: str, builder: LabelBuilder) -> None:
    """Add an image and its instances."""
    ids, polygons = labels / f"{key}{IDS}", labels / f"{key}{POLYGONS}"
    if ids.is_file():
        refuse_leaving(labels, ids)
        pixels = read_ids(ids, builder.folder / (key + IMAGE))
        image = builder.add_image(key + IMAGE, size=pixels.shape)
        instances = instances_of_ids(pixels, ids, builder.problems)
    else:
        refuse_leaving(labels, polygons)
        image = builder.add_image(key + IMAGE)
        instances = _from_polygons(polygons, *image.size, builder.problems)
    add_instances(instances, image, builder)


def add_instances(instances: list[Instance], image: LabelledImage, builder: LabelBuilder) -> None:
    """Add them to their image; the builder has `CLASSES`."""
    for instance in instances:
        label = builder.class_ids.index(instance.class_id)
        builder.add_object(image, label, instance.source, rle=instance.rle, crowd=instance.crowd)


def instances_of_ids(pixels: np.ndarray, path: Path, problems: Problems) -> list[Instance]:
    """Instances of an image of ids (H, W), in the order of the ids."""
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise RecordError(
            path, "holds ids beyond 65535", "write 1000 times the class plus the number of the instance"
        )
    used = np.flatnonzero(np.bincount(pixels.reshape(-1)))
    kept = np.zeros(2**16, dtype=np.uint16)
    for value in used.tolist():
        class_id = value // PER_CLASS or value
        if class_id in CLASSES.values():
            kept[value] = value
        elif class_id in UNEVALUATED.values():
            problems.note(ProblemKind.CITYSCAPES_UNEVALUATED, f"id {value} of {path.name!r}")
        elif value >= PER_CLASS:
            problems.note(ProblemKind.CITYSCAPES_UNKNOWN_CLASS, f"id {value} of {path.name!r}")
    return [
        Instance(value // PER_CLASS or value, value < PER_CLASS, f"id {value} of {path.name!r}", rle)
        for value, rle in rles_by_id(kept[pixels]).items()
    ]


def _from_polygons(path: Path, height: int, width: int, problems: Problems) -> list[Instance]:
    """Instances of a file of polygons, in the order in which `instances_of_ids` gives them."""
    document = load_json(path)
    if not isinstance(document, dict) or not isinstance(document.get("objects"), list):
        raise RecordError(path, "has no list 'objects'", "take the file from gtFine again")
    stated = (document.get("imgHeight"), document.get("imgWidth"))
    if stated != (height, width):
        what = (
            f"imgHeight and imgWidth are {short(stated[0])} and {short(stated[1])} but its image is "
            f"{height} x {width} (height x width)"
        )
        raise RecordError(path, what, "restore the image that was labelled")
    canvas = Image.new("I", (width, height), 0)
    drawer = ImageDraw.Draw(canvas)
    # class, number of the instance or -1 for groups: what is drawn with the value of its position here, from
    # 1
    drawn: dict[tuple[int, int], int] = {}
    counts = dict.fromkeys(CLASSES.values(), 0)
    for position, record in enumerate(document["objects"]):
        source = f"object {position} of {path.name!r}"
        ring, label = _ring(record, source, problems)
        if ring is None or label == NOT_DRAWN:
            continue
        # no class without instances ends like one of the eight: "polegroup" leaves "pole"
        name = label.removesuffix("group")
        class_id, value = CLASSES.get(name), 0
        if name in UNEVALUATED:
            problems.note(ProblemKind.CITYSCAPES_UNEVALUATED, source)
        elif class_id is None and label not in STUFF:
            problems.note(ProblemKind.CITYSCAPES_UNKNOWN_LABEL, f"{label!r:.40}, {source}")
        if class_id is not None:
            number = counts[class_id] if name == label else -1
            counts[class_id] += name == label
            value = drawn.setdefault((class_id, number), len(drawn) + 1)
        drawer.polygon(ring, fill=value)
    rles = rles_by_id(np.asarray(canvas))
    instances = []
    for (class_id, number), value in sorted(drawn.items(), key=lambda item: (item[0][1] >= 0, item[0])):
        source = f"{_name(class_id)} {'group' if number < 0 else number} of {path.name!r}"
        if value in rles:
            instances.append(Instance(class_id, number < 0, source, rles[value]))
        else:
            problems.note(ProblemKind.HIDDEN_OBJECT, source)
    return instances


def _ring(record: Any, source: str, problems: Problems) -> tuple[list[tuple[float, float]] | None, str]:
    """The corners and the label of an object, no corners where there is nothing to draw."""
    if not isinstance(record, dict) or not isinstance(record.get("label"), str) or not record["label"]:
        problems.note(ProblemKind.NO_CLASS, source)
        return None, ""
    if record.get("deleted"):
        return None, record["label"]
    try:
        corners = np.array(record.get("polygon"), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.zeros(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < MIN_POINTS:
        problems.note(ProblemKind.SHORT_POLYGON, source)
        return None, record["label"]
    if not np.isfinite(corners).all():
        problems.note(ProblemKind.NON_FINITE, source)
        return None, record["label"]
    return [(x, y) for x, y in np.clip(corners, -FAR, FAR).tolist()], record["label"]


def _name(class_id: int) -> str:
    return next(name for name, known in CLASSES.items() if known == class_id)
