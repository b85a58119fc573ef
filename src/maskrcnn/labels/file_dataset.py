"""Labelled images that were read from files: what every reader returns."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from maskrcnn.labels.image_files import labelled_pixels
from maskrcnn.labels.packed import PackedLabels, pack
from maskrcnn.labels.types import Dataset, DatasetInfo, LabelledImage


class FileDataset(Dataset):
    """Image files and their labels, which lie packed in a few arrays."""

    def __init__(self, images: Iterable[LabelledImage] | PackedLabels, info: DatasetInfo) -> None:
        """
        Args:
            images: in the order of their index; consumed once. Or packed already.
        """
        self.info = info
        self.packed = images if isinstance(images, PackedLabels) else pack(images)

    def __len__(self) -> int:
        return len(self.packed)

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`: a fresh copy that the caller may change.

        Raises:
            IndexError: `index` is not in 0 .. len - 1.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in {self.name}")
        return self.packed.image(index)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image at `index`, without its labels."""
        height, width = self.packed.sizes[index].tolist()
        return height, width

    def pixels(self, index: int) -> np.ndarray:
        """The image at `index`, upright, as uint8 RGB (H, W, 3).

        Raises:
            DataError: the file is unreadable, or not of the size that its labels are for.
        """
        return labelled_pixels(self.image(index))
