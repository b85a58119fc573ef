"""Tables of what was found: a row for each object, and one for each image and class."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrcnn.files import new_file, write_text
from maskrcnn.instances import Instances
from maskrcnn.labels.writers.growing_file import GrowingFile, Mark
from maskrcnn.masks.measure import BOX, demand_scikit_image, measure
from maskrcnn.predict.table import demand_pyarrow, table_line
from maskrcnn.predict.writers.writer import WrittenImage

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter

ROWS = 10_000  # of a table in Parquet that are written together
NONE_FOUND = ["image", "object", *BOX]  # the columns of a table of nothing


class ObjectsWriter:
    """objects.csv and objects.parquet: what `measure` says of each object."""

    def __init__(
        self,
        folder: Path,
        scale: float | None,
        *,
        csv: bool,
        parquet: bool = False,
        more: Sequence[str] = (),
        mark: Mark | None = None,
    ) -> None:
        """
        Args:
            scale: micrometres per pixel, as `measure` takes it.
            more: further columns behind the image's, whose cells are in `WrittenImage.more`.
            csv, parquet: which of the two is written.
            mark: of the CSV that is there, as `GrowingFile` takes it.

        Raises:
            UserError: scikit-image, or for Parquet pyarrow, is not installed.
            OSError: the files cannot be written.
        """
        demand_scikit_image()
        self._scale, self._more = scale, more
        self._number = 0  # of the last object of this image
        self._headed = mark is not None and mark[0] > 0  # the columns have their names
        self._ended = True  # the last image
        self._begun: tuple[int, bool] | None = None  # where its lines begin
        self._parquet = ParquetTable(folder / "objects.parquet") if parquet else None
        self._csv = GrowingFile(folder / "objects.csv", "", "", "", mark=mark) if csv else None

    def begin(self, image: WrittenImage) -> None:
        self._leave_out()
        self._image, self._number = image, 0
        self._begun = None if self._csv is None else self._csv.mark()
        self._ended = False

    def add(self, found: Instances) -> None:
        rows: list[dict[str, Any]] = []
        tracked = [] if found.track_ids is None else found.track_ids.tolist()
        for place, row in enumerate(measure(found, self._scale, self._image.pixels)):
            self._number += 1
            own: dict[str, Any] = dict(zip(self._more, self._image.more, strict=True))
            own["object"] = self._number
            if tracked:
                own["track_id"] = tracked[place] if tracked[place] > 0 else None
            rows.append({"image": self._image.name} | own | row)
        lines = []
        if rows and not self._headed:
            self._headed = True
            lines.append(table_line(*rows[0]))
        if self._csv is not None:
            self._csv.add([*lines, *(table_line(*row.values()) for row in rows)])
        if self._parquet is not None:
            self._parquet.add(rows)

    def end(self) -> None:
        self._ended = True

    def mark(self) -> Mark | None:
        """Where the CSV is now."""
        return None if self._csv is None else self._csv.mark()

    def close(self) -> None:
        self._leave_out()
        if self._csv is not None:
            if not self._headed:
                self._csv.add([table_line("image", *self._more, *NONE_FOUND[1:])])
            self._csv.close()
        if self._parquet is not None:
            self._parquet.close()

    def _leave_out(self) -> None:
        """Take away the lines of an image that has not ended."""
        if not self._ended and self._csv is not None and self._begun is not None:
            if self._begun[0] == 0:  # the columns' names too
                self._headed = False
            self._csv.back(self._begun)
        if not self._ended and self._parquet is not None:
            self._parquet.leave_out(self._image.name)
        self._ended = True


class ParquetTable:
    """A table in a file that appears when it is closed."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: pyarrow is not installed.
        """
        demand_pyarrow("parquet")
        self._file = contextlib.ExitStack()
        self._unfinished = self._file.enter_context(new_file(path))
        self._writer: ParquetWriter | None = None
        self._rows: list[dict[str, Any]] = []
        self._left_out: list[str] = []  # images of which rows are in the file that do not belong there

    def leave_out(self, image: str) -> None:
        """Take away the rows of an image."""
        self._rows = [row for row in self._rows if row["image"] != image]
        self._left_out.append(_text(image))

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Rows of the same columns as all others."""
        self._rows += rows
        if len(self._rows) >= ROWS:
            self._write()

    def close(self) -> None:
        self._write()
        if self._writer is not None:
            self._writer.close()
            if self._left_out:
                self._write_again()
        self._file.close()

    def _write_again(self) -> None:
        """The same file without the rows of images that are left out."""
        from pyarrow import array, compute
        from pyarrow.parquet import ParquetFile, ParquetWriter

        with new_file(self._unfinished) as other, ParquetFile(self._unfinished) as file:
            with ParquetWriter(other, file.schema_arrow, compression="zstd") as writer:
                for batch in file.iter_batches(ROWS):
                    left_out = compute.is_in(batch["image"], value_set=array(self._left_out))
                    writer.write_batch(batch.filter(compute.invert(left_out)))

    def _write(self) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        if self._writer is None:
            columns = list(self._rows[0]) if self._rows else NONE_FOUND
            kinds = {"image": pyarrow.string(), "class": pyarrow.string(), "object": pyarrow.int64()}
            schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in columns])
            self._writer = ParquetWriter(self._unfinished, schema, compression="zstd")
        text = [
            {key: _text(value) if isinstance(value, str) else value for key, value in row.items()}
            for row in self._rows
        ]
        self._writer.write_table(pyarrow.Table.from_pylist(text, schema=self._writer.schema))
        self._rows = []


@dataclass
class Counted:
    """Objects of one class in an image."""

    count: int = 0
    area: int | None = 0  # pixels; None without masks
    least: float = 1.0  # score


class SummaryWriter:
    """summary.csv: of each image and class how many objects, their area, and the least score.

    It grows as images come.
    """

    def __init__(
        self,
        folder: Path,
        scale: float | None,
        *,
        more: Sequence[str] = (),
        review: bool = True,
        mark: Mark | None = None,
    ) -> None:
        """
        Args:
            scale: micrometres per pixel.
            more, mark: as `ObjectsWriter` takes them.
            review: at the end the images are sorted, the least sure first and those without an object last.
        """
        self._review = review
        self._path, self._scale = folder / "summary.csv", scale
        areas = ["area"] if scale is None else ["area", "area_um2"]
        self._head = table_line("image", *more, "class", "count", *areas, "least_score")
        self._file = GrowingFile(self._path, self._head, "", "", mark=mark)
        self._images: list[tuple[float, list[str]]] = []  # the least score of each image, and its lines

    def begin(self, image: WrittenImage) -> None:
        self._image = image
        self._counted: dict[str, Counted] = {}

    def add(self, found: Instances) -> None:
        areas = [None] * len(found) if found.masks is None else found.masks.areas().tolist()
        for name, score, area in zip(found.names, found.scores.tolist(), areas, strict=True):
            counted = self._counted.setdefault(name, Counted())
            counted.count += 1
            counted.least = min(counted.least, score)
            counted.area = None if area is None or counted.area is None else counted.area + area

    def end(self) -> None:
        lines = []
        for name, counted in sorted((self._counted or {"": Counted()}).items()):
            areas: list[float | str] = ["" if counted.area is None else counted.area]
            if self._scale is not None:
                areas.append("" if counted.area is None else counted.area * self._scale**2)
            least = round(counted.least, 6) if counted.count else ""
            lines.append(table_line(self._image.name, *self._image.more, name, counted.count, *areas, least))
        self._file.add(lines)
        if not self._review:
            return
        least_of_all = min((counted.least for counted in self._counted.values()), default=2.0)
        self._images.append((least_of_all, lines))

    def mark(self) -> Mark:
        """Where the file is now."""
        return self._file.mark()

    def close(self) -> None:
        self._file.close()
        if self._review:
            self._images.sort(key=lambda one: one[0])
            write_text(self._path, self._head + "".join(line for _, lines in self._images for line in lines))


class FrameTables:
    """objects.csv and summary.csv of videos, whose rows stay in the order of the frames."""

    NAMES = ("objects.csv", "summary.csv")

    def __init__(
        self,
        folder: Path,
        scale: float | None,
        more: Sequence[str],
        marks: Sequence[Mark | None] = (None, None),
    ) -> None:
        """Arguments and errors are those of `ObjectsWriter`; `marks` are of both."""
        self._tables = (
            ObjectsWriter(folder, scale, csv=True, more=more, mark=marks[0]),
            SummaryWriter(folder, scale, more=more, review=False, mark=marks[1]),
        )

    def marks(self) -> list[Mark | None]:
        """Where the two are now."""
        return [table.mark() for table in self._tables]

    def begin(self, image: WrittenImage) -> None:
        for table in self._tables:
            table.begin(image)

    def add(self, found: Instances) -> None:
        for table in self._tables:
            table.add(found)

    def end(self) -> None:
        for table in self._tables:
            table.end()

    def close(self) -> None:
        for table in self._tables:
            table.close()


def _text(name: str) -> str:
    """File names that are no UTF-8 come with surrogates."""
    return name.encode(errors="backslashreplace").decode()
