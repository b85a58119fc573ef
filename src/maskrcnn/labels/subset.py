"""Some of a data set's images as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.types import Dataset, LabelledImage


class Subset(Dataset):
    """The images of a data set at some indices, in their order."""

    def __init__(self, dataset: Dataset, indices: Sequence[int], name: str | None = None) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)  # not a list, which would be copied into every worker
        problems = dataset.problems.copy()
        self.info = replace(dataset.info, name=dataset.name if name is None else name, problems=problems)

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`.

        Raises:
            IndexError: `index` is not in 0 .. len - 1.
        """
        return self.dataset.image(self._place(index))

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image at `index`."""
        return self.dataset.size(self._place(index))

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
    """The images with an object, and a line on how many have none; `problems` counts these too.

    Raises:
        DataError: none has an object.
    """
    kept: list[int] = []
    empty: list[str] = []
    for image in dataset:
        if image.annotations:
            kept.append(len(kept) + len(empty))
        else:
            empty.append(image.file_name)
    if not empty:
        return dataset, []
    if not kept:
        raise RecordError(dataset.name, "data.empty=drop leaves no image", "label some objects")
    found = Subset(dataset, kept)
    kind = ProblemKind.IMAGE_WITHOUT_OBJECT
    found.problems.note(kind, repr(empty[0]), empty[0], len(empty))
    return found, [f"{dataset.name}: {kind.text}: {len(empty)}; {kind.remedy}"]
