"""Some of a data set's images as a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from maskrcnn.errors import DataError
from maskrcnn.labels.types import Dataset, LabelledImage

LEFT_OUT = "image without an object left out"


class Subset:
    """The images of a data set at some indices, in their order; a `Dataset`."""

    def __init__(self, dataset: Dataset, indices: Sequence[int], name: str | None = None) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)  # not a list, which would be copied into every worker
        self.name = dataset.name if name is None else name
        self.classes, self.class_ids, self.keypoints = dataset.classes, dataset.class_ids, dataset.keypoints
        self.repairs: Counter[str] = Counter(dataset.repairs)
        self.warnings = list(dataset.warnings)

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`.

        Raises:
            IndexError: `index` is not in 0 .. len - 1.
        """
        return self.dataset.image(self._place(index))

    def pixels(self, index: int) -> np.ndarray:
        """The image at `index`, upright, as uint8 RGB (H, W, 3).

        Raises:
            DataError: it cannot be read.
        """
        return self.dataset.pixels(self._place(index))

    def _place(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in {self.name}")
        return int(self.indices[index])


def without_empty(dataset: Dataset) -> tuple[Dataset, list[str]]:
    """The images with an object, and a line on how many have none; `repairs` counts these too.

    Raises:
        DataError: none has an object.
    """
    kept = [index for index in range(len(dataset)) if dataset.image(index).annotations]
    count = len(dataset) - len(kept)
    if not count:
        return dataset, []
    if not kept:
        raise DataError(f"{dataset.name}: data.empty=drop leaves no image; label some objects")
    found = Subset(dataset, kept)
    found.repairs[LEFT_OUT] += count
    return found, [f"{dataset.name}: {LEFT_OUT}: {count}; data.empty=keep would learn from them as negatives"]
