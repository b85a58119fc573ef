"""Prediction as one callable from rows to rows, for Ray Data, Spark and our own loop."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from contextlib import suppress
from copy import copy
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from maskrcnn.config.model import InputConfig
from maskrcnn.config.section import validate
from maskrcnn.errors import DataError, ImageError, RecordError, UserError
from maskrcnn.export.load_runner import open_runner
from maskrcnn.images.multichannel import refuse_special
from maskrcnn.images.regions import RegionImage
from maskrcnn.predict.augment import Augmented
from maskrcnn.predict.large import Tiles
from maskrcnn.predict.predictor import check_batch, kept_score, predict_opened
from maskrcnn.predict.reading import SourceImage, open_image
from maskrcnn.predict.table import demand_pyarrow
from maskrcnn.runtime.engine import Runner
from maskrcnn.scale.remote import REMOTE, read_address
from maskrcnn.scale.rows import Row, found_row, schema
from maskrcnn.system_errors import OUT_OF_REACH, REMEDIES

if TYPE_CHECKING:
    import pyarrow

Opened = tuple[RegionImage, int | None]  # with the side of its tiles
SUFFIX = re.compile(r"\.\w{1,8}")
# what a path alone is to blame for, and no disk
WRONG_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM)


class BatchPredictor:
    """Give it a batch of rows and it gives a batch of rows, one for each, in their order.

    A row comes with the image's `bytes` or its `address` (or `path`), and perhaps its `id`. An address is a
    path, or with `allow_network` anything that `pyarrow.fs` opens: s3://, gs://, hdfs://. The rows that
    it gives have the columns of `maskrcnn.scale.rows.schema`; an image that cannot be read is one with an
    `error`.

    With `batch` 1 a row depends on its image alone, not on which others come with it.
    """

    def __init__(
        self,
        weights: str | Path | Runner,
        *,
        engine: str | None = None,
        device: str | None = None,
        score: float | None = None,
        tiles: Tiles = "auto",
        tta: bool = False,
        batch: int = 1,
        value_range: tuple[float, float] | None = None,
        allow_network: bool = False,
        trust_code: bool = False,
    ) -> None:
        """
        Args:
            weights: a model by its name or folder, an exported folder, or what predicts already.
            engine, device, trust_code: as `maskrcnn.export.load_runner.open_runner` takes them.
            score, tiles, tta, batch: as `predict` takes them.
            value_range: in place of the model's.
            allow_network: open addresses of other machines.

        Raises:
            UserError: no such model, engine or device; pyarrow is not installed; or an argument out of its
                range.
        """
        demand_pyarrow("BatchPredictor")
        check_batch(batch)
        if isinstance(weights, str | Path):
            weights = open_runner(str(weights), device, engine, trust_code=trust_code)
        runner = weights
        if value_range is not None:
            runner = copy(runner)  # the caller's own keeps its range
            form = {**runner.config.input.model_dump(), "value_range": value_range}
            form = {"input": validate(InputConfig, form, "BatchPredictor")}
            runner.config = runner.config.model_copy(update=form)
        self.model: Runner = Augmented(runner) if tta else runner
        self.score = kept_score(score, runner.config)
        self.tiles, self.batch, self.allow_network = tiles, batch, allow_network

    def __call__(self, batch: Any) -> Any:
        """
        Args:
            batch: a table or record batch of Arrow, a DataFrame of pandas, or columns by name.

        Returns:
            A DataFrame for one, else a table of Arrow.

        Raises:
            UserError: it has no column of addresses or bytes, or one that holds something else; an address on
                the network without `allow_network`; or another machine cannot be reached.
            DataError: the network's numbers became NaN or infinite.
            OSError: the disk of an image fails.
        """
        import pyarrow as pa

        pandas = hasattr(batch, "iloc")
        if pandas:
            table = pa.Table.from_pandas(batch, preserve_index=False)
        else:
            table = pa.table(dict(batch)) if isinstance(batch, dict) else _as_table(batch)
        names = [name for name in ("id", "address", "path", "bytes") if name in table.column_names]
        if names in ([], ["id"]):
            raise UserError("BatchPredictor: rows need a column 'address', 'path' or 'bytes'")
        for name in names[names[0] == "id" :] if len(table) else ():
            _check_column(name, table.schema.field(name).type)
        ids = table.schema.field("id").type if "id" in names else None
        rows = self.rows(table.select(names).to_pylist())
        found = pa.Table.from_pylist(rows, schema=schema(ids))
        return found.to_pandas() if pandas else found

    def rows(self, given: list[Row]) -> list[Row]:
        """The same of plain rows. Errors are those of a call."""
        found: list[Row] = []
        for start in range(0, len(given), self.batch):
            with tempfile.TemporaryDirectory(prefix="maskrcnn-") as folder:
                found += self._predict(given[start : start + self.batch], Path(folder))
        return found

    def _predict(self, given: list[Row], folder: Path) -> list[Row]:
        """A batch of images, those that are no files of this machine in `folder` meanwhile."""
        rows: list[Row] = []
        opened: dict[int, Opened] = {}
        for place, row in enumerate(given):
            address = row.get("address") or row.get("path")
            rows.append({"id": row.get("id"), "address": address})
            try:
                path = self._file(row.get("bytes"), address, folder / str(place))
                refuse_special(path)  # which would be waited for, or has no end
                with suppress(OSError, ValueError), path.open("rb") as file:
                    rows[place]["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
                opened[place] = open_image(SourceImage(path), self.model.config.input, self.tiles)
            except (DataError, OSError) as error:
                rows[place]["error"] = _reason(error, address)
        for place in [place for place, (_, side) in opened.items() if side is not None]:
            try:  # in tiles, which are read one by one: on its own
                self._find(rows, {place: opened.pop(place)})
            except (ImageError, OSError) as error:
                rows[place]["error"] = _reason(error, rows[place]["address"])
        self._find(rows, opened)
        return rows

    def _find(self, rows: list[Row], opened: dict[int, Opened]) -> None:
        """Put what is in the images that are open into their rows."""
        found = predict_opened(self.model, list(opened.values()), self.score, [None] * len(opened))
        for place, instances in zip(opened, found, strict=True):
            rows[place] |= found_row(instances)

    def _file(self, data: bytes | None, address: str | None, copy: Path) -> Path:
        """The file of an image; one that is none on this machine becomes one at `copy`, with its suffix."""
        if data is None and address is None:
            raise ImageError("row", "neither bytes nor an address", "give one of the two")
        if data is None and "\0" in str(address):
            raise ImageError(address, "a path with a NUL in it", "write the list as UTF-8")
        if data is None and not REMOTE.match(str(address)):
            return Path(str(address))
        if data is None:
            data = read_address(str(address), self.allow_network)
        suffix = PurePosixPath(address or "").suffix
        path = copy.with_suffix(suffix if SUFFIX.fullmatch(suffix) else "")
        path.write_bytes(data)
        return path


def _as_table(batch: Any) -> pyarrow.Table:
    import pyarrow as pa

    return pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch


def _check_column(name: str, kind: pyarrow.DataType) -> None:
    from pyarrow import types

    held = kind.value_type if types.is_dictionary(kind) else kind
    binary = types.is_binary(held) or types.is_large_binary(held) or types.is_binary_view(held)
    binary |= types.is_fixed_size_binary(held)
    text = types.is_string(held) or types.is_large_string(held) or types.is_string_view(held)
    if not types.is_null(held) and not (binary if name == "bytes" else text):
        wanted = "a file's bytes" if name == "bytes" else "text"
        raise UserError(f"BatchPredictor: column '{name}' holds {kind}; it must hold {wanted}")


def _reason(error: Exception, address: str | None) -> str:
    """Why an image cannot be read, without its name, which may be one of ours.

    Raises:
        OSError: the disk that it is on fails, or has no room for a copy, which is no fault of the image's.
    """
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError) and behind.errno in OUT_OF_REACH:
            raise OSError(behind.errno, behind.strerror, address) from None
        behind = behind.__context__
    if isinstance(error, OSError) and error.errno in WRONG_PATH:
        return f"{os.strerror(error.errno)}; {REMEDIES[error.errno]}"
    if not isinstance(error, DataError):
        raise error
    if not isinstance(error, RecordError):
        return str(error)
    return f"{error.record} {error.what}; {error.remedy}".strip()
