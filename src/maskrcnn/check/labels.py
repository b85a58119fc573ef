"""Labels that can be read and are wrong all the same, or that a training will suffer from."""

from __future__ import annotations

import numpy as np

from maskrcnn.check.findings import Finding, Findings
from maskrcnn.check.kinds import FEW, IMBALANCE, CheckKind
from maskrcnn.check.statistics import Statistics
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.match_classes import takes_nameless
from maskrcnn.labels.shapes import box_iou, fits_swapped
from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.rle import rle_area, rle_box
from maskrcnn.shell import counted

LOOSE = 2.0  # pixels by which a mask may leave its box
AREA_FACTOR = 1.5  # by which a stated area may differ from the mask's
SAME = 0.95  # IoU above which two objects of one class are one labelled twice


def check_annotations(image: LabelledImage, index: int, split: str, findings: Findings) -> None:
    """Looks at every annotation of the image at `index`; its file is not opened."""
    for annotation in image.annotations:
        kind = mask_fault(annotation, image)
        if kind is not None:
            record = f"annotation {annotation.id} of image {image.file_name!r}"
            findings.add(Finding(kind, split, record, index, annotation.box))
    for first, second in _same_objects(image):
        record = f"annotations {first.id} and {second.id} of image {image.file_name!r}"
        findings.add(Finding(CheckKind.DUPLICATE_OBJECT, split, record, index, first.box))


def check_classes(statistics: dict[str, Statistics], findings: Findings) -> None:
    """Classes that are rare, unused or not in the train split."""
    train = statistics["train"]
    most = max(train.classes.values(), default=0)
    for name, count in train.classes.items():
        kind = (
            CheckKind.UNUSED_CLASS
            if not count
            else CheckKind.SMALL_CLASS
            if count < FEW
            else CheckKind.RARE_CLASS
            if most > IMBALANCE * count
            else None
        )
        if kind is not None:
            findings.add(Finding(kind, "train", f"class {name!r}", 0))
    for split, stats in statistics.items():
        if stats.crowds > stats.objects > 0:
            record = f"{counted(stats.crowds, 'region')} and {counted(stats.objects, 'object')}"
            findings.add(Finding(CheckKind.MOSTLY_CROWDS, split, record, 0))
        for name, count in stats.classes.items():
            if name not in train.classes:
                kind = CheckKind.CLASS_OF_VAL_ALONE if count else CheckKind.UNKNOWN_UNUSED_CLASS
                findings.add(Finding(kind, split, f"class {name!r}", 0))


def check_known(stats: Statistics, classes: list[str], split: str, findings: Findings) -> None:
    """Classes that objects have and that are not of the `classes` that a recipe names; if none, all are."""
    if not classes or takes_nameless(list(stats.classes), classes):
        return
    for name, count in stats.classes.items():
        if count and name not in classes:
            findings.add(Finding(CheckKind.NOT_OF_RECIPE, split, f"class {name!r}", 0))


def mask_fault(annotation: Annotation, image: LabelledImage) -> CheckKind | None:
    """What is wrong with the mask against its box and its stated area, the worst if there are several."""
    x0, y0, x1, y1 = annotation.box
    rle = annotation_rle(annotation, image.height, image.width)
    if rle is None:
        return None
    area = rle_area(rle)
    if area == 0:
        return CheckKind.EMPTY_MASK
    found = rle_box(rle)
    if fits_swapped(found, annotation.box):
        return CheckKind.SWAPPED_BOX
    if max(x0 - found[0], y0 - found[1], found[2] - x1, found[3] - y1) > LOOSE:
        return CheckKind.MASK_LEAVES_BOX
    if box_iou(found, annotation.box) < 0.5:
        return CheckKind.LOOSE_BOX
    if not annotation.crowd and not area / AREA_FACTOR <= annotation.area <= area * AREA_FACTOR:
        return CheckKind.WRONG_AREA
    return None


def _same_objects(image: LabelledImage) -> list[tuple[Annotation, Annotation]]:
    """Pairs of objects of one class whose boxes are nearly the same."""
    boxes = np.array([a.box for a in image.annotations], np.float64).reshape(-1, 4)
    labels = np.array([a.label for a in image.annotations])
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    order = np.argsort(areas)  # two boxes can only be the same when their areas are: neighbours in this order
    pairs: list[tuple[Annotation, Annotation]] = []
    for step in range(1, len(boxes)):
        a, b = order[:-step], order[step:]
        near = areas[a] > SAME * areas[b]
        if not near.any():
            break
        a, b = a[near], b[near]
        both = (
            (np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2]))
            .clip(min=0)
            .prod(1)
        )
        twice = (both > SAME * (areas[a] + areas[b] - both)) & (labels[a] == labels[b])
        for i, j in zip(a[twice].tolist(), b[twice].tolist(), strict=True):
            pairs.append((image.annotations[min(i, j)], image.annotations[max(i, j)]))
    return pairs
