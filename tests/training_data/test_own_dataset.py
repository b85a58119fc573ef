"""A data set of a person's own: what is wrong with its labels or pixels is a line, and is not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from maskrcnn.config.load import Config
from maskrcnn.config.model import InputConfig
from maskrcnn.errors import DataError
from maskrcnn.evaluate.truth import read_truth
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset, DatasetInfo, LabelledImage
from maskrcnn.train.run_folder import describe_data
from maskrcnn.training_data.fill_config import fill_config
from maskrcnn.training_data.samples import TestSamples, TrainSamples, UnreadableImage


class Own(Dataset):
    def __init__(self, pixels: Callable[[np.ndarray], Any] = np.asarray, **changes: Any) -> None:
        self.base, self.made, self.changes = Synthetic(2), pixels, changes
        self.info = self.base.info

    def __len__(self) -> int:
        return len(self.base)

    def image(self, index: int) -> LabelledImage:
        image = self.base.image(index)
        changed = [replace(each, **self.changes) for each in image.annotations]
        return replace(image, annotations=changed)

    def pixels(self, index: int) -> np.ndarray:
        return self.made(self.base.pixels(index))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("pixels", "line"),
    [
        (lambda p: p / 255, r"pixels are float64 .* give uint8"),
        (lambda p: p[..., 0], r"pixels are uint8 \(\d+, \d+\); give uint8 \(height, width, channels\)"),
        (lambda p: p.tolist(), "pixels are list"),
        (lambda p: None, "pixels are NoneType"),
        (lambda p: p[:40], r"is \d+ x 40 pixels, its labels are for"),
        (lambda p: p[:0], r"is \d+ x 0 pixels, its labels are for"),
        (lambda p: np.dstack([p, p[..., :1]]), "has 4 channels, the model takes 3"),
    ],
)
def test_pixels_of_another_form_are_a_line(pixels: Callable[[np.ndarray], Any], line: str) -> None:
    TestSamples(Own(), InputConfig())[0]
    with pytest.raises(UnreadableImage, match=line):
        TestSamples(Own(pixels), InputConfig())[0]


@pytest.mark.parametrize("look", [describe_data, lambda data: read_truth(data, masks=False)])
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"label": 9}, r"annotation 0: label 9 is no index into the \d classes"),
        ({"label": "circle"}, "label 'circle' is no index"),
        ({"label": -1}, "label -1 is no index"),  # but of a crowd
        ({"box": (30, 30, 10, 10)}, r"box \(30, 30, 10, 10\) is not a box; give x1, y1, x2, y2"),
        ({"box": (math.nan, 1, 2, 3)}, "is not a box"),
        ({"box": (1, 2, 3)}, "is not a box"),
        ({"box": (5000, 5000, 5100, 5100)}, "is outside of the image"),
    ],
)
def test_labels_that_would_train_nothing_are_a_line(
    look: Callable[[Dataset], Any], changes: dict[str, Any], line: str
) -> None:
    look(Own(label=-1, crowd=True))
    with pytest.raises(DataError, match=line):
        look(Own(**changes))


def test_two_images_of_one_id_are_not_scored_as_one() -> None:
    class Same(Own):
        def image(self, index: int) -> LabelledImage:
            return replace(super().image(index), image_id=1)

    with pytest.raises(DataError, match="its image_id 1 is another image's too"):
        read_truth(Same(), masks=False)


class Kept(Dataset):
    """Labels that lie in memory and are given out as they are."""

    def __init__(self, base: Dataset) -> None:
        self.base, self.info, self.images = base, base.info, list(base)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> LabelledImage:
        return self.images[index]

    def pixels(self, index: int) -> np.ndarray:
        return self.base.pixels(index)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_augmentation_leaves_the_labels_as_they_are(mosaic: float) -> None:
    data = Kept(Synthetic(4))
    before = describe_data(data)
    augment = {"copy_paste": 1.0, "mosaic": mosaic, "mosaic_canvas": [96, 128]}
    labels = list(range(len(data.classes)))
    samples = TrainSamples(data, labels, Config.model_validate({"data": {"augment": augment}}))
    for seed in range(12):
        samples[seed % 4, seed, 1]
    assert describe_data(data) == before


@pytest.mark.parametrize(
    ("named", "ids"),
    [([], [7, 3]), (["b", "a"], [3, 7]), (["b"], [3]), (["a", "c"], [])],
    ids=["none", "other order", "one", "one that has none"],
)
def test_classes_that_are_named_keep_the_ids_of_the_labels(named: list[str], ids: list[int]) -> None:
    info = DatasetInfo(name="d", classes=["a", "b"], class_ids=[7, 3])
    config = Config.model_validate({"model": {"classes": named, "mask_head": None}})
    model = fill_config(config, FileDataset([], info)).model
    assert (model.classes, model.class_ids) == (named or ["a", "b"], ids)
    own = config.model_copy(
        update={"model": model.model_copy(update={"class_ids": [5] * len(model.classes)})}
    )
    assert fill_config(own, FileDataset([], info)).model.class_ids == [5] * len(model.classes)
