"""Objects that the anchors of the settings do not fit, at the size that the network sees them."""

from __future__ import annotations

import sys

import numpy as np

from maskrcnn.check.findings import MOST_RECORDS, Finding, Findings
from maskrcnn.check.kinds import CheckKind
from maskrcnn.check.statistics import Statistics
from maskrcnn.config.load import Config
from maskrcnn.images.view import resized_view
from maskrcnn.labels.types import Dataset
from maskrcnn.model.anchors import cell_anchors


def check_anchors(
    dataset: Dataset, stats: Statistics, config: Config, split: str, findings: Findings
) -> None:
    """Objects that no anchor overlaps well, as if one were centred on each: the best that any position can
    do.
    """
    rpn = config.model.rpn
    cells = [cell_anchors(list(sizes), list(rpn.ratios), False).numpy() for sizes in rpn.sizes]
    shapes = np.concatenate([cell[:, 2:] - cell[:, :2] for cell in cells])  # (A, 2) width and height
    boxes = np.maximum(stats.box_sizes * _scales(stats, config), 1e-6)
    smallest = min(min(sizes) for sizes in rpn.sizes)
    small = np.sqrt(boxes.prod(1)) < smallest / 2
    unmatched = ~small & (best_overlap(boxes, shapes) < rpn.negative_iou)
    for kind, which, remedy in (
        (
            CheckKind.BELOW_ANCHORS,
            small,
            f"of {smallest:g} pixels: train on larger images (model.input.short_side), or on tiles",
        ),
        (CheckKind.NO_ANCHOR, unmatched, f"IoU below {rpn.negative_iou}: change model.rpn.sizes or ratios"),
    ):
        found = np.flatnonzero(which)
        for number, position in enumerate(found[:MOST_RECORDS].tolist()):
            # the last one that is kept stands for the rest too
            count = 1 if number < MOST_RECORDS - 1 else len(found) - number
            findings.add(_finding(dataset, stats, position, kind, split, remedy), count)


def best_overlap(boxes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """(n,) the largest IoU of each box with any of the shapes, both given by width and height (n, 2), centres
    alike.
    """
    best = np.zeros(len(boxes))
    for shape in shapes:
        both = np.minimum(boxes, shape).prod(1)
        np.maximum(best, both / (boxes.prod(1) + shape.prod() - both), out=best)
    return best


def _scales(stats: Statistics, config: Config) -> np.ndarray:
    """(A, 2) the network's pixels per pixel of the image along x and y, of each object's image."""
    settings = config.model.input
    most = sys.maxsize if config.data.tiles is None else config.data.tiles.side  # a side that it sees at once
    sizes, which = np.unique(stats.image_sizes, axis=0, return_inverse=True)
    views = [
        resized_view(min(height, most), min(width, most), settings.short_side, settings.long_side)
        for height, width in sizes.tolist()
    ]
    return np.array([view.factor for view in views]).reshape(-1, 2)[np.repeat(which.ravel(), stats.counts)]


def _finding(
    dataset: Dataset, stats: Statistics, position: int, kind: CheckKind, split: str, remedy: str
) -> Finding:
    """Of the object at `position` of all that are no crowd."""
    ends = np.cumsum(stats.counts)
    index = int(np.searchsorted(ends, position, side="right"))
    image = dataset.image(index)
    objects = [annotation for annotation in image.annotations if not annotation.crowd]
    annotation = objects[position - int(ends[index])]  # counted from the end of the image's objects
    record = f"annotation {annotation.id} of image {image.file_name!r}"
    return Finding(kind, split, record, index, annotation.box, remedy)
