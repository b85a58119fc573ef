"""The shape of most writers of labels: `convert data` and `predict --save` give images to it, one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.left_out import LeftOut


class FormatWriter:
    """Labels of one format in a folder.

    For each image come `begin`, `add` once or more, and `end`; at last `close`, whatever comes. Of an image
    that has not ended nothing needs to be there.
    """

    flat = False  # images have no folders in their names
    plain = False  # names of images are such as XML can hold
    with_images = True  # labels are of no use without the images beside them

    def __init__(
        self, folder: Path, left_out: LeftOut, *, tolerance: float = 0.0, drafts: bool = False
    ) -> None:
        """
        Args:
            folder: for the labels and images.
            left_out: is told what the format has no place for.
            tolerance: pixels that the outline of a mask may be off, for fewer points (`window_rings`).
            drafts: these are a model's proposals, for a person to correct.
        """
        self.folder, self.left_out, self.tolerance, self.drafts = folder, left_out, tolerance, drafts
        self.split, self.name = "", ""
        self.image = LabelledImage(0, "", None, 1, 1)
        self.info = DatasetInfo("", [], [])

    def image_folder(self, split: str) -> Path:
        """Where the images of a split go."""
        return self.folder / split

    def own_file(self, split: str, name: str) -> Path | None:
        """The label file of an image called `name`; None: files are of many images."""
        return None

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        """The next image.

        Args:
            split: "train", "val", "test", or "" where there are none.
            name: of its file in `image_folder`.
            image: its annotations are not looked at; they come with `add`.
            info: of its data set.
        """
        self.split, self.name, self.image, self.info = split, name, image, info

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        """Objects of the image.

        Args:
            scores: of each, where a model found them.
        """
        raise NotImplementedError

    def end(self) -> None:
        """The image has no more objects."""

    def leave_out(self) -> None:
        """The image that has begun does not end: what is written of it already is taken away."""

    def close(self) -> None:
        """There are no more images."""

    def class_name(self, annotation: Annotation) -> str:
        return self.info.classes[annotation.label]


class ShapesWriter(FormatWriter):
    """A format whose objects are shapes of an image, several of which may be one object."""

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        super().begin(split, name, image, info)
        self.shapes: list[Any] = []
        self.number = 0  # of the object, from 1

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        for annotation in annotations:
            self.number += 1
            if not self.left_out.is_crowd(annotation):
                self.left_out.note_keypoints(annotation)
                self.shapes += self.shapes_of(annotation)

    def shapes_of(self, annotation: Annotation) -> Sequence[Any]:
        """The shapes of an object."""
        raise NotImplementedError
