"""What is measured of each object: its shape, and the image's brightness under it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from numbers import Real
from typing import Any, Protocol

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.images.regions import ArrayRegions, RegionImage
from maskrcnn.images.tiles import Window
from maskrcnn.masks.masks import Masks

# scikit-image's name of a property and ours; lengths are in pixels, areas in square pixels
SHAPE = {
    "area": "area",
    "perimeter": "perimeter",
    "eccentricity": "eccentricity",
    "axis_major_length": "major_axis",
    "axis_minor_length": "minor_axis",
    "solidity": "solidity",
}
CENTROID = ("centroid_x", "centroid_y")
BOX = ("class", "score", "x", "y", "width", "height")  # columns that every object has
POWERS = {"area": 2, "perimeter": 1, "major_axis": 1, "minor_axis": 1}  # of a length


class Measurable(Protocol):
    """N objects of one image: the fields of `maskrcnn.instances.Instances` that measuring needs."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def scores(self) -> np.ndarray: ...
    @property
    def boxes(self) -> np.ndarray: ...
    @property
    def masks(self) -> Masks | None: ...
    @property
    def pixels(self) -> np.ndarray | None: ...
    def __len__(self) -> int: ...


def measure(
    found: Measurable, scale: float | None = None, pixels: RegionImage | None = None
) -> list[dict[str, Any]]:
    """Shape and brightness of each object with a mask, as scikit-image's `regionprops_table` has them.

    Columns: `class`, `score`, `x`, `y`, `width`, `height` of the box; of the mask `centroid_x` and
    `centroid_y` (pixels as in the box: the middle of the first pixel is 0.5), `area`, `perimeter`,
    `eccentricity`, `major_axis`, `minor_axis` and `solidity`; of the image's pixels under it `mean_1` and
    `deviation_1` of the first channel and so on, 0 to 255. Those of an empty mask are None.

    Args:
        scale: micrometres per pixel, for further columns such as `area_um2`.
        pixels: of the image, for the channels' columns; None: those that `found` has, and without any these
            columns are left out.

    Raises:
        UserError: scikit-image is not installed, or a scale that nothing can have.
    """
    demand_scikit_image()
    check_scale(scale)
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
            values |= _scaled(values, float(scale))
        rows.append(values)
    return rows


def check_scale(scale: float | None) -> None:
    """Refuse micrometres per pixel that are none, NaN too, or so many that areas overflow."""
    if scale is not None and not (isinstance(scale, Real) and 1e-9 <= scale <= 1e9):
        raise UserError(f"scale={scale!r:.40}: micrometres per pixel are from 1e-9 to 1e9")


def demand_scikit_image() -> None:
    """
    Raises:
        UserError: scikit-image is not installed.
    """
    if find_spec("skimage") is None:
        raise UserError("measuring objects needs scikit-image; pip install 'maskrcnn[table]'")


def _shape(x0: int, y0: int, bitmap: np.ndarray, pixels: RegionImage | None) -> dict[str, float | None]:
    from skimage.measure import regionprops_table

    height, width = bitmap.shape
    image = None if pixels is None else pixels.read(Window(x0, y0, width, height))
    channels = 0 if image is None else image.shape[2]
    names = [*CENTROID, *SHAPE.values()]
    names += [f"{what}_{n + 1}" for what in ("mean", "deviation") for n in range(channels)]
    if not bitmap.any():
        return dict.fromkeys(names)
    table = regionprops_table(bitmap.astype(np.uint8), properties=tuple(SHAPE))
    rows, columns = np.nonzero(bitmap)
    values = [x0 + float(columns.mean()) + 0.5, y0 + float(rows.mean()) + 0.5]
    values += [float(table[name][0]) for name in SHAPE]
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
