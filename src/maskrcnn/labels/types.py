"""Labelled images in memory: the one form every reader under `readers/` produces and everything else
consumes.

Boxes are xyxy in the pixels of the upright image, continuous and half-open. A class is an index into
`classes` here and nowhere else; `class_ids` are the ids of the user's own file, which come back in what we
write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import RecordError
from maskrcnn.images.read import ValueRange
from maskrcnn.labels.problems import Problems
from maskrcnn.masks.rle import Rle

ANY_CLASS = -1  # label of a crowd region of no class: whatever is found there does not count
DEFAULT_CLASS = "object"  # what objects are called where the labels have no names of classes


@dataclass
class Annotation:
    """One labelled object."""

    box: tuple[float, float, float, float]  # xyxy
    label: int  # index into the dataset's classes, or ANY_CLASS
    polygons: list[np.ndarray] | None = None  # float64 (n, 2) rings of x, y; their union is the mask
    rle: Rle | None = None  # the mask where it is not polygons; at most one of the two is set
    keypoints: np.ndarray | None = None  # (K, 3) float64: x, y, visibility
    crowd: bool = False
    area: float = 0.0  # of the mask where there is one, as the file states it or as we measured it
    id: int = 0  # in the user's file

    @property
    def has_mask(self) -> bool:
        return bool(self.polygons) or self.rle is not None


def of_each_class(annotations: list[Annotation], classes: int) -> list[Annotation]:
    """The annotations, where a region of ANY_CLASS is one of each class: COCO has no other way to say it."""
    return [
        annotation if label is None else replace(annotation, label=label)
        for annotation in annotations
        for label in ([None] if annotation.label != ANY_CLASS else range(classes))
    ]


@dataclass
class LabelledImage:
    """One image's labels. `image_id` is the user's."""

    image_id: int | str
    file_name: str  # as the user's file has it
    path: Path | None  # where it is; None for an image that is generated
    height: int
    width: int
    annotations: list[Annotation] = field(default_factory=list)
    # where not every class was looked for (LVIS), both as labels
    not_exhaustive: list[int] = field(default_factory=list)  # some of whose objects are not labelled here
    negative: list[int] | None = None  # looked for and not here; None: every class that has no annotation

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def has_masks(self) -> bool:
        """Whether any object has one."""
        return any(annotation.has_mask for annotation in self.annotations)


@dataclass(frozen=True)
class DatasetInfo:
    """What holds for a whole data set."""

    name: str  # where it came from, for messages
    classes: list[str]
    class_ids: list[int]  # the user's ids, beside `classes`
    keypoints: KeypointSchema | None = None
    problems: Problems = field(default_factory=Problems)  # what was repaired or left out on the way
    value_range: ValueRange | None = None  # that the images are read with, as `read_image` takes it


class Dataset(Protocol):
    """A set of labelled images. Data sets derive from it; one that wraps another passes its `info` on."""

    info: DatasetInfo

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def classes(self) -> list[str]:
        return self.info.classes

    @property
    def class_ids(self) -> list[int]:
        return self.info.class_ids

    @property
    def keypoints(self) -> KeypointSchema | None:
        return self.info.keypoints

    @property
    def problems(self) -> Problems:
        return self.info.problems

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[LabelledImage]:
        """The labels of all images in their order."""
        return (self.image(index) for index in range(len(self)))

    @property
    def has_masks(self) -> bool:
        """Whether any object has one; looked for anew each time."""
        return any(image.has_masks for image in self)

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image at `index`; cheap where it is known without the labels."""
        return self.image(index).size

    def pixels(self, index: int) -> np.ndarray:
        """The image at `index`, upright, as uint8 (H, W, C): RGB unless it was opened with other channels."""
        ...


def refuse_unfit(image: LabelledImage, classes: int) -> None:
    """See to an image's labels, as a data set of a person's own gives them; the readers' are right.

    Raises:
        RecordError: a box that is none, lies outside of the image or is of no class; names the object.
    """
    for place, annotation in enumerate(image.annotations):
        box, label = annotation.box, annotation.label
        what = remedy = ""
        if not (label in range(classes) or (label == ANY_CLASS and annotation.crowd)):
            what, remedy = f"label {label!r} is no index into the {classes} classes", "give one, from 0"
        elif len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):  # so that NaN is none too
            what, remedy = f"box {tuple(box)} is not a box", "give x1, y1, x2, y2 with x1 < x2 and y1 < y2"
        elif not (box[0] < image.width and box[1] < image.height and box[2] > 0 and box[3] > 0):
            what = f"box {tuple(box)} is outside of the image, {image.width} x {image.height}"
            remedy = "give pixels, x1, y1, x2, y2"
        if what:
            raise RecordError(image.file_name, what, remedy, f"annotation {place}:")
