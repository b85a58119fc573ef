"""The parts of a prediction as one file, a row at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from maskrcnn.errors import DataError, UserError
from maskrcnn.files import new_file
from maskrcnn.masks.rle import rle_area
from maskrcnn.predict.table import table_line
from maskrcnn.progress import Progress
from maskrcnn.scale.parts import NAME, PART, Run, missing_blocks, read_run, strange_parts
from maskrcnn.scale.rows import Row, coco_results, schema
from maskrcnn.shell import counted, first_of

Format = Literal["coco", "csv", "parquet"]
SUFFIXES: dict[Format, str] = {"coco": ".json", "csv": ".csv", "parquet": ".parquet"}
COLUMNS = ("image", "id", "object", "class", "score", "x0", "y0", "x1", "y1", "area")
MOST_NAMED = 5  # missing parts


@dataclass
class Collected:
    """What the parts hold."""

    images: int = 0
    objects: int = 0
    failures: int = 0  # images that could not be read
    first_failure: str = ""
    capped: int = 0  # images with as many objects as the model gives


def whole_run(folder: Path) -> Run:
    """The run in a folder, all of whose parts are there.

    Raises:
        UserError: no run there, or a part of another one.
        DataError: parts are missing.
    """
    run = read_run(folder)
    if strange := strange_parts(run):
        raise UserError(
            f"{strange[0]}: is of another run than the folder's, as are {len(strange) - 1} more; remove them"
        )
    if missing := missing_blocks(run):
        first = first_of([str(number) for number in missing], MOST_NAMED)
        raise DataError(
            f"{folder}: {len(missing)} of {counted(len(run.blocks), 'part')} are missing (numbers {first}); "
            "run the command that wrote the others again, for each of its shards"
        )
    return run


def rows_of(run: Run, found: Collected, progress: Progress | None = None) -> Iterator[Row]:
    """The rows of all images, which are counted in `found`.

    Raises:
        DataError: a part is damaged, or an image is missing or doubled.
    """
    for block in run.blocks:
        for row in run.rows(block):
            found.images += 1
            found.objects += len(row["boxes"] or ())
            found.capped += bool(row["capped"])
            if row["error"] is not None:
                found.failures += 1
                found.first_failure = found.first_failure or f"{row['address']}: {row['error']}"
            yield row
        if progress:
            progress(found.images, run.images)


def collect(folder: Path, to: Format, out: Path, progress: Progress | None = None) -> Collected:
    """Write the parts in `folder` as one file.

    Args:
        to: "coco", results as `predict` writes them to results.json, under the number of an image in the
            list; "csv", a row an object; "parquet", the rows as they are.

    Raises:
        UserError: no run there, a part of another one, or `out` is one of its files.
        DataError: parts are missing or damaged; nothing is written.
        OSError: the file cannot be written.
    """
    run, found = whole_run(folder), Collected()
    if out.resolve().parent == folder.resolve() and (out.name == NAME or PART.fullmatch(out.name)):
        raise UserError(f"{out}: is a file of the run itself; give another name")
    rows = rows_of(run, found, progress)
    with new_file(out) as unfinished:
        if to == "parquet":
            _write_parquet(run, rows, unfinished)
        else:
            lines = _coco_lines(run, rows) if to == "coco" else _csv_lines(rows)
            with unfinished.open("w", encoding="utf-8", newline="") as file:
                file.writelines(lines)
    return found


def _coco_lines(run: Run, rows: Iterator[Row]) -> Iterator[str]:
    ids, before = run.category_ids(), "[\n"
    for row in rows:
        for result, name in zip(coco_results(row, ids), row["names"] or (), strict=True):
            yield before + json.dumps(result | {"category_name": name, "file_name": row["address"]})
            before = ",\n"
    yield ("[" if before == "[\n" else "") + "\n]\n"


def _csv_lines(rows: Iterator[Row]) -> Iterator[str]:
    yield table_line(*COLUMNS)
    for row in rows:
        for place, box in enumerate(row["boxes"] or ()):
            own: list[Any] = [row["address"], row["id"], place + 1, row["names"][place], row["scores"][place]]
            area: int | str = ""
            if row["rle"] is not None:
                area = rle_area({"size": [row["height"], row["width"]], "counts": row["rle"][place]})
            yield table_line(*own, *box, area)


def _write_parquet(run: Run, rows: Iterator[Row], path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    with ParquetWriter(path, schema(), compression="zstd") as writer:
        group: list[Row] = []
        for row in rows:
            group.append(row)
            if len(group) == run.block:
                writer.write_table(pa.Table.from_pylist(group, schema=schema()))
                group = []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema()))
