"""A data set's images with another number of channels than RGB's three: grey, or those of a camera with more bands."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import DataError
from maskrcnn.images.read import read_image
from maskrcnn.labels.image_files import size_disagreement
from maskrcnn.labels.types import Dataset, LabelledImage


def with_channels(dataset: Dataset, channels: int) -> Dataset:
    """`dataset` with images of `channels` channels, read as `maskrcnn.images.read.read_image` does."""
    return dataset if channels == 3 else ChannelDataset(dataset, channels)


class ChannelDataset:
    """A `Dataset` of another's labels whose `pixels` are uint8 (H, W, channels)."""

    def __init__(self, dataset: Dataset, channels: int) -> None:
        self.dataset, self.channels = dataset, channels
        self.name, self.classes, self.class_ids = dataset.name, dataset.classes, dataset.class_ids
        self.keypoints: KeypointSchema | None = dataset.keypoints
        self.repairs: Counter[str] = dataset.repairs
        self.warnings = dataset.warnings

    def __len__(self) -> int:
        return len(self.dataset)

    def image(self, index: int) -> LabelledImage:
        """Labels of the image at `index`."""
        return self.dataset.image(index)

    def pixels(self, index: int) -> np.ndarray:
        """The image at `index`, upright, as uint8 (H, W, channels).

        Raises:
            DataError: the file is unreadable, of another number of channels, or not of the size that its labels are for.
        """
        image = self.dataset.image(index)
        if image.path is None:
            if self.channels != 1:
                raise DataError(f"{self.name}: generated images have 3 channels; leave model.input.channels at 3 or 1")
            return cv2.cvtColor(self.dataset.pixels(index), cv2.COLOR_RGB2GRAY)[:, :, None]
        pixels = read_image(image.path, self.channels)
        wrong = size_disagreement(image, pixels.shape[0], pixels.shape[1])
        if wrong:
            raise DataError(wrong)
        return pixels
