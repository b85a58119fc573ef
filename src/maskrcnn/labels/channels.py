"""A data set's images as a model takes them that does not take RGB of 8 bits: other channels, or a range of
values.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.images.read import ValueRange
from maskrcnn.labels.image_files import labelled_pixels
from maskrcnn.labels.types import Dataset, LabelledImage


def with_channels(dataset: Dataset, channels: int, value_range: ValueRange | None = None) -> Dataset:
    """`dataset` with images of `channels` channels and values from `value_range`, read as `read_image`
    does.
    """
    return (
        dataset if channels == 3 and value_range is None else ChannelDataset(dataset, channels, value_range)
    )


class ChannelDataset(Dataset):
    """Another's labels, but whose `pixels` are uint8 (H, W, channels)."""

    def __init__(self, dataset: Dataset, channels: int, value_range: ValueRange | None = None) -> None:
        self.dataset, self.channels = dataset, channels
        self.info = replace(dataset.info, value_range=value_range)

    def __len__(self) -> int:
        return len(self.dataset)

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`."""
        return self.dataset.image(index)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image at `index`."""
        return self.dataset.size(index)

    def pixels(self, index: int) -> np.ndarray:
        """The image at `index`, upright, as uint8 (H, W, channels).

        Raises:
            DataError: the file is unreadable, of another number of channels, or not of the size that its
                labels are for.
        """
        image = self.dataset.image(index)
        if image.path is None:
            if self.channels == 3:
                return self.dataset.pixels(index)
            if self.channels != 1:
                raise RecordError(
                    self.name, "generated images have 3 channels", "leave model.input.channels at 3 or 1"
                )
            return cv2.cvtColor(self.dataset.pixels(index), cv2.COLOR_RGB2GRAY)[:, :, None]
        return labelled_pixels(image, self.channels, self.info.value_range)
