"""The folder of a prediction in parts: run.json, and a Parquet file for each block of images.

A part is named by the number of its block and the digest of run.json, which has all that its content depends
on: the list of images, the size of a block, weights and settings. So it does not matter which process writes
it, or how many do: its name is there only with its whole content.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrcnn.errors import DataError, UserError, one_line
from maskrcnn.files import new_file, write_json
from maskrcnn.predict.table import demand_pyarrow
from maskrcnn.safe_files import parse_json
from maskrcnn.scale.addresses import Addresses
from maskrcnn.scale.rows import Row, schema

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

NAME = "run.json"
PART = re.compile(r"part-(\d{6,})-([0-9a-f]{16})\.parquet")
FAILURES = b"maskrcnn.failures"  # images of the part that could not be read
CAPPED = b"maskrcnn.capped"  # images of it with as many objects as the model gives
AT_ONCE = 256  # rows in memory when a part is read
REMEDY = "give the folder of maskrcnn predict --shard or --ray"


@dataclass(frozen=True)
class Run:
    """A prediction in parts."""

    folder: Path
    record: dict[str, Any]  # what run.json says

    @property
    def images(self) -> int:
        """In the whole list."""
        return int(self.record["images"])

    @property
    def block(self) -> int:
        """Images of a part; the last may have fewer."""
        return int(self.record["block"])

    @property
    def blocks(self) -> range:
        """Numbers of all parts, from 0."""
        return range(-(-self.images // self.block))

    @property
    def digest(self) -> str:
        text = json.dumps(self.record, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def places(self, block: int) -> range:
        """Where the images of a block are in the list, from 0."""
        return range(block * self.block, min((block + 1) * self.block, self.images))

    def part(self, block: int) -> Path:
        """Where the part of a block is, or will be."""
        return self.folder / f"part-{block:06d}-{self.digest}.parquet"

    def category_ids(self) -> dict[str, int]:
        """The id of each class by its name."""
        return dict(self.record["category_ids"])

    def write(self, block: int, rows: list[Row]) -> int:
        """The part of a block, whole and on the disk when it has its name; returns how many of its images
        could not be read.

        Raises:
            OSError: it cannot be written.
        """
        import pyarrow as pa
        from pyarrow import parquet

        failures = sum(row.get("error") is not None for row in rows)
        told = {FAILURES: str(failures), CAPPED: str(sum(bool(row.get("capped")) for row in rows))}
        table = pa.Table.from_pylist(rows, schema=schema().with_metadata(told))
        with new_file(self.part(block)) as unfinished:
            parquet.write_table(table, unfinished, compression="zstd")
        return failures

    def failures(self, block: int) -> int | None:
        """How many images of the part of a block could not be read; None: no part.

        Raises:
            DataError: the part is damaged.
        """
        path = self.part(block)
        if not path.exists():
            return None
        found = _metadata(path)
        counted = (found.metadata or {}).get(FAILURES, b"")
        if found.num_rows != len(self.places(block)) or not counted.isdigit():
            raise DataError(f"{path}: is not the part that its name says; {_AGAIN}")
        return int(counted)

    def capped(self, block: int) -> int:
        """How many images of a part that is there have as many objects as the model gives.

        Raises:
            DataError: the part is damaged.
        """
        return int((_metadata(self.part(block)).metadata or {}).get(CAPPED, b"0"))

    def rows(self, block: int) -> Iterator[Row]:
        """The rows of a part, which are those of the block, each once and in order.

        Raises:
            DataError: they are not, or the part is damaged.
        """
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        path, wanted = self.part(block), self.places(block)
        done = wanted.start
        try:
            with ParquetFile(path) as file:
                if not file.schema_arrow.equals(schema()):
                    raise DataError(f"{path}: has other columns than a part; {_AGAIN}")
                for batch in file.iter_batches(AT_ONCE):
                    for row in batch.to_pylist():
                        done += 1
                        if row["id"] != done or done > wanted.stop:
                            raise DataError(
                                f"{path}: image {row['id']} is missing, doubled or out of place; {_AGAIN}"
                            )
                        yield row
        except (ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(path, error) from None
        if done != wanted.stop:
            raise DataError(f"{path}: has {done - wanted.start} of {len(wanted)} images; {_AGAIN}")


@dataclass
class ShardSummary:
    """What was done of a share of the blocks."""

    images: int = 0  # of the share, that are done
    resumed: int = 0  # of them by earlier runs
    failures: int = 0  # of them that could not be read
    capped: int = 0  # of them with as many objects as the model gives


_AGAIN = "remove it, and the command that wrote it makes it anew"


def open_run(folder: Path, found: Addresses, block: int, predictor: dict[str, Any]) -> Run:
    """The run of these images, in a folder that may have parts of it.

    Args:
        block: images of a part.
        predictor: what `describe` says of it.

    Raises:
        UserError: the folder has another run's parts, or run.json is damaged.
        OSError: it cannot be written.
    """
    demand_pyarrow("--shard")
    record = {"images": len(found), "list of images": found.digest(), "block": block, **predictor}
    if not (folder / NAME).exists():
        write_json(folder / NAME, record)
    there = read_run(folder)
    differ = [
        name
        for name in sorted(record.keys() | there.record.keys())
        if record.get(name) != there.record.get(name)
    ]
    if differ:
        raise UserError(
            f"{folder}: holds parts of another run (other {' and '.join(differ)}); name another folder"
            " with --out"
        )
    if strange := strange_parts(there):
        raise UserError(
            f"{strange[0]}: is of another run than {folder / NAME}; name another folder with --out"
        )
    return there


def read_run(folder: Path) -> Run:
    """The run whose parts are in a folder.

    Raises:
        UserError: there is none, or run.json is damaged.
    """
    demand_pyarrow("parts")
    if not (folder / NAME).exists():
        raise UserError(f"{folder}: has no {NAME}, so no parts of a prediction; {REMEDY}")
    record = parse_json(folder / NAME, REMEDY)
    numbers = [record.get("images"), record.get("block")]
    ids = record.get("category_ids")
    sound = isinstance(ids, dict) and all(type(one) is int for one in ids.values())
    if not sound or not all(type(number) is int and number > 0 for number in numbers):
        raise UserError(f"{folder / NAME}: damaged; {REMEDY}")
    return Run(folder, record)


def strange_parts(run: Run) -> list[Path]:
    """The parts in the folder that are of another run."""
    found = ((path, PART.fullmatch(path.name)) for path in sorted(run.folder.iterdir()))
    return [
        path for path, name in found if name and (name[2] != run.digest or int(name[1]) not in run.blocks)
    ]


def missing_blocks(run: Run, blocks: Sequence[int] | None = None) -> list[int]:
    """Those of `blocks`, or of all, that have no part."""
    there = {path.name for path in run.folder.iterdir()}
    return [
        block for block in (run.blocks if blocks is None else blocks) if run.part(block).name not in there
    ]


def _metadata(path: Path) -> FileMetaData:
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    try:
        return read_metadata(path)
    except (ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged ({one_line(error):.100}); {_AGAIN}")
