"""Labelled images as batches, for training and for testing.

What happens to an image in training derives only from the training's seed, the epoch and the image's position
in the epoch's order: not from the number of workers or processes, nor from where a training was interrupted.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from torch.utils.data import DataLoader

from maskrcnn.config.load import Config
from maskrcnn.config.model import InputConfig
from maskrcnn.images.batch import Batch, ScaledImage, Targets, batches_of_one_shape, pad_batch
from maskrcnn.images.shapes import Shapes
from maskrcnn.labels.types import Dataset
from maskrcnn.training_data.sampler import EpochSampler, repeat_factors
from maskrcnn.training_data.samples import Augment, Sample, TestSamples, TrainSamples
from maskrcnn.training_data.targets import collate_targets
from maskrcnn.training_data.workers import WorkerLoader


def train_loader(
    dataset: Dataset,
    labels: list[int],
    config: Config,
    *,
    epoch: int = 0,
    rank: int = 0,
    world: int = 1,
    endless: bool = False,
    shapes: Shapes | None = None,
    augment: Augment | None = None,
) -> DataLoader[Sample]:
    """Batches (Batch, Targets, names) for one process: of an epoch, or `endless` of those that follow too.

    Its `batch_sampler` is an `EpochSampler`: `loader.batch_sampler.set_epoch(epoch, start)` says which epoch
    comes next, and from which of its global batches on; the workers stay. With `train.accumulate` above 1
    each global batch comes in that many parts. Where there are `shapes`, images are padded to one of them,
    and objects to few numbers of slots.

    Args:
        augment: a person's own change of images and labels.
    """
    threshold = config.data.repeat_threshold
    sampler = EpochSampler(
        len(dataset),
        config.train.seed,
        epoch,
        rank,
        world,
        config.train.batch,
        accumulate=config.train.accumulate,
        tall=None if config.data.augment.crop else _tall(dataset),
        factors=None if threshold is None else repeat_factors(dataset, threshold),
        endless=endless,
    )
    collate = partial(_collate, divisor=config.model.input.divisor, shapes=shapes)
    return WorkerLoader(
        TrainSamples(dataset, labels, config, augment), sampler, collate, config.data.workers, persistent=True
    )


def test_loader(
    dataset: Dataset, config: InputConfig, batch: int, workers: int
) -> DataLoader[tuple[int, ScaledImage]]:
    """Batches (Batch, list of image indices) of the whole data set; see `batches_of_one_shape`."""
    sizes = (dataset.size(index) for index in range(len(dataset)))
    batches = batches_of_one_shape(sizes, config, batch)
    collate = partial(_collate_test, divisor=config.divisor)
    return WorkerLoader(TestSamples(dataset, config), batches, collate, workers, persistent=False)


test_loader.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of the name


def _collate(
    samples: list[Sample], divisor: int, shapes: Shapes | None = None
) -> tuple[Batch, Targets, list[str]]:
    """Training samples as one batch, padded to the largest image rounded up to `divisor`, or to a shape of
    `shapes`.
    """
    images = [sample.image for sample in samples]
    batch = pad_batch(images, divisor, None if shapes is None else shapes.holding)
    targets = collate_targets([sample.targets for sample in samples], few_shapes=shapes is not None)
    return batch, targets, [sample.name for sample in samples]


def _collate_test(samples: list[tuple[int, ScaledImage]], divisor: int) -> tuple[Batch, list[int]]:
    """Test images as one batch and their indices."""
    return pad_batch([image for _, image in samples], divisor), [index for index, _ in samples]


def _tall(dataset: Dataset) -> np.ndarray | None:
    """(n,) bool: which images are upright; None for generated images, which all have one shape."""
    if dataset.image(0).path is None:
        return None
    sizes = (dataset.size(index) for index in range(len(dataset)))
    return np.array([height > width for height, width in sizes])
