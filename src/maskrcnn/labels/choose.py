"""Labels as the settings want them: some of the classes, and crowd regions as what they are meant for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maskrcnn.config.data import DataConfig
from maskrcnn.errors import RecordError, UserError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.packed import FLAG_CROWD
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.types import ANY_CLASS, Annotation, Dataset, LabelledImage
from maskrcnn.shell import did_you_mean, first_of


def choose_labels(dataset: Dataset, settings: DataConfig, *, strict: bool = True) -> Dataset:
    """A data set as `data.classes`, `data.other_classes` and `data.crowds` say; itself where they say
    nothing.

    Its `problems` count the objects that are other than the labels say.

    Args:
        strict: refuse a name in `data.classes` that the labels do not have, and labels without an object of
            these classes; else they are passed over, as in the val split of a training.

    Raises:
        UserError: such a name, or no class is left.
        DataError: no object is left.
    """
    chosen = dataset
    if settings.crowds == "objects":
        chosen = Chosen(chosen, list(range(len(chosen.classes))), crowds_are_objects=True)
    if settings.classes:
        names = _known(dataset, settings.classes, strict)
        labels = [names.index(name) if name in names else None for name in dataset.classes]
        chosen = Chosen(chosen, labels, ignore=settings.other_classes == "ignore")
    if strict and chosen is not dataset and all(a.crowd for image in chosen for a in image.annotations):
        raise RecordError(
            dataset.name, f"no object is left by data.classes={settings.classes}", "choose others"
        )
    return chosen


def with_classes(dataset: Dataset, names: list[str]) -> Dataset:
    """The data set with the list of classes `names`, which has all of its own."""
    if dataset.classes == names:
        return dataset
    found = Chosen(dataset, [names.index(name) for name in dataset.classes])
    found.info = replace(found.info, classes=names, class_ids=list(range(1, len(names) + 1)))
    return found


def label_counts(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """How many objects and how many crowd regions each class has, both (classes,)."""
    if isinstance(dataset, FileDataset):
        labels, crowd = dataset.packed.labels, (dataset.packed.flags & FLAG_CROWD) > 0
    else:
        found = [a for image in dataset for a in image.annotations]
        labels = np.array([a.label for a in found], np.int64)
        crowd = np.array([a.crowd for a in found], bool)
    crowd_labels = labels[crowd & (labels != ANY_CLASS)]
    size = len(dataset.classes)
    return np.bincount(labels[~crowd], minlength=size), np.bincount(crowd_labels, minlength=size)


def refuse_only_crowds(dataset: Dataset) -> None:
    """Refuse labels without an object, of which a training would learn nothing.

    Raises:
        DataError: every label is a crowd region.
    """
    count = dataset.problems.counts[ProblemKind.ONLY_CROWDS]
    if count:
        kind = ProblemKind.ONLY_CROWDS
        raise RecordError(
            dataset.name, f"all {count} annotations have iscrowd 1, so there is no object", kind.remedy
        )


class Chosen(Dataset):
    """A data set with other labels for its classes."""

    def __init__(
        self,
        dataset: Dataset,
        labels: list[int | None],
        *,
        ignore: bool = False,
        crowds_are_objects: bool = False,
    ) -> None:
        """
        Args:
            labels: the new label of each class; None for one that is left out.
            ignore: objects of such classes become regions to ignore; else they are background.
            crowds_are_objects: no annotation is a crowd region.
        """
        self.dataset, self.labels, self.ignore = dataset, labels, ignore
        self.crowds_are_objects = crowds_are_objects
        old = sorted((new, old) for old, new in enumerate(labels) if new is not None)
        self.info = replace(
            dataset.info,
            classes=[dataset.classes[label] for _, label in old],
            class_ids=[dataset.class_ids[label] for _, label in old],
            problems=dataset.problems.copy(),
        )
        self._count()

    def __len__(self) -> int:
        return len(self.dataset)

    def image(self, index: int) -> LabelledImage:
        """The labels of an image, those that are left.

        Raises:
            IndexError: `index` is not in 0 .. len - 1.
        """
        image = self.dataset.image(index)
        image.annotations = [new for old in image.annotations if (new := self._annotation(old)) is not None]
        image.not_exhaustive = self._known(image.not_exhaustive)
        image.negative = None if image.negative is None else self._known(image.negative)
        return image

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image at `index`."""
        return self.dataset.size(index)

    def pixels(self, index: int) -> np.ndarray:
        """As the data set has them."""
        return self.dataset.pixels(index)

    def _annotation(self, annotation: Annotation) -> Annotation | None:
        crowd = annotation.crowd and not self.crowds_are_objects
        label = annotation.label if annotation.label == ANY_CLASS else self.labels[annotation.label]
        if label is not None:
            return replace(annotation, label=label, crowd=crowd)
        return replace(annotation, label=ANY_CLASS, crowd=True, keypoints=None) if self.ignore else None

    def _known(self, labels: list[int]) -> list[int]:
        return [new for label in labels if (new := self.labels[label]) is not None]

    def _count(self) -> None:
        """Note in `problems` what is other than the labels say."""
        objects, crowds = label_counts(self.dataset)
        if self.crowds_are_objects:
            for tally in (self.problems.counts, self.problems.first):
                tally.pop(ProblemKind.ONLY_CROWDS, None)
            if crowds.any():
                self.problems.note(ProblemKind.CROWD_AS_OBJECT, "in all", count=int(crowds.sum()))
        kind = ProblemKind.OTHER_CLASS_IGNORED if self.ignore else ProblemKind.OTHER_CLASS_BACKGROUND
        for label, new in enumerate(self.labels):
            if new is None and objects[label] + crowds[label]:
                record = f"class {self.dataset.classes[label]!r}"
                self.problems.note(kind, record, count=int(objects[label] + crowds[label]))


def _known(dataset: Dataset, names: list[str], strict: bool) -> list[str]:
    """Those of the names in `data.classes` that the labels have."""
    wrong = [name for name in names if name not in dataset.classes]
    if wrong and (strict or len(wrong) == len(names)):
        hint = did_you_mean(wrong[0], dataset.classes)
        known = first_of(dataset.classes, 10)
        raise UserError(f"data.classes: {wrong[0]!r} is not a class of {dataset.name} ({known}){hint}")
    return list(dict.fromkeys(name for name in names if name in dataset.classes))
