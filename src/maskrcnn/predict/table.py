"""Tables of what was found: a row for each object, and one for each image."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.images.regions import ArrayRegions, RegionImage
from maskrcnn.images.tiles import Window
from maskrcnn.instances import Instances
from maskrcnn.labels.writers.growing_file import GrowingFile
from maskrcnn.predict.writers.writer import WrittenImage

# scikit-image's name of a property and ours; lengths are in pixels, areas in square pixels
SHAPE = {
    "area": "area",
    "perimeter": "perimeter",
    "eccentricity": "eccentricity",
    "axis_major_length": "major_axis",
    "axis_minor_length": "minor_axis",
    "solidity": "solidity",
}
BOX = ("class", "score", "x", "y", "width", "height")  # columns that every object has
POWERS = {"area": 2, "perimeter": 1, "major_axis": 1, "minor_axis": 1}  # of a length
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what begins one


def measure(
    found: Instances, scale: float | None = None, pixels: RegionImage | None = None
) -> list[dict[str, Any]]:
    """Shape and brightness of each object with a mask, as scikit-image's `regionprops_table` has them.

    Columns: `class`, `score`, `x`, `y`, `width`, `height` of the box; of the mask `area`, `perimeter`,
    `eccentricity`, `major_axis`, `minor_axis` and `solidity`; of the image's pixels under it `mean_1` and
    `deviation_1` of the first channel and so on, 0 to 255. Those of an empty mask are None.

    Args:
        scale: micrometres per pixel, for further columns such as `area_um2`.
        pixels: of the image, for the channels' columns; None: those that `found` has, and without any these
            columns are left out.

    Raises:
        UserError: scikit-image is not installed.
    """
    _demand_scikit_image()
    if pixels is None and found.pixels is not None:
        pixels = ArrayRegions(found.pixels)
    rows: list[dict[str, Any]] = []
    windows = [None] * len(found) if found.masks is None else found.masks.windows()
    for row, window in enumerate(windows):
        x0, y0, x1, y1 = found.boxes[row].astype(float).tolist()
        box = found.names[row], float(found.scores[row]), x0, y0, x1 - x0, y1 - y0
        values: dict[str, Any] = dict(zip(BOX, box, strict=True))
        if window is not None:
            values |= _shape(*window, pixels)
        if scale is not None:
            values |= _scaled(values, scale)
        rows.append(values)
    return rows


def _demand_scikit_image() -> None:
    if find_spec("skimage") is None:
        raise UserError("csv: needs scikit-image; pip install 'maskrcnn[table]'")


def _shape(x0: int, y0: int, bitmap: np.ndarray, pixels: RegionImage | None) -> dict[str, float | None]:
    from skimage.measure import regionprops_table

    height, width = bitmap.shape
    image = None if pixels is None else pixels.read(Window(x0, y0, width, height))
    channels = 0 if image is None else image.shape[2]
    names = [*SHAPE.values(), *(f"{what}_{n + 1}" for what in ("mean", "deviation") for n in range(channels))]
    if not bitmap.any():
        return dict.fromkeys(names)
    table = regionprops_table(bitmap.astype(np.uint8), properties=tuple(SHAPE))
    values = [float(table[name][0]) for name in SHAPE]
    if image is not None:
        under = image[bitmap].astype(np.float64)  # (pixels of the object, C)
        values += [*under.mean(axis=0).tolist(), *under.std(axis=0).tolist()]
    return dict(zip(names, values, strict=True))


def _scaled(values: dict[str, Any], scale: float) -> dict[str, Any]:
    return {
        f"{name}_um{power if power > 1 else ''}": values[name] and values[name] * scale**power
        for name, power in POWERS.items()
        if name in values
    }


class TableWriter:
    """objects.csv and summary.csv in a folder."""

    def __init__(self, folder: Path, scale: float | None = None, more: Sequence[str] = ()) -> None:
        """
        Args:
            scale: micrometres per pixel, as `measure` takes it.
            more: further columns behind the image's, whose cells are in `WrittenImage.more`.

        Raises:
            UserError: scikit-image is not installed.
            OSError: the files cannot be written.
        """
        _demand_scikit_image()
        self._scale = scale
        self._areas = ["area"] if scale is None else ["area", "area_um2"]
        self._more = more
        self._columns: list[str] = []
        self._image: WrittenImage | None = None
        self._found = 0  # objects of this image
        self._counted: dict[str, Counted] = {}
        self._objects = GrowingFile(folder / "objects.csv", "", "", "")
        self._summary = GrowingFile(
            folder / "summary.csv", table_line("image", *more, "class", "count", *self._areas), "", ""
        )

    def begin(self, image: WrittenImage) -> None:
        self._image, self._found, self._counted = image, 0, {}

    def add(self, found: Instances) -> None:
        assert self._image is not None
        rows, lines = measure(found, self._scale, self._image.pixels), []
        if found.track_ids is not None:
            ids = [id_ if id_ > 0 else "" for id_ in found.track_ids.tolist()]
            rows = [{"track_id": id_} | row for id_, row in zip(ids, rows, strict=True)]
        if rows and not self._columns:
            self._columns = list(rows[0])
            lines.append(table_line("image", *self._more, "object", *self._columns))
        for row in rows:
            self._found += 1
            lines.append(table_line(self._image.name, *self._image.more, self._found, *row.values()))
            counted = self._counted.setdefault(row["class"], Counted())
            counted.count += 1
            for area in self._areas:
                counted.areas[area] += row.get(area) or 0
        self._objects.add(lines)

    def end(self) -> None:
        assert self._image is not None
        lines = []
        for name, counted in sorted((self._counted or {"": Counted()}).items()):
            areas = [
                "" if counted.count and area not in self._columns else counted.areas[area]
                for area in self._areas
            ]
            lines.append(table_line(self._image.name, *self._image.more, name, counted.count, *areas))
        self._summary.add(lines)

    def close(self) -> None:
        if not self._columns:
            self._objects.add([table_line("image", *self._more, "object", *BOX)])
        self._objects.close()
        self._summary.close()


@dataclass
class Counted:
    """Objects of one class in an image."""

    count: int = 0
    areas: Counter[str] = field(default_factory=Counter)


def table_line(*cells: Any) -> str:
    """A row of a table; no cell is a formula to a spreadsheet, which could run programs: a ' is before it."""
    text = io.StringIO()
    plain = [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells]
    csv.writer(text).writerow(plain)
    return text.getvalue()
