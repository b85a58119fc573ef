"""Tables that anyone may have saved: commas, semicolons or tabs between the cells, in UTF-8 or UTF-16."""

from __future__ import annotations

import csv
import posixpath
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from maskrcnn.errors import DataError, RecordError, one_line
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.readers.folder_files import files_under
from maskrcnn.labels.readers.label_image_names import LABEL_FOLDERS
from maskrcnn.labels.split_names import other_subsets, split_of, splits_named, subsets_of
from maskrcnn.safe_files import decoded, encoding_of
from maskrcnn.shell import counted

HEAD = 4096  # bytes that are looked into
LONGEST_CELL = 2**27  # characters; Python's own limit is less than a long polygon
CLASS_COLUMNS = (
    # beside a name a "class" or "label" is its number
    *("class_name", "classname", "label_name", "category_name", "cat_name", "class", "label", "category"),
    *("cell_type", "species", "class_label", "object_class", "obj_class", "finding label", "finding"),
    *("class_id", "classid", "category_id", "categoryid", "label_id", "cls", "name"),
)
# what columns of outlines may be called
OUTLINES = ("segmentation", "polygon", "polygons", "mask", "rle", "encodedpixels")
SPLIT_COLUMNS = ("split", "set", "subset", "ml_use")
TABLES, TABLE_SUFFIXES = "*.[cCtT][sS][vV]", (".csv", ".tsv")


@dataclass(frozen=True)
class Form:
    """How a table is written."""

    encoding: str
    mark: str  # between cells
    skipped: int  # lines before the header: Excel's "sep=;"
    rows: list[list[str]]  # the first, with the header


def table_form(path: Path) -> Form:
    """The form of a table, as its first bytes show it.

    Raises:
        OSError: not readable.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    lines = decoded(head, "ignore").splitlines()
    skipped = int(bool(lines) and lines[0].lower().startswith("sep=") and len(lines[0]) == len("sep=;"))
    first = lines[skipped] if len(lines) > skipped else ""
    mark = lines[0][-1] if skipped else cell_mark(first)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines[skipped:], delimiter=mark) if row]
    except csv.Error:
        rows = []
    return Form(encoding_of(head), mark, skipped, rows)


def cell_mark(line: str) -> str:
    """What parts the cells of a line."""
    return max(",;\t", key=line.count)


def csv_rows(
    path: Path, columns: tuple[str, ...], header: tuple[str, ...] = (), *, remedy: str = "download it again"
) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines and their cells by column.

    Args:
        columns: that there must be.
        header: what the columns are called where the table does not say it.
        remedy: where a column is missing.

    Raises:
        DataError: not readable, or without one of `columns`, or with a row of another length.
    """
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        form = table_form(path)
        with path.open(encoding=form.encoding, newline="") as file:
            for _ in range(form.skipped):
                file.readline()
            reader = csv.reader(file, delimiter=form.mark)
            names = list(header) or [cell.strip().lstrip("#") for cell in next(reader, [])]
            if any(name not in names for name in columns):
                raise RecordError(path, f"its first line lacks one of {', '.join(columns)}", remedy)
            for cells in reader:
                if not cells:
                    continue
                line = reader.line_num + form.skipped
                if len(cells) != len(names):
                    what = f"has {counted(len(cells), 'cell')} and not {len(names)}"
                    raise RecordError(path, what, "correct it", f"line {line}")
                yield line, dict(zip(names, cells, strict=True))
    except UnicodeError:  # replacement characters would make one class of two
        raise RecordError(path, "not text in UTF-8, nor in UTF-16", "save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise RecordError(path, f"not readable as CSV ({one_line(error)})", "correct it") from None
    finally:
        csv.field_size_limit(before)


def note_other_columns(path: Path, known: Collection[str], named: bool, problems: Problems) -> None:
    """Count the columns of a table that are passed over and may be what a person wants.

    Args:
        known: what columns are called, in lower case, of which the reader knows what they say.
        named: one of them says the classes; else any of the others may.
    """
    for column in table_form(path).rows[0]:
        if column and column.lower() not in known and (not named or column.lower() in OUTLINES):
            problems.note(ProblemKind.OTHER_COLUMN, repr(column))


def images_by_name(folder: Path) -> dict[str, list[str]]:
    """The images in a folder, those among masks left out, by all that a row may call them."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in files_under(folder):
        *above, base = name.lower().split("/")
        if base.endswith(SUFFIXES) and set(LABEL_FOLDERS).isdisjoint(above):
            base = posixpath.basename(name)
            for key in {name, base, posixpath.splitext(base)[0]}:
                found[key].append(name)
    return found


def present_images(
    rows: dict[str, list[Any]],
    split: str | None,
    files: dict[str, list[str]],
    builder: LabelBuilder,
    beside: Callable[[], set[str]],
) -> dict[str, list[Any]]:
    """The rows of a split by the file of their image. Rows whose image is missing or whose subset is no
    split, and images without a row, are counted.

    Args:
        rows: by what they call their image; each has a `record`, and a `split`, "" where no column says it.
        split: "train", "val" or "test". None: the first of them that there is, or all where there is none.
        beside: what the tables of other splits beside this one call their images.

    Raises:
        DataError: a row may mean several images.
    """
    images: dict[str, list[Any]] = {}
    lower = {key.lower(): names for key, names in files.items()}
    chosen = _of_split(rows, split, builder)
    for name, of_image in chosen.items():
        found = files.get(name, [])
        if not found and (found := lower.get(name.lower(), lower.get(unquote(name).lower(), []))):
            builder.problems.note(ProblemKind.NEAR_NAME, f"image {name!r:.200}", found[0])
        if len(found) > 1:
            remedy = "keep one, or say where the images are: --images FOLDER"
            raise RecordError(
                builder.source, f"may be {found[0]!r} or {found[1]!r}", remedy, f"image {name!r:.200}"
            )
        if found:
            images.setdefault(found[0], []).extend(of_image)
        else:
            builder.problems.note(
                ProblemKind.ANNOTATION_WITHOUT_IMAGE, of_image[0].record, count=len(of_image)
            )
    tops = {name.rpartition("/")[0].partition("/")[0] for name in images}  # not those of another split
    unnamed = {name for found in files.values() for name in found} - images.keys()
    unnamed = {name for name in unnamed if name.rpartition("/")[0].partition("/")[0] in tops}
    if unnamed:  # the other tables are read for these alone
        unnamed -= {name for key in (rows.keys() - chosen.keys()) | beside() for name in files.get(key, [])}
    for name in sorted(unnamed):
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_ROW, repr(name), name)
    return images


def _of_split(rows: dict[str, list[Any]], split: str | None, builder: LabelBuilder) -> dict[str, list[Any]]:
    """The rows of a split, as of `present_images`; those of subsets that are none are counted."""
    subsets = [row.split for of_image in rows.values() for row in of_image]
    for subset in other_subsets(subsets):
        builder.problems.note(ProblemKind.OTHER_SUBSET, repr(subset), count=subsets.count(subset))
    wanted = set(subsets_of(split, subsets))
    chosen = {name: [row for row in of_image if row.split in wanted] for name, of_image in rows.items()}
    return {name: of_image for name, of_image in chosen.items() if of_image}


def has_rows_of(path: Path, column: str, split: str, header: tuple[str, ...] = ()) -> bool:
    """Whether a column says "train", "val" or "test" of a row; reads as far as the first. `header`: as of
    `csv_rows`.
    """
    return any(split_of(cells[column].strip()) == split for _, cells in csv_rows(path, (column,), header))


def named_beside(path: Path, tables: Iterable[Path], names: Callable[[Path], Iterable[str]]) -> set[str]:
    """What those of `tables` that are of other splits than the one at `path` call their images."""
    own, named = splits_named(path), set[str]()
    for other in tables:
        if own and splits_named(other) not in (set(), own):
            try:
                named.update(names(other))
            except DataError:  # of which its own reading says what is wrong
                continue
    return named
