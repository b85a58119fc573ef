"""Tables of run lengths, as on Kaggle: a CSV whose rows have an image, the runs of a mask, perhaps a class.

Runs are pairs of a start and a length, counted from 1, down the columns (kaggle.com/c/data-science-bowl-2018,
Evaluation). Those of Sartorius and UW-Madison go along the rows: where images are not square, the runs show
it. A row without runs says that nothing is in the image.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from maskrcnn.errors import RecordError, UserError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problem
from maskrcnn.labels.readers.files_by_name import MOST_FILES, folder_of_images
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.label_image import rles_by_id
from maskrcnn.labels.readers.tables import (
    CLASS_COLUMNS,
    SPLIT_COLUMNS,
    TABLE_SUFFIXES,
    TABLES,
    csv_rows,
    has_rows_of,
    images_by_name,
    named_beside,
    note_other_columns,
    present_images,
    table_form,
)
from maskrcnn.labels.refused import Refused
from maskrcnn.labels.types import DEFAULT_CLASS, LabelledImage
from maskrcnn.masks.rle import edges_rle
from maskrcnn.shell import counted

# what the columns are called, in lower case, the first before the others
COLUMNS = {
    "image": (
        *("filename", "file_name", "image_name", "img_name", "image_path", "img_path", "path"),
        *(
            "imageid",
            "image_id",
            "img_id",
            "imageid_classid",
            "image_label",
            "image",
            "img",
            "image_filename",
            "id",
        ),
    ),
    "runs": (
        *("encodedpixels", "encoded_pixels", "rle", "rle_mask", "mask_rle", "encoding"),
        *("annotation", "segmentation", "mask"),
    ),
    "class": ("classid", "class_id", *CLASS_COLUMNS),
    "height": ("height", "img_height"),
    "width": ("width", "img_width"),
    "split": SPLIT_COLUMNS,
}
JOINED = ("imageid_classid", "image_label")  # a.jpg_3: the image and the class
ANYTHING = ("annotation", "segmentation", "mask")  # of which a table may also have texts
NOTHING = ("-1", "nan", "none", "null")  # how tables say that a row has no mask
DIGITS = 12  # of a number, at most


@dataclass
class Row:
    """One row of a table."""

    record: str
    name: str  # of the class, "" where there is none
    runs: str
    size: tuple[str, str]  # height and width, "" where the table has none
    split: str  # the same


def read_run_lengths(
    source: Path, split: str | None = None, image_folder: Path | None = None, split_parts: bool = False
) -> FileDataset:
    """Read a table, or the only one in a folder. Images are numbered from 1 in the table's order.

    Args:
        split: "train", "val" or "test", as a column says. None: the first of them that there is, or all where
            no row is of one.
        image_folder: the folder of the images; None: the table's, and those in it.
        split_parts: each separate part of a mask is an object of its own.

    Raises:
        UserError: the folder has several tables.
        DataError: the table cannot be used; one line with the record and the remedy.
    """
    tables = _tables(Path(source))
    if not tables:
        raise RecordError(source, "no table of run lengths", "give its CSV")
    path = tables[0]
    if len(tables) > 1:
        raise UserError(f"{source}: holds {path.name!r} and {tables[1].name!r}; name the one that is meant")
    if path != source:
        refuse_leaving(Path(source), path)
    rows = _rows(path)
    folder = image_folder or path.parent
    files = images_by_name(folder)
    if files.keys().isdisjoint(rows):
        folder = folder_of_images(path, list(rows)[:1], image_folder)  # or it says where it looked
        files = images_by_name(folder)
    builder = LabelBuilder(path, folder)
    columns = _columns(path)
    classes = "class" in columns or columns["image"].lower() in JOINED
    known = {name for names in COLUMNS.values() for name in names}
    note_other_columns(path, known, classes, builder.problems)
    ids = builder.add_classes(sorted({row.name for of_image in rows.values() for row in of_image} - {""}))
    images = present_images(
        rows, split, files, builder, lambda: named_beside(path, _tables(path.parent), _rows)
    )
    masks: list[tuple[LabelledImage, list[tuple[Row, np.ndarray]]]] = []
    for name, of_image in images.items():
        image = builder.add_image(name, size=next((row.size for row in of_image if all(row.size)), None))
        edges = ((row, _edges(row, image, builder)) for row in of_image if row.runs)
        masks.append((image, [(row, each) for row, each in edges if each is not None]))
    along = sum(_along_rows(each, image) for image, of_one in masks for _, each in of_one) > 0
    if along:
        builder.problems.note(
            ProblemKind.RUNS_ALONG_ROWS, f"image {masks[0][0].file_name!r}", count=len(masks)
        )
    for image, of_one in masks:
        _add(
            image,
            [(row, _turned(each, image) if along else each) for row, each in of_one],
            ids,
            builder,
            split_parts,
        )
    return builder.build()


def looks_like_run_lengths(source: Path) -> bool:
    """Whether `source` is a table of run lengths, or a folder with some."""
    return bool(_tables(Path(source)))


def has_run_lengths_split(source: Path, split: str) -> bool:
    """Whether a column of the only table says "train", "val" or "test" of a row."""
    tables = _tables(Path(source))
    column = _columns(tables[0]).get("split") if len(tables) == 1 else None
    return column is not None and has_rows_of(tables[0], column, split)


def _tables(source: Path) -> list[Path]:
    try:
        paths = [source]
        if source.is_dir():
            paths = visible(source, TABLES)
            paths = [path for path in paths if "submission" not in path.name] * (len(paths) <= MOST_FILES)
        return [
            path
            for path in paths
            if path.suffix.lower() in TABLE_SUFFIXES and path.is_file() and _columns(path)
        ]
    except OSError:
        return []


def _columns(path: Path) -> dict[str, str]:
    """What a table calls its `COLUMNS`; empty where it is none of run lengths."""
    header, *others = table_form(path).rows[:2] or [[]]
    named = {cell.lower(): cell for cell in header}
    first = dict(zip(header, others[0], strict=False)) if others else {}
    found = {key: named[name] for key, names in COLUMNS.items() for name in reversed(names) if name in named}
    if not {"image", "runs"} <= found.keys():
        return {}
    text = (first.get(found["runs"]) or "").strip().lower()
    numbers = text in NOTHING or all(letter.isdigit() or letter == " " for letter in text)
    if found["runs"].strip().lower() in ANYTHING and not numbers:
        return {}
    return {key: cell.strip() for key, cell in found.items()}


def _rows(path: Path) -> dict[str, list[Row]]:
    """The rows by what they call their image."""
    named = _columns(path)
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for line, cells in csv_rows(path, tuple(named.values())):
        image, name = cells[named["image"]].strip(), DEFAULT_CLASS
        if named["image"].lower() in JOINED:
            image, _, name = image.rpartition("_")
        elif "class" in named:
            name = cells[named["class"]].strip()
        if not image:
            raise RecordError(path, "names no image", "add it", f"line {line}")
        height, width = (cells[named[side]] if side in named else "" for side in ("height", "width"))
        runs = cells[named["runs"]].strip()
        runs = "" if runs.lower() in NOTHING else runs
        split = cells[named["split"]].strip() if "split" in named else ""
        found[image].append(Row(f"line {line}", name, runs, (height, width), split))
    if not found:
        raise RecordError(path, "empty data set, it has no row", "add what was labelled")
    return found


def _edges(row: Row, image: LabelledImage, builder: LabelBuilder) -> np.ndarray | None:
    """Where the runs of a row begin and end, (2 n,), counted from 0; None where they cannot be used."""
    if not row.name:
        builder.note(ProblemKind.NO_CLASS, row.record, image)
        return None
    words, pixels, what = row.runs.split(), image.height * image.width, ""
    wrong = next((word for word in words if not (word.isascii() and word.isdigit())), "")
    numbers = np.array([] if wrong else [word[-DIGITS:] for word in words], dtype=np.int64)
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if wrong:
        what = f"has {wrong!r:.40} among its runs, which is no whole number above 0"
    elif len(starts) != len(lengths):
        what = f"has {counted(len(numbers), 'number')}, which are no pairs of a start and a length"
    elif numbers.min() < 1:
        what = "has a start or a length of 0"
    elif max(map(len, words)) > DIGITS or (starts + lengths).max() > pixels:
        what = f"has runs that go beyond the {pixels} pixels of {image.file_name!r}"
    elif (starts[1:] < (starts + lengths)[:-1]).any():
        what = "has runs that overlap or are out of order"
    if what:
        problem = Problem(ProblemKind.UNUSABLE_RLE, row.record, image.file_name, f"{row.record} {what}")
        builder.refused.append(Refused(problem, str(builder.source)))
        return None
    edges = np.stack([starts, starts + lengths], axis=1).reshape(-1)
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
    return np.delete(edges, np.concatenate([joined, joined + 1]))


def _along_rows(edges: np.ndarray, image: LabelledImage) -> int:
    """How many more runs begin near the one before in the next row than in the next column."""
    steps = np.diff(edges[::2])
    near = min(abs(image.height - image.width) // 2, min(image.size) // 16)  # 0 in a square
    along, down = ((np.abs(steps - side) < near).sum() for side in (image.width, image.height))
    return int(along) - int(down)


def _drawn(edges: np.ndarray, height: int) -> tuple[np.ndarray, int]:
    """A mask as uint8 (height, n), of the n columns that it spans, and the first of these."""
    first, last = int(edges[0]) // height, int(edges[-1] - 1) // height
    steps = np.zeros((last - first + 1) * height + 1, np.int8)
    steps[edges[::2] - first * height] = 1
    steps[edges[1::2] - first * height] = -1
    return np.cumsum(steps[:-1], dtype=np.int8).view(np.uint8).reshape(-1, height).T, first


def _turned(edges: np.ndarray, image: LabelledImage) -> np.ndarray:
    """Where the runs begin and end down the columns of an image, of those along its rows."""
    on_side, top = _drawn(edges, image.width)
    columns = np.flatnonzero(on_side.any(axis=1))
    left, right = int(columns[0]), int(columns[-1]) + 1
    spanned = np.zeros((right - left, image.height), np.int8)
    spanned[:, top : top + on_side.shape[1]] = on_side[left:right]
    return np.flatnonzero(np.diff(spanned.reshape(-1), prepend=0, append=0)) + left * image.height


def _add(
    image: LabelledImage,
    masks: list[tuple[Row, np.ndarray]],
    ids: dict[str, int],
    builder: LabelBuilder,
    split: bool,
) -> None:
    """Add the objects of an image. Separate parts are counted where most masks have some."""
    several = {}
    for row, edges in masks:
        drawn, left = _drawn(edges, image.height)
        count, parts = cv2.connectedComponents(
            np.ascontiguousarray(drawn), connectivity=8
        )  # with the background
        rles = {row.record: edges_rle(edges, *image.size)}
        if count > 2 and split:
            numbers = np.zeros(image.size, np.int32)
            numbers[:, left : left + parts.shape[1]] = parts
            rles = {f"part {number} of {row.record}": one for number, one in rles_by_id(numbers).items()}
        elif count > 2:
            several[row.record] = count - 1
        for record, one in rles.items():
            builder.add_object(image, ids[row.name], record, rle=one)
    if 2 * len(several) > len(masks):
        record = f"{next(iter(several))} of image {image.file_name!r}"
        builder.problems.note(ProblemKind.SEPARATE_PARTS, record, image.file_name, sum(several.values()))
