"""The COCO-like document that a reader of another tool's format fills; `read_document` makes the data set of it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import DataError
from maskrcnn.images.header import LARGEST, upright_size
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import relative_name
from maskrcnn.labels.problems import Problems
from maskrcnn.labels.readers.coco import read_document
from maskrcnn.labels.readers.coco_annotation import MEASURED
from maskrcnn.masks.rle import Rle


class Document:
    """Images, classes and objects as a COCO file has them, and what could not be taken over."""

    def __init__(self, source: Path, folder: Path) -> None:
        """
        Args:
            source: the file or folder that is read, for messages.
            folder: what the names of the images are relative to.
        """
        self.source = source
        self.folder = folder
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories: list[dict[str, Any]] = []
        self.problems = Problems(str(source))

    def add_image(self, file_name: str, image_id: int, size: tuple[Any, Any] | None = None) -> tuple[int, int]:
        """Add an image and return its height and width.

        Args:
            size: height and width as the format states them; None: read from the image.

        Raises:
            DataError: no such image, or one that is too large or outside the folder.
        """
        name = relative_name(file_name) if file_name else None
        if name is None:
            raise DataError(
                f"{self.source}: image {file_name!r} leaves the folder of the images; write its name relative to"
                f" {str(self.folder)!r}, without '..'"
            )
        path = self.folder / name
        refuse_leaving(self.folder, path)
        height, width = upright_size(path) if size is None else size
        sides = (whole(height), whole(width))
        if not all(0 < side <= LARGEST for side in sides) or sides[0] * sides[1] > LARGEST:
            raise DataError(
                f"{self.source}: image {file_name!r} has height {_short(height)} and width {_short(width)}; write"
                f" its real size, at most {LARGEST:,} pixels"
            )
        self.images.append({"id": image_id, "file_name": file_name, "height": sides[0], "width": sides[1]})
        return sides

    def add_classes(self, names: Sequence[str], ids: Sequence[Any] | None = None) -> dict[str, int]:
        """Add classes and return their ids: the format's own where they are different whole numbers, else from 1."""
        ids = own_ids(ids if ids is not None else [None] * len(names))
        self.categories += [{"id": number, "name": name} for number, name in zip(ids, names, strict=True)]
        return dict(zip(names, ids, strict=True))

    def add_object(
        self,
        image_id: int,
        category_id: int,
        record: str,
        *,
        box: Sequence[float] | None = None,
        rings: Sequence[np.ndarray] | None = None,
        rle: Rle | None = None,
        keypoints: np.ndarray | None = None,
        crowd: bool = False,
        area: Any = MEASURED,
    ) -> None:
        """Add an object.

        Args:
            record: names it in messages.
            box: xyxy; None: taken from the mask.
            rings: float64 (n, 2) outlines whose union is the mask; `rle`: the mask where it is not outlines.
            keypoints: (K, 3) continuous x, y, and visibility.
        """
        raw: dict[str, Any] = {"id": len(self.annotations) + 1, "image_id": image_id, "category_id": category_id}
        raw |= {"source": record, "iscrowd": int(crowd), "area": area, "bbox": MEASURED}
        if box is not None:
            x0, y0, x1, y1 = box
            raw["bbox"] = [x0, y0, x1 - x0, y1 - y0]
        if rings is not None:
            raw["segmentation"] = [ring.reshape(-1).tolist() for ring in rings]
        if rle is not None:
            raw["segmentation"] = rle
        if keypoints is not None:
            raw["keypoints"] = (keypoints - [0.5, 0.5, 0.0]).reshape(-1).tolist()  # COCO's are pixel indices
        self.annotations.append(raw)

    def read(self) -> FileDataset:
        """The data set, with our problems beside those of its records.

        Raises:
            DataError: as `read_document`; or there is no image, no class or no object.
        """
        lost = ", ".join(f"{count} x {kind}" for kind, count in self.problems.texts().items())
        if not self.images:
            raise DataError(f"{self.source}: empty data set, no labelled image ({lost or 'none at all'}); add some")
        if not self.annotations:
            raise DataError(
                f"{self.source}: no object is usable ({lost or 'there is none'}); label at least one object"
            )
        document = {"images": self.images, "annotations": self.annotations, "categories": self.categories}
        dataset = read_document(document, self.source, self.folder)
        dataset.problems.update(self.problems)
        return dataset


def refuse_leaving(folder: Path, path: Path) -> None:
    """Refuse a path that a symbolic link leads out of the folder.

    Raises:
        DataError: it does.
    """
    try:
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except (ValueError, OSError):  # a name that no file can have
        inside = True
    if not inside:
        raise DataError(f"{path}: a symbolic link out of {str(folder)!r}; put the file itself into the folder")


def own_ids(ids: Sequence[Any]) -> list[int]:
    """The ids themselves where they are different whole numbers, else 1, 2, ..."""
    if all(type(number) is int and abs(number) < 2**53 for number in ids) and len(set(ids)) == len(ids):
        return list(ids)
    return list(range(1, len(ids) + 1))


def number(value: Any) -> float:
    """A number of a JSON or XML file; NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def whole(value: Any) -> int:
    """A whole number of a JSON or XML file; -1 where it is none."""
    found = number(value)
    return int(found) if math.isfinite(found) and found == int(found) else -1


def points(values: Any) -> np.ndarray:
    """(n, 2) of a list of pairs; a pair that is none becomes NaN."""
    pairs = values if isinstance(values, list) else []
    rows = [
        [number(pair[0]), number(pair[1])] if isinstance(pair, list) and len(pair) == 2 else [math.nan, math.nan]
        for pair in pairs
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _short(value: Any) -> str:
    return f"{value!r:.40}" if not isinstance(value, int) else f"{value}" if abs(value) < 10**20 else "beyond measure"
