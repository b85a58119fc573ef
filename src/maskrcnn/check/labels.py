"""Labels that can be read and are wrong all the same, or that a training will suffer from."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

from maskrcnn.check.findings import Findings, Severity, Suspect
from maskrcnn.check.statistics import Statistics
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.builder import box_iou
from maskrcnn.labels.problems import ProblemKind, Refused
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.masks.rle import rle_area, rle_box

LOOSE = 2.0  # pixels by which a mask may leave its box
AREA_FACTOR = 1.5  # by which a stated area may differ from the mask's
SAME = 0.95  # IoU above which two objects of one class are one labelled twice
IMBALANCE = 100  # times as many objects as the rarest class
WRONG = (ProblemKind.SWAPPED_BOX,)  # problems that say that all of the labels may be wrong
FEW = 10  # objects of a class that no training can learn from


def check_labels(dataset: Dataset, split: str, findings: Findings) -> None:
    """Looks at every annotation of a split; the images are not opened."""
    _add_problems(dataset, split, findings)
    for index in range(len(dataset)):
        image = dataset.image(index)
        for annotation in image.annotations:
            record = f"annotation {annotation.id} of image {image.file_name!r}"
            fault = mask_fault(annotation, image)
            if fault is not None:
                severity: Severity = "error" if fault is Fault.SWAPPED else "warning"
                suspect = Suspect(split, index, record, annotation.box)
                findings.add(fault.value, severity, REMEDIES[fault], suspect)
        _check_duplicates(image, split, index, findings)


def add_refused(refused: Sequence[Refused], split: str, findings: Findings) -> None:
    """What the reader could not use, as errors."""
    for one in refused:
        problem = one.problem
        suspect = Suspect(split, None, problem.what or problem.record)
        findings.add(problem.kind.text, "error", problem.remedy, suspect, refused=True)


def _add_problems(dataset: Dataset, split: str, findings: Findings) -> None:
    """What the reader repaired or left out: of each kind the first record, with its image where it names one."""
    wanted = {problem.image for problem, _ in dataset.problems} - {None}
    names = (dataset.image(index).file_name for index in range(len(dataset) if wanted else 0))
    by_name = {name: index for index, name in enumerate(names) if name in wanted}
    for problem, count in dataset.problems:
        severity: Severity = "error" if problem.kind in WRONG else "warning"
        suspect = Suspect(split, by_name.get(problem.image or ""), problem.record)
        findings.add(problem.kind.text, severity, problem.remedy, suspect, count=count)


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
            remedy = (
                f"over {IMBALANCE} times rarer than the commonest: label more, or repeat it (data.repeat_threshold)"
            )
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


class Fault(Enum):
    """How a mask contradicts its box or area."""

    EMPTY = "mask without a pixel"
    SWAPPED = "box with x and y swapped"
    OUTSIDE = "mask that leaves its box"
    LOOSE = "box more than twice as large as its mask"
    AREA = "area that does not match the mask"


REMEDIES = {
    Fault.EMPTY: "label the object again",
    Fault.SWAPPED: "write x before y, width before height",
    Fault.OUTSIDE: "take the box from the mask",
    Fault.LOOSE: "take the box from the mask",
    Fault.AREA: "COCO sorts objects into small, medium and large by it: write the mask's pixels",
}


def mask_fault(annotation: Annotation, image: LabelledImage) -> Fault | None:
    """What is wrong with the mask against its box and its stated area, the worst if there are several."""
    x0, y0, x1, y1 = annotation.box
    rle = annotation_rle(annotation, image.height, image.width)
    if rle is None:
        return None
    area = rle_area(rle)
    if area == 0:
        return Fault.EMPTY
    found = rle_box(rle)
    overlap = box_iou(found, annotation.box)
    if overlap < 0.2 and box_iou(found, (y0, x0, y1, x1)) > 0.5:
        return Fault.SWAPPED
    if max(x0 - found[0], y0 - found[1], found[2] - x1, found[3] - y1) > LOOSE:
        return Fault.OUTSIDE
    if overlap < 0.5:
        return Fault.LOOSE
    if not annotation.crowd and not area / AREA_FACTOR <= annotation.area <= area * AREA_FACTOR:
        return Fault.AREA
    return None


def _check_duplicates(image: LabelledImage, split: str, index: int, findings: Findings) -> None:
    """Objects of one class whose boxes are nearly the same."""
    boxes = np.array([a.box for a in image.annotations], np.float64).reshape(-1, 4)
    labels = np.array([a.label for a in image.annotations])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    order = np.argsort(areas)  # two boxes can only be the same when their areas are: neighbours in this order
    for step in range(1, len(boxes)):
        a, b = order[:-step], order[step:]
        near = areas[a] > SAME * areas[b]
        if not near.any():
            return
        a, b = a[near], b[near]
        both = (np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2])).clip(min=0).prod(1)
        twice = (both > SAME * (areas[a] + areas[b] - both)) & (labels[a] == labels[b])
        for i, j in zip(a[twice].tolist(), b[twice].tolist(), strict=True):
            first, second = image.annotations[min(i, j)], image.annotations[max(i, j)]
            record = f"annotations {first.id} and {second.id} of image {image.file_name!r}"
            suspect = Suspect(split, index, record, first.box)
            findings.add("object labelled twice", "warning", "delete one of the two", suspect)
