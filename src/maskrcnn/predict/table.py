"""Tables of what was found: a row for each object, and one for each image."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.instances import Instances

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


def measure(found: Instances, scale: float | None = None) -> list[dict[str, Any]]:
    """Shape and brightness of each object with a mask, as scikit-image's `regionprops_table` has them.

    Columns: `class`, `score`, `x`, `y`, `width`, `height` of the box; of the mask `area`, `perimeter`,
    `eccentricity`, `major_axis`, `minor_axis` and `solidity`; of the image's pixels under it `mean_1` and
    `deviation_1` of the first channel and so on, 0 to 255. Those of an empty mask are None.

    Args:
        found: with the pixels of its image, for the channels' columns; those are left out where it has none.
        scale: micrometres per pixel, for further columns such as `area_um2`.

    Raises:
        UserError: scikit-image is not installed.
    """
    _demand_scikit_image()
    rows: list[dict[str, Any]] = []
    windows = [None] * len(found) if found.masks is None else found.masks.windows()
    for row, window in enumerate(windows):
        x0, y0, x1, y1 = found.boxes[row].astype(float).tolist()
        box = found.names[row], float(found.scores[row]), x0, y0, x1 - x0, y1 - y0
        values: dict[str, Any] = dict(zip(BOX, box, strict=True))
        if window is not None:
            values |= _shape(*window, found.pixels)
        if scale is not None:
            values |= _scaled(values, scale)
        rows.append(values)
    return rows


def _demand_scikit_image() -> None:
    if find_spec("skimage") is None:
        raise UserError("csv: needs scikit-image; pip install 'maskrcnn[table]'")


def _shape(x0: int, y0: int, bitmap: np.ndarray, pixels: np.ndarray | None) -> dict[str, float | None]:
    from skimage.measure import regionprops_table

    height, width = bitmap.shape
    image = None if pixels is None else pixels[y0 : y0 + height, x0 : x0 + width]
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
    """objects.csv and summary.csv in a folder, written image by image."""

    def __init__(self, folder: Path, scale: float | None = None) -> None:
        """
        Args:
            scale: micrometres per pixel, as `measure` takes it.

        Raises:
            UserError: scikit-image is not installed.
            OSError: the files cannot be written.
        """
        _demand_scikit_image()
        self._scale = scale
        self._areas = ["area"] if scale is None else ["area", "area_um2"]
        self._objects = _open(folder / "objects.csv")
        self._images = _open(folder / "summary.csv")
        self._columns: list[str] = []
        csv.writer(self._images).writerow(["image", "class", "count", *self._areas])

    def add(self, image: str, found: Instances) -> None:
        """The objects of an image called `image`."""
        rows, image = measure(found, self._scale), _plain(image)
        for row in rows:
            row["class"] = _plain(row["class"])
        writer = csv.writer(self._objects)
        if rows and not self._columns:
            self._columns = list(rows[0])
            writer.writerow(["image", "object", *self._columns])
        writer.writerows([image, n, *row.values()] for n, row in enumerate(rows, 1))
        csv.writer(self._images).writerows([image, *counted] for counted in _counted(rows, self._areas))
        for file in (self._objects, self._images):
            file.flush()  # what was found stays, whatever comes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._images, self._objects:  # both are closed, whatever one of them says
            if not self._columns and error is None:
                csv.writer(self._objects).writerow(["image", "object", *BOX])


def _open(path: Path) -> TextIO:
    # file names that are no UTF-8 come with surrogates
    return path.open("w", newline="", encoding="utf-8", errors="backslashreplace")


def _plain(name: str) -> str:
    """A name that no spreadsheet takes for a formula, which could run programs: with a ' before it."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else name


def _counted(rows: list[dict[str, Any]], areas: list[str]) -> Iterator[list[str | int | float]]:
    """Class, number of objects and the sums of `areas`; an image without an object has a row too."""
    if not rows:
        yield ["", 0, *[0] * len(areas)]
    for name in sorted({row["class"] for row in rows}):
        own = [row for row in rows if row["class"] == name]
        sums = [sum(row[area] or 0 for row in own) if area in own[0] else "" for area in areas]
        yield [name, len(own), *sums]
