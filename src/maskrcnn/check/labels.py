"""Labels that can be read and are wrong all the same, or that a training will suffer from."""

from __future__ import annotations

import numpy as np

from maskrcnn.check.findings import Findings, Suspect
from maskrcnn.check.statistics import Statistics
from maskrcnn.data.dataset import Annotation, Dataset, Picture
from maskrcnn.data.masks import annotation_rle, rle_area, rle_box

LOOSE = 2.0  # pixels by which a mask may leave its box
AREA_FACTOR = 1.5  # by which a stated area may differ from the mask's
SAME = 0.95  # IoU above which two objects of one class are one labelled twice
IMBALANCE = 100  # times as many objects as the rarest class
FEW = 10  # objects of a class that no training can learn from


def check_labels(dataset: Dataset, split: str, findings: Findings) -> None:
    """Looks at every annotation of a split; the pictures are not opened."""
    for warning in dataset.warnings:
        kind = warning.removeprefix(f"{dataset.name}: ")
        count = next((n for name, n in dataset.repairs.items() if kind.startswith(name)), 1)
        what, _, remedy = kind.rpartition("; ")
        findings.add(what.partition(":")[0] or kind, "warning", remedy, count=count)
    for index in range(len(dataset)):
        picture = dataset.picture(index)
        for annotation in picture.annotations:
            record = f"annotation {annotation.id} of picture {picture.file_name!r}"
            _check_mask(annotation, picture, Suspect(split, index, record, annotation.box), findings)
        _check_duplicates(picture, split, index, findings)


def check_classes(train: Statistics, val: Statistics | None, findings: Findings) -> None:
    """Classes that are rare, unused or in one split only."""
    used = {name: count for name, count in train.classes.items() if count}
    for name, count in train.classes.items():
        where = Suspect("train", 0, f"class {name!r}")
        if not count:
            findings.add("class without an object", "warning", "label some, or remove the class", where)
        elif count < FEW:
            findings.add(
                f"class of fewer than {FEW} objects", "warning", "label more of it, or join it to another", where
            )
        elif max(used.values()) > IMBALANCE * count:
            remedy = f"over {IMBALANCE} times rarer than the commonest: label more of it, or repeat its pictures"
            findings.add("rare class", "warning", remedy, where)
    if val is not None:
        for name in val.classes:
            if name not in train.classes:
                findings.add(
                    "class of the val split that is not in train",
                    "error",
                    "use the same classes in both, or it counts as never found",
                    Suspect("val", 0, f"class {name!r}"),
                )


def _check_mask(annotation: Annotation, picture: Picture, suspect: Suspect, findings: Findings) -> None:
    """The mask against its box and its stated area; boxes that only fit when x and y change places."""
    x0, y0, x1, y1 = annotation.box
    rle = annotation_rle(annotation, picture.height, picture.width)
    if rle is None:
        return
    area = rle_area(rle)
    if area == 0:
        findings.add("mask without a pixel", "warning", "label the object again", suspect)
        return
    found = rle_box(rle)
    turned = (y0, x0, y1, x1)
    if _iou(found, annotation.box) < 0.2 < 0.5 < _iou(found, turned):
        findings.add("box with x and y swapped", "error", "write x before y, width before height", suspect)
    elif max(x0 - found[0], y0 - found[1], found[2] - x1, found[3] - y1) > LOOSE:
        findings.add("mask that leaves its box", "warning", "take the box from the mask", suspect)
    elif _iou(found, annotation.box) < 0.5:
        findings.add("box more than twice as large as its mask", "warning", "take the box from the mask", suspect)
    if not annotation.crowd and not area / AREA_FACTOR <= annotation.area <= area * AREA_FACTOR:
        remedy = "COCO sorts objects into small, medium and large by it: write the mask's pixels"
        findings.add("area that does not match the mask", "warning", remedy, suspect)


def _check_duplicates(picture: Picture, split: str, index: int, findings: Findings) -> None:
    boxes = np.array([a.box for a in picture.annotations], np.float64).reshape(-1, 4)
    labels = np.array([a.label for a in picture.annotations])
    for i in range(len(boxes) - 1):
        rest = boxes[i + 1 :]
        inner = np.minimum(boxes[i, 2:], rest[:, 2:]) - np.maximum(boxes[i, :2], rest[:, :2])
        both = inner.clip(min=0).prod(1)
        total = (boxes[i, 2:] - boxes[i, :2]).prod() + (rest[:, 2:] - rest[:, :2]).prod(1) - both
        twice = np.flatnonzero((both > SAME * total) & (labels[i + 1 :] == labels[i]))
        if len(twice):
            first, second = picture.annotations[i], picture.annotations[i + 1 + int(twice[0])]
            record = f"annotations {first.id} and {second.id} of picture {picture.file_name!r}"
            suspect = Suspect(split, index, record, first.box)
            findings.add("object labelled twice", "warning", "delete one of the two", suspect, len(twice))


def _iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / total if total > 0 else 0.0
