"""Open Images' CSV: boxes as shares of the image, one a row, and masks in a second file.

The format: storage.googleapis.com/openimages/web/download.html. SPLIT-annotations-bbox.csv is what is read;
beside it SPLIT-annotations-object-segmentation.csv with its masks' PNGs, and class-descriptions*.csv with
names for the classes. IsGroupOf makes a crowd. Rows of images that are not there are counted: few people have
all.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from maskrcnn.errors import RecordError, UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving, relative_name
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import folder_of_images
from maskrcnn.labels.readers.folder_files import files_under, visible
from maskrcnn.labels.readers.label_image import open_label_image, read_object
from maskrcnn.labels.readers.tables import csv_rows, table_form
from maskrcnn.labels.split_names import SPLIT_NAMES, split_of
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import number
from maskrcnn.masks.rle import Rle, bitmap_rle

BOXES, MASKS = "annotations-bbox.csv", "annotations-object-segmentation.csv"
FIFTYONE, FIFTYONE_MASKS = "detections.csv", "segmentations.csv"  # as FiftyOne calls them
SIDES = ("XMin", "YMin", "XMax", "YMax")
FOLDERS = (".", "annotations", "labels")
NAMES = ("*class-descriptions*.csv", "classes.csv")
CLOSE = 0.002  # share of the image's side by which a mask's box may differ from its row's


@dataclass
class Row:
    """One box."""

    record: str
    name: str  # the class's id, as /m/011k07
    sides: list[float]  # xyxy as shares
    crowd: bool
    mask: Path | None = None


def read_open_images(source: Path, split: str | None = None, image_folder: Path | None = None) -> FileDataset:
    """Read a CSV of boxes, or the one in a folder. Images are numbered from 1 in the file's order.

    Args:
        split: of a folder with several.
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        UserError: the folder has several files and no split is named.
        DataError: the file cannot be used; one line with the record and the remedy.
    """
    path = _box_file(Path(source), split)
    images, present = _boxes(path, image_folder)
    builder = LabelBuilder(path, present.folder)
    if present.absent:
        kind = ProblemKind.ANNOTATION_WITHOUT_IMAGE
        builder.problems.note(kind, f"the box of line {present.first}", count=present.absent)
    _note_unnamed(path, present, builder)
    _add_masks(path, images, builder)
    titles = _titles(path)
    used = sorted({row.name for rows in images.values() for row in rows})
    names = {name: titles.get(name, name) for name in used}
    if len(set(names.values())) < len(names):  # two ids of one title
        names = {name: name for name in used}
    ids = builder.add_classes(sorted(names.values()))
    for image_name, rows in images.items():
        image = builder.add_image(present.files[image_name])
        for row in rows:
            sides = [
                side * length for side, length in zip(row.sides, (image.width, image.height) * 2, strict=True)
            ]
            rle = None if row.mask is None else _mask(row.mask, image)
            builder.add_object(image, ids[names[row.name]], row.record, box=sides, rle=rle, crowd=row.crowd)
    return builder.build()


def looks_like_open_images(source: Path) -> bool:
    """Whether `source` is a CSV of boxes, or a folder with some."""
    return bool(_box_files(Path(source)))


def has_open_images_split(source: Path, split: str) -> bool:
    """Whether a folder has a CSV of boxes whose name says that it is of a split."""
    return any(_is_of(path, split) for path in _box_files(source))


def _box_files(source: Path) -> list[Path]:
    files = [source]
    try:
        if source.is_dir():
            patterns = [f"{folder}/{name}" for folder in FOLDERS for name in (f"*{BOXES}", FIFTYONE)]
            files = [path for pattern in patterns for path in visible(source, pattern)]
        return [path for path in files if path.suffix.lower() == ".csv" and path.is_file() and _glance(path)]
    except OSError:
        return []


def _glance(path: Path) -> bool:
    rows = table_form(path).rows
    return bool(rows) and {"ImageID", *SIDES} <= set(rows[0])


def _is_of(path: Path, split: str) -> bool:
    return any(split_of(word) == split_of(split) for word in path.name.split("-") if split_of(word))


def _box_file(source: Path, split: str | None) -> Path:
    found = [path for path in _box_files(source) if split is None or _is_of(path, split)]
    if len(found) > 1:
        raise UserError(
            f"{source}: holds {found[0].name!r} and {found[1].name!r}; name the one that is meant"
        )
    if not found:
        raise RecordError(source, f"no *{BOXES} of Open Images", "give that file")
    if source.is_dir():
        refuse_leaving(source, found[0])
    return found[0]


@dataclass
class Present:
    """Which images are there."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict)  # by the name that Open Images would give them
    absent: int = 0  # rows whose image is not
    first: int = 0  # line of the first of these


def _boxes(path: Path, image_folder: Path | None) -> tuple[dict[str, list[Row]], Present]:
    """Rows by the name of their image, and where the images are."""
    images: dict[str, list[Row]] = {}
    waiting: list[tuple[int, str, Row]] = []
    for line, row in csv_rows(path, ("ImageID", "LabelName", *SIDES)):
        name = f"{row['ImageID']}.jpg"
        if not row["ImageID"] or not row["LabelName"] or relative_name(name) is None:
            raise RecordError(
                path, "has no ImageID or LabelName that can be used", "correct it", f"line {line}"
            )
        sides = [number(row[side]) for side in SIDES]
        waiting.append(
            (line, name, Row(f"line {line}", row["LabelName"], sides, row.get("IsGroupOf") == "1"))
        )
    folder = _folder(path, [name for _, name, _ in waiting], image_folder)
    present = Present(folder)
    for name in dict.fromkeys(name for _, name, _ in waiting):
        if (file := _file(folder, name)) is not None:
            present.files[name] = file
    for line, name, found in waiting:
        if name in present.files:
            images.setdefault(name, []).append(found)
        else:
            present.first = present.first or line
            present.absent += 1
    return images, present


def _note_unnamed(path: Path, present: Present, builder: LabelBuilder) -> None:
    """Count images without a row, in a folder that is not of other splits too."""
    if split_of(present.folder.name) or len(_box_files(path.parent)) == 1:
        named = set(present.files.values())
        for name in files_under(present.folder):
            if name.lower().endswith(SUFFIXES) and name not in named:
                builder.problems.note(ProblemKind.IMAGE_WITHOUT_ROW, repr(name), name)


def _file(folder: Path, name: str) -> str | None:
    """The image that is there: NAME.jpg or, of other tools, one with another suffix."""
    tries = (name, *(name.removesuffix(".jpg") + suffix for suffix in SUFFIXES))
    return next((one for one in tries if os.path.isfile(folder / one)), None)


def _folder(path: Path, names: list[str], image_folder: Path | None) -> Path:
    """Where the first image lies that is there at all."""
    if not names:
        raise RecordError(path, "empty data set, it has no row", "add what was labelled")
    word = path.name.removesuffix(BOXES).removeprefix("oidv6-").strip("-") or "train"
    places = [f"{up}{inner}" for up in ("", "../") for inner in (f"images/{word}", word, "images", "data")]
    for folder in [image_folder] if image_folder is not None else [path.parent / place for place in places]:
        try:
            listed = {os.path.splitext(name)[0] + ".jpg" for name in os.listdir(folder)}
        except OSError:
            continue
        if any(name in listed for name in names):
            return folder
    return folder_of_images(path, names, image_folder)


def _titles(path: Path) -> dict[str, str]:
    """Names of classes by their ids, from the first file of them that is near."""
    for folder in (path.parent, path.parent.parent, path.parent.parent / "metadata"):
        for pattern in NAMES:
            for file in visible(folder, pattern):
                refuse_leaving(folder, file)
                with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
                    pairs = [line.strip().partition(",") for line in lines]
                return {
                    key: name.strip('" ') for key, _, name in pairs if name.strip('" ').isprintable() and name
                }
    return {}


def _add_masks(path: Path, images: dict[str, list[Row]], builder: LabelBuilder) -> None:
    """Give the rows of boxes the masks that the second file has for them."""
    # the boxes of version 6 have a name of their own, its masks have not
    names = [path.name.replace(BOXES, MASKS), path.name.removeprefix("oidv6-").replace(BOXES, MASKS)]
    names = [FIFTYONE_MASKS] if path.name == FIFTYONE else [name for name in names if name.endswith(MASKS)]
    masks = next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    if masks is None:
        return
    refuse_leaving(path.parent, masks)
    folders = [path.parent / name for name in (".", "masks")] + [path.parent.parent / "masks"]
    folders += [folder / word for folder in folders[1:] for words in SPLIT_NAMES.values() for word in words]
    columns = ("MaskPath", "ImageID", "LabelName", *(f"Box{side}" for side in SIDES))
    for line, row in csv_rows(masks, columns):
        rows = images.get(f"{row['ImageID']}.jpg", [])
        sides = np.array([number(row[f"Box{side}"]) for side in SIDES])
        same = [
            one
            for one in rows
            if one.name == row["LabelName"] and one.mask is None and np.abs(sides - one.sides).max() < CLOSE
        ]
        name = relative_name(row["MaskPath"]) or ""
        tries = [name, f"{name[:1].upper()}/{name}", f"{name[:1].lower()}/{name}"] if name else []
        files = (folder / each for folder in folders for each in tries)  # archives are by the first letter
        file = next((each for each in files if os.path.isfile(each)), None)
        if same and file is not None:
            refuse_leaving(file.parent, file)
            same[0].mask = file
        elif rows:
            builder.problems.note(ProblemKind.MASK_WITHOUT_ROW, f"line {line} of {masks.name!r}")


def _mask(path: Path, image: LabelledImage) -> Rle:
    """A mask, which may be smaller than its image."""
    height, width = image.size
    with open_label_image(path) as opened:
        if opened.width > 4 * width or opened.height > 4 * height:  # before anything is decoded
            what = (
                f"the mask is {opened.width} x {opened.height} (width x height) but its image {width} x "
                f"{height}"
            )
            raise RecordError(path, what, "download it again")
        bitmap = read_object(opened)
    if bitmap.shape != image.size:
        bitmap = cv2.resize(bitmap.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return bitmap_rle(bitmap)
