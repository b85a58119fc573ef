"""A copy of a data set without what `maskrcnn check` calls an error, and with what can be put right put
right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from maskrcnn.check.kinds import CheckKind
from maskrcnn.check.labels import mask_fault
from maskrcnn.check.report import Report
from maskrcnn.errors import DataError
from maskrcnn.files import new_folder, refuse_filled
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.labels.writers.coco import write_coco_copies
from maskrcnn.masks.rle import rle_area, rle_box


@dataclass
class Fixed:
    """What was written, and how it differs from the original: a line for each kind of change, with its
    count.
    """

    written: list[Path] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)


def write_fixed(report: Report, folder: Path) -> Fixed:
    """A repaired copy: COCO JSON for each split beside a folder of its images, which are copied as they are.

    What was repaired on reading is in it; records and images that cannot be used are left out and counted;
    boxes and areas that contradict their mask are taken from the mask. The original is never touched.

    Raises:
        UserError: the folder is not empty, or a file.
        DataError: the labels cannot be read, or nothing is left of a split.
        OSError: the disk is full or may not be written to.
    """
    refuse_filled(folder)
    fixed = Fixed()
    if not report.datasets:
        raise DataError(f"--fix: {next(iter(report.findings)).line}")
    parts = {
        split: _Repaired(data, report.unusable.get(split, set()), fixed)
        for split, data in report.datasets.items()
    }
    for split, part in parts.items():
        if not any(image.annotations for image in part):
            raise DataError(f"--fix: nothing usable is left of {split}; correct the errors by hand")
    for dataset in report.datasets.values():
        fixed.changes.update(dataset.problems.texts())
    for group in report.findings:
        if group.refused:
            fixed.changes[f"{group.text} left out"] += group.count
    with new_folder(folder) as unfinished:
        write_coco_copies(parts, unfinished)
    fixed.written += [folder / f"{split}.json" for split in parts]
    return fixed


class _Repaired(Subset):
    """The images of a data set that can be used, their labels put right."""

    def __init__(self, dataset: Dataset, unusable: set[int], fixed: Fixed) -> None:
        super().__init__(dataset, [index for index in range(len(dataset)) if index not in unusable])
        self._labels = FileDataset(_images(dataset, unusable, fixed), self.info)

    def image(self, index: int) -> LabelledImage:
        return self._labels.image(index)


def _images(dataset: Dataset, unusable: set[int], fixed: Fixed) -> Iterator[LabelledImage]:
    for index, image in enumerate(dataset):
        if index in unusable:
            fixed.changes["image that cannot be used left out"] += 1
            fixed.changes["object of such an image left out"] += len(image.annotations)
            continue
        for annotation in image.annotations:
            _mend(annotation, image, fixed)
        yield image


def _mend(annotation: Annotation, image: LabelledImage, fixed: Fixed) -> None:
    fault = mask_fault(annotation, image)
    rle = annotation_rle(annotation, image.height, image.width)
    if fault is None or rle is None:
        return
    if fault is CheckKind.EMPTY_MASK:
        annotation.polygons = annotation.rle = None
        fixed.changes["mask without a pixel left out, the box kept"] += 1
    elif fault is CheckKind.WRONG_AREA:
        annotation.area = float(rle_area(rle))
        fixed.changes["area taken from the mask"] += 1
    else:
        annotation.box = rle_box(rle)
        fixed.changes["box taken from the mask"] += 1
        _mend(annotation, image, fixed)  # its area may be wrong too
