"""What is in a data set, in figures."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from maskrcnn.labels.shapes import box_iou
from maskrcnn.labels.types import Annotation, Dataset, DatasetInfo, LabelledImage
from maskrcnn.masks.rle import mask_box

SHARES = (5, 25, 50, 75, 95)  # percentiles
FITS = 0.8  # IoU of a box and the one around its mask: a pixel more or less is much for small ones
SMALL, LARGE = 32.0**2, 96.0**2  # COCO's bounds between small, medium and large, in pixels of area


@dataclass
class Statistics:
    """One split. Percentiles are of 5, 25, 50, 75 and 95%."""

    name: str
    images: int = 0
    empty: int = 0  # images with no object; crowd regions are none
    objects: int = 0
    crowds: int = 0
    with_mask: int = 0
    with_keypoints: int = 0
    loose: int = 0  # objects whose box is not the one around their mask
    classes: dict[str, int] = field(default_factory=dict)  # objects of each, in the order of the labels
    sizes: dict[str, int] = field(default_factory=dict)  # small, medium, large by COCO's bounds
    sides: list[float] = field(default_factory=list)  # percentiles of sqrt(box area), pixels
    ratios: list[float] = field(default_factory=list)  # percentiles of height / width
    short_sides: list[float] = field(default_factory=list)  # percentiles over images
    long_sides: list[float] = field(default_factory=list)
    per_image: list[float] = field(default_factory=list)  # percentiles of objects in an image
    most_in_image: int = 0
    # share of objects with keypoints that have this one
    visible: dict[str, float] = field(default_factory=dict)
    # of every image and object, for plots and advice
    # (N, 2) height, width
    image_sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (N,) objects in each image
    # (A, 2) width, height, image by image
    box_sizes: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def all_sides(self) -> np.ndarray:
        """(A,) square root of the area of every object's box, pixels."""
        sides: np.ndarray = self.box_sizes.prod(1) ** 0.5
        return sides

    def as_json(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}


class StatisticsCounter:
    """Goes through the images of a split one at a time; of each object only the sides of its box are kept."""

    def __init__(self, info: DatasetInfo) -> None:
        self.info = info
        self._found = Statistics(info.name, classes=dict.fromkeys(info.classes, 0))
        self._image_sizes, self._counts, self._box_sizes = array("q"), array("q"), array("d")
        self._sizes: Counter[str] = Counter(small=0, medium=0, large=0)
        self._visible = np.zeros(len(info.keypoints.names) if info.keypoints else 0)

    def add(self, image: LabelledImage) -> None:
        """Count one image."""
        objects = [annotation for annotation in image.annotations if not annotation.crowd]
        self._image_sizes.extend((image.height, image.width))
        self._counts.append(len(objects))
        self._found.crowds += len(image.annotations) - len(objects)
        for annotation in objects:
            self._add_object(annotation)

    def _add_object(self, annotation: Annotation) -> None:
        found = self._found
        x0, y0, x1, y1 = annotation.box
        self._box_sizes.extend((x1 - x0, y1 - y0))
        found.classes[self.info.classes[annotation.label]] += 1
        self._sizes[
            "small" if annotation.area < SMALL else "large" if annotation.area >= LARGE else "medium"
        ] += 1
        found.with_mask += annotation.has_mask
        around = mask_box(annotation.polygons, annotation.rle)
        if around is not None and box_iou(around, annotation.box) < FITS:
            found.loose += 1
        if annotation.keypoints is not None and (annotation.keypoints[:, 2] > 0).any():
            found.with_keypoints += 1
            self._visible += annotation.keypoints[:, 2] > 0

    def statistics(self) -> Statistics:
        """What was counted; nothing can be added after it."""
        found = self._found
        found.image_sizes = np.array(self._image_sizes, np.int64).reshape(-1, 2)
        found.counts = np.array(self._counts, np.int64)
        found.box_sizes = np.array(self._box_sizes, np.float64).reshape(-1, 2)
        found.images, found.objects = len(found.counts), len(found.box_sizes)
        found.empty, found.most_in_image = int((found.counts == 0).sum()), int(max(found.counts, default=0))
        found.sizes = dict(self._sizes)
        width, height = found.box_sizes.T
        found.sides, found.ratios = _shares(found.all_sides), _shares(height / np.maximum(width, 1e-6))
        found.per_image = _shares(found.counts)
        found.short_sides, found.long_sides = (
            _shares(found.image_sizes.min(1)),
            _shares(found.image_sizes.max(1)),
        )
        if self.info.keypoints and found.with_keypoints:
            shares = (self._visible / found.with_keypoints).round(4).tolist()
            found.visible = dict(zip(self.info.keypoints.names, shares, strict=True))
        return found


def describe(dataset: Dataset) -> Statistics:
    """Counts and sizes of a split, from its labels alone."""
    counter = StatisticsCounter(dataset.info)
    for image in dataset:
        counter.add(image)
    return counter.statistics()


def figures(stats: list[Statistics]) -> list[list[str]]:
    """Rows of a table: a name and one value for each split."""

    def spread(values: list[float]) -> str:
        return f"{_digits(values[2])} ({_digits(values[0])} to {_digits(values[4])})" if values else "-"

    rows: list[tuple[str, list[Any]]] = [
        ("images", [s.images for s in stats]),
        ("without an object", [f"{s.empty} ({100 * s.empty / max(s.images, 1):.0f}%)" for s in stats]),
        ("objects", [s.objects for s in stats]),
        ("with a mask", [s.with_mask for s in stats]),
        ("with keypoints", [s.with_keypoints for s in stats]),
        ("crowd regions", [s.crowds for s in stats]),
        ("small, medium, large", [", ".join(str(n) for n in s.sizes.values()) for s in stats]),
        ("objects in an image, median (5 to 95%)", [spread(s.per_image) for s in stats]),
        ("most objects in an image", [s.most_in_image for s in stats]),
        ("side of an object, pixels", [spread(s.sides) for s in stats]),
        ("height / width of an object", [spread(s.ratios) for s in stats]),
        ("short side of an image", [spread(s.short_sides) for s in stats]),
        ("long side of an image", [spread(s.long_sides) for s in stats]),
    ]
    return [[name, *map(str, values)] for name, values in rows]


def _shares(values: np.ndarray) -> list[float]:
    return [round(float(v), 3) for v in np.percentile(values, SHARES)] if len(values) else []


def _digits(value: float) -> str:
    """Three digits of a measure, as many as anybody reads."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
