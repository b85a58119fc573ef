"""Tables of boxes, a row each: an image, four numbers, perhaps a class.

So write TensorFlow's and Roboflow's CSV (filename, width, height, class, xmin, ymin, xmax, ymax), VoTT,
Kaggle's wheat (bbox as "[x, y, width, height]"), and without a header keras-retinanet (path, x1, y1, x2, y2,
class), makesense.ai (class, x, y, width, height, image, its width and height) and Vertex AI, once AutoML
(split, image, class, the corners as shares of the image, of which two may be missing). A row without numbers
says that nothing is in the image.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from maskrcnn.errors import RecordError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.coco_numbers import CocoNumbers
from maskrcnn.labels.readers.files_by_name import MOST_FILES, folder_of_images
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.open_images import looks_like_open_images
from maskrcnn.labels.readers.run_lengths import COLUMNS as RUNS
from maskrcnn.labels.readers.run_lengths import NOTHING, looks_like_run_lengths
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
from maskrcnn.labels.types import DEFAULT_CLASS
from maskrcnn.labels.values import number

# what the columns are called, in lower case, the first before the others
IMAGES = (*RUNS["image"][:-1], "file", "filepath", "frame", "id")  # beside a name the id is the row's
CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
SIZES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("left", "top", "width", "height"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    ("bbox_x", "bbox_y", "bbox_w", "bbox_h"),
    ("bbox",),  # x, y, width, height as one text
)
# of the whole image, where the sides of the box are others
IMAGE_SIZES = (("image_height", "image_width"), ("img_height", "img_width"), ("height", "width"))
VERTICES = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")  # of Vertex AI, shares of the image
# of tables without a header, by the number of their cells: what these are, and which of them are sides
BARE = {
    6: (("image", "x1", "y1", "x2", "y2", "class"), slice(1, 5)),
    8: (("class", "x", "y", "w", "h", "image", "of_width", "of_height"), slice(1, 5)),
    10: (("image", "class", *VERTICES), slice(2, 10)),
    11: (("split", "image", "class", *VERTICES), slice(3, 11)),
}
SHARE = 1.01  # what a share may be by rounding
EMPTY = ("", *NOTHING, "[]")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table say what, as it calls them."""

    header: tuple[str, ...]  # empty where the table has its own
    image: str
    sides: tuple[str, ...]
    corners: bool  # the sides are x1, y1, x2, y2
    name: str  # of the class; "" where there is none
    split: str = ""  # the same
    size: tuple[str, ...] = ()  # the image's height and width

    @property
    def shares(self) -> bool:
        """Whether the sides are corners as shares of the image."""
        return self.sides == VERTICES


@dataclass
class Row:
    """One row; its sides are xyxy, None where there is no box."""

    record: str
    name: str
    split: str
    box: list[float] | None
    size: tuple[float, float] | None  # the image's height and width, as the table says


def read_box_table(source: Path, split: str | None = None, image_folder: Path | None = None) -> FileDataset:
    """Read a table, or the only one in a folder. Images are numbered from 1 in the table's order.

    Args:
        split: "train", "val" or "test", as a column says. None: the first of them that there is, or all where
            no row is of one.
        image_folder: the folder of the images; None: the table's, and those in it.

    Raises:
        DataError: the table cannot be used; one line with the record and the remedy.
    """
    path = _table(Path(source))
    columns = None if path is None else _columns(path)
    if path is None or columns is None:
        raise RecordError(source, "no table of boxes", "give its CSV")
    if path != source:
        refuse_leaving(Path(source), path)
    rows = _rows(path, columns)
    folder = image_folder or path.parent
    files = images_by_name(folder)
    if files.keys().isdisjoint(tail for name in rows for tail in _tails(name)):
        folder = folder_of_images(path, list(rows)[:1], image_folder)  # or it says where it looked
        files = images_by_name(folder)
    builder = LabelBuilder(path, folder)
    rows = _shortened(rows, files, builder)
    if not columns.header:
        known = {side.lower() for side in (*columns.sides, *columns.size, columns.name, columns.split)}
        note_other_columns(path, {*IMAGES, *known}, bool(columns.name), builder.problems)
    names = {row.name for of_image in rows.values() for row in of_image if row.box is not None}
    ids = builder.add_classes(sorted(names - {""}))
    numbers = CocoNumbers()
    for name, of_image in present_images(
        rows, split, files, builder, lambda: named_beside(path, visible(path.parent, TABLES), _names)
    ).items():
        image = builder.add_image(name, size=next((row.size for row in of_image if row.size), None))
        scale = (image.width, image.height) * 2 if columns.shares else (1, 1, 1, 1)
        for row in of_image:
            if not columns.corners and not columns.shares:
                numbers.add(image, row.box, None, None, None)
            if row.box is not None and not row.name:
                builder.note(ProblemKind.NO_CLASS, row.record, image)
            elif row.box is not None:
                box = [side * length for side, length in zip(row.box, scale, strict=True)]
                builder.add_object(image, ids[row.name], row.record, box=box)
    numbers.refuse(path)
    return builder.build()


def looks_like_box_table(source: Path) -> bool:
    """Whether `source` is a table of boxes, or a folder whose only one it is."""
    return _table(Path(source)) is not None


def has_box_split(source: Path, split: str) -> bool:
    """Whether a column of the table says "train", "val" or "test" of a row."""
    path = _table(Path(source))
    columns = None if path is None else _columns(path)
    if path is None or columns is None or not columns.split:
        return False
    return has_rows_of(path, columns.split, split, columns.header)


def _table(source: Path) -> Path | None:
    """The table that is meant. Beside another kind of labels, deeper, it may say the same."""
    try:
        if not source.is_dir():
            return source if _is_table(source) else None
        tables = visible(source, TABLES)
        found = [path for path in tables if _is_table(path)] if len(tables) <= MOST_FILES else []
        deeper = next(source.glob("*/*.[jJ][sS][oO][nN]"), None)
        return found[0] if len(found) == 1 and deeper is None else None
    except OSError:
        return None


def _is_table(path: Path) -> bool:
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file() or _columns(path) is None:
        return False
    return not (looks_like_open_images(path) or looks_like_run_lengths(path))


def _columns(path: Path) -> Columns | None:
    """What the columns of a table are; None where it is none of boxes."""
    rows = table_form(path).rows
    called = {cell.lower(): cell for cell in rows[0]} if rows else {}
    image = next((called[name] for name in IMAGES if name in called), None)
    name, split = (
        next((called[name] for name in names if name in called), "")
        for names in (CLASS_COLUMNS, SPLIT_COLUMNS)
    )
    for places, corners in ((CORNERS, True), (SIZES, False)):
        for sides in places:
            if image is not None and all(side in called for side in sides):
                sizes = (each for each in IMAGE_SIZES if called.keys() >= {*each} and not {*each} & {*sides})
                size = tuple(called[side] for side in next(sizes, ()))
                return Columns((), image, tuple(called[side] for side in sides), corners, name, split, size)
    for count, (header, own) in BARE.items():
        for row in rows:
            numbers = [number(cell) for cell in row[own] if cell]
            named = len(row) == count and row[header.index("image")].lower().endswith(SUFFIXES)
            if named and len(numbers) > 3 and all(map(math.isfinite, numbers)):
                return Columns(
                    header,
                    "image",
                    header[own],
                    count != 8,
                    "class",
                    "split" * (count == 11),
                    ("of_height", "of_width") if count == 8 else (),
                )
    return None


def _rows(path: Path, columns: Columns) -> dict[str, list[Row]]:
    """The rows by what they call their image."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    needed = (columns.image, *columns.sides, *columns.size, *filter(None, (columns.name, columns.split)))
    point = "." if table_form(path).mark == "," else ","  # what numbers may have for it
    for line, cells in csv_rows(path, needed, columns.header):
        image = cells[columns.image].strip().replace("\\", "/")
        if not image:
            raise RecordError(path, "names no image", "add it", f"line {line}")
        name = cells[columns.name].strip() if columns.name else DEFAULT_CLASS
        box = _box([cells[side] for side in columns.sides], columns, point)
        if columns.shares and box is not None and max(box) > SHARE:
            remedy = "write shares of the image, or the columns filename, class, xmin, ymin, xmax, ymax"
            raise RecordError(
                path, "has a corner above 1, which Vertex AI's never are", remedy, f"line {line}"
            )
        split = cells[columns.split].strip() if columns.split else ""
        sides = [number(cells[side].replace(point, ".")) for side in columns.size]
        size = (sides[0], sides[1]) if sides and min(sides) > 0 else None
        found[image].append(Row(f"line {line}", name, split, box, size))
    every = [row for of_image in found.values() for row in of_image]
    sized = [row for row in every if row.size is not None]
    if 2 * sum(map(_inside, sized)) <= len(sized):  # they are the box's
        for row in sized:
            row.size = None
    boxes = [row.box for row in every if row.box is not None]
    if not boxes:
        raise RecordError(path, "empty data set, it has no box", "add what was labelled")
    if not columns.shares and all(0 <= side <= 1 for box in boxes for side in box):
        remedy = "multiply x by the width and y by the height of the image"
        raise RecordError(path, "all boxes lie between 0 and 1: they are shares of the image", remedy)
    return found


def _box(cells: list[str], columns: Columns, point: str) -> list[float] | None:
    """xyxy of the cells of a row, NaN for what is no number; `point` is a decimal point, too."""
    if all(cell.strip().lower() in EMPTY for cell in cells):
        return None
    if len(cells) == 1:
        cells = cells[0].strip().strip("[]()").replace(",", " ").split()
        cells = cells if len(cells) == 4 else ["nan"] * 4
    else:
        cells = [cell.replace(point, ".") for cell in cells]
    if columns.shares:
        across, down = (
            [number(cell) for cell in cells[axis::2] if cell.strip()] or [math.nan] for axis in (0, 1)
        )
        return [min(across), min(down), max(across), max(down)]
    x, y, right, lower = map(number, cells)
    return [x, y, right, lower] if columns.corners else [x, y, x + right, y + lower]


def _inside(row: Row) -> bool:
    """Whether a box, as far as it is one, lies in an image of the size that its row has."""
    height, width = row.size or (math.inf, math.inf)
    return row.box is None or not (row.box[2] > width + 1 or row.box[3] > height + 1)


def _tails(name: str) -> Iterator[str]:
    """A name, and what is left of it without its first folder, without the first two, and so on; then the
    same of what it is without percent signs.
    """
    for each in (name, unquote(name)):
        parts = [part for part in each.split("/") if part]
        yield from ("/".join(parts[begin:]) for begin in range(len(parts)))


def _shortened(
    rows: dict[str, list[Row]], files: dict[str, list[str]], builder: LabelBuilder
) -> dict[str, list[Row]]:
    """The rows by names without the folders of another machine.

    Raises:
        DataError: two images would be one.
    """
    names: dict[str, str] = {}
    for name in rows:
        short = next((tail for tail in _tails(name) if tail in files), name)
        if short != name:
            builder.problems.note(ProblemKind.LEADING_FOLDERS, f"image {name!r:.200}")
        if (other := names.setdefault(short, name)) != name:
            what = f"{other!r:.200} and {name!r:.200} would both be {short!r}"
            raise RecordError(builder.source, what, "restore the folders of the images")
    return {short: rows[name] for short, name in names.items()}


def _names(path: Path) -> set[str]:
    """What a table, if it is one of boxes, calls its images."""
    columns = _columns(path)
    return set() if columns is None else set(_rows(path, columns))
