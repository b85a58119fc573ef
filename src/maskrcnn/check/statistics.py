"""What is in a data set, in figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from maskrcnn.labels.types import Dataset

SHARES = (5, 25, 50, 75, 95)  # percentiles
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
    classes: dict[str, int] = field(default_factory=dict)  # objects of each, in the order of the labels
    sizes: dict[str, int] = field(default_factory=dict)  # small, medium, large by COCO's bounds
    sides: list[float] = field(default_factory=list)  # percentiles of sqrt(box area), pixels
    ratios: list[float] = field(default_factory=list)  # percentiles of height / width
    short_sides: list[float] = field(default_factory=list)  # percentiles over images
    long_sides: list[float] = field(default_factory=list)
    per_image: list[float] = field(default_factory=list)  # percentiles of objects in an image
    most_in_image: int = 0
    visible: dict[str, float] = field(default_factory=dict)  # share of objects with keypoints that have this one
    all_sides: np.ndarray = field(default_factory=lambda: np.zeros(0))  # of every object, for plots and advice

    def as_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["all_sides"]
        return values


def describe(dataset: Dataset) -> Statistics:
    """Counts and sizes of a split, from its labels alone."""
    stats = Statistics(dataset.name, classes=dict.fromkeys(dataset.classes, 0))
    sides: list[float] = []
    ratios: list[float] = []
    counts: list[int] = []
    shapes: list[tuple[int, int]] = []
    sizes: Counter[str] = Counter(small=0, medium=0, large=0)
    visible = np.zeros(len(dataset.keypoints.names) if dataset.keypoints else 0)
    for index in range(len(dataset)):
        image = dataset.image(index)
        shapes.append((image.height, image.width))
        objects = [a for a in image.annotations if not a.crowd]
        stats.crowds += len(image.annotations) - len(objects)
        counts.append(len(objects))
        for annotation in objects:
            x0, y0, x1, y1 = annotation.box
            sides.append(((x1 - x0) * (y1 - y0)) ** 0.5)
            ratios.append((y1 - y0) / max(x1 - x0, 1e-6))
            stats.classes[dataset.classes[annotation.label]] += 1
            sizes["small" if annotation.area < SMALL else "large" if annotation.area >= LARGE else "medium"] += 1
            stats.with_mask += bool(annotation.polygons) or annotation.rle is not None
            if annotation.keypoints is not None and (annotation.keypoints[:, 2] > 0).any():
                stats.with_keypoints += 1
                visible += annotation.keypoints[:, 2] > 0
    stats.images, stats.objects = len(shapes), len(sides)
    stats.empty, stats.most_in_image = counts.count(0), max(counts, default=0)
    stats.sizes = dict(sizes)
    stats.all_sides = np.array(sides)
    stats.sides, stats.ratios, stats.per_image = _shares(sides), _shares(ratios), _shares(counts)
    stats.short_sides = _shares([min(shape) for shape in shapes])
    stats.long_sides = _shares([max(shape) for shape in shapes])
    if dataset.keypoints and stats.with_keypoints:
        stats.visible = dict(
            zip(dataset.keypoints.names, (visible / stats.with_keypoints).round(4).tolist(), strict=True)
        )
    return stats


def _shares(values: list[float] | list[int]) -> list[float]:
    return [round(float(v), 3) for v in np.percentile(values, SHARES)] if values else []
