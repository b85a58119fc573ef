"""Labelled images that were read from files: what every reader under `formats/` returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import DataError
from maskrcnn.images.read import read_image
from maskrcnn.labels.image_files import size_disagreement
from maskrcnn.labels.packed import PackedLabels, pack
from maskrcnn.labels.types import LabelledImage


class FileDataset:
    """A `Dataset` of image files and their labels, which lie packed in a few arrays."""

    def __init__(
        self,
        images: Iterable[LabelledImage] | PackedLabels,
        *,
        name: str,
        classes: list[str],
        class_ids: list[int],
        keypoints: KeypointSchema | None = None,
        repairs: Counter[str] | None = None,
        warnings: list[str] | None = None,
    ) -> None:
        """
        Args:
            images: in the order of their index; consumed once. Or packed already.
            name: where the labels came from, for messages.
            classes: names; an annotation's label is an index into them.
            class_ids: the ids of the user's file, beside `classes`.
            keypoints: what the keypoints are, or None where the labels have none.
            repairs: what was repaired on reading, and how often.
            warnings: one line for each kind of repair.
        """
        self.name = name
        self.classes = classes
        self.class_ids = class_ids
        self.keypoints = keypoints
        self.repairs: Counter[str] = Counter() if repairs is None else repairs
        self.warnings: list[str] = [] if warnings is None else warnings
        self.packed = images if isinstance(images, PackedLabels) else pack(images)

    def __len__(self) -> int:
        return len(self.packed)

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self.image(index) for index in range(len(self)))

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`: a fresh copy that the caller may change.

        Raises:
            IndexError: `index` is not in 0 .. len - 1.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in {self.name}")
        return self.packed.image(index)

    def pixels(self, index: int) -> np.ndarray:
        """The image at `index`, upright, as uint8 RGB (H, W, 3).

        Raises:
            DataError: the file is unreadable, or not of the size that its labels are for.
        """
        image = self.image(index)
        assert image.path is not None, "a reader always says where the image is"
        pixels = read_image(image.path)
        wrong = size_disagreement(image, pixels.shape[0], pixels.shape[1])
        if wrong:
            raise DataError(wrong)
        return pixels
