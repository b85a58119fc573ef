"""The sizes of images are known without their labels, through every data set that wraps another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maskrcnn.config.data import DataConfig, TilesConfig
from maskrcnn.config.load import Config, load_config
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.choose import choose_labels
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.coco import read_coco
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.training_data.fill_config import fill_tile_side
from maskrcnn.training_data.loader import test_loader
from maskrcnn.training_data.tiles import TiledDataset


@pytest.fixture
def dataset(tmp_path: Path) -> FileDataset:
    write_coco(Synthetic(3, seed=1, side=(96, 160)), tmp_path / "a.json", tmp_path / "a")
    return read_coco(tmp_path / "a.json")


def wrapped(dataset: Dataset) -> list[Dataset]:
    name = dataset.classes[dataset.image(0).annotations[0].label]
    return [
        dataset,
        Subset(dataset, [2, 0]),
        with_channels(dataset, 1),
        choose_labels(dataset, DataConfig(classes=[name])),
        TiledDataset(dataset, TilesConfig(side=80, overlap=16)),
        Synthetic(2, seed=1),
    ]


def test_every_data_set_knows_them(dataset: FileDataset) -> None:
    for each in wrapped(dataset):
        sizes = [each.size(index) for index in range(len(each))]
        assert sizes and sizes == [each.image(index).size for index in range(len(each))]
        assert all(type(side) is int for size in sizes for side in size)


@pytest.mark.parametrize(
    ("sides", "wanted"),
    [([50], 50), ([50, 50, 50, 900], 50), ([256, 256, 360, 696], 360), ([90, 70, 80], 90), ([64] * 9, 64)],
)
def test_three_in_four_images_are_no_longer_than_a_tile(sides: list[int], wanted: int) -> None:
    class Sized(Synthetic):
        def size(self, index: int) -> tuple[int, int]:
            return 40, sides[index]

    side = fill_tile_side(Config(), Sized(len(sides))).model.input.tile_side
    assert side == wanted and sum(each <= side for each in sides) >= 0.75 * len(sides)


def test_no_labels_are_built_for_them(dataset: FileDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = wrapped(dataset)[:-1]

    def image(self: FileDataset, index: int) -> None:
        raise AssertionError("labels were built")

    monkeypatch.setattr(FileDataset, "image", image)
    for each in sets:
        assert len([each.size(index) for index in range(len(each))]) == len(each)
    assert fill_tile_side(Config(), dataset).model.input.tile_side == 160
    test_loader(dataset, load_config("quick").model.input, batch=2, workers=0)
    assert np.median([max(dataset.size(index)) for index in range(3)]) == 160
