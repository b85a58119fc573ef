"""What a training costs on this machine, measured by a few steps."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from maskrcnn.check.length import Cost
from maskrcnn.config.data import AugmentConfig
from maskrcnn.config.load import Config
from maskrcnn.environment import usable_cores
from maskrcnn.evaluate.coco import find_all
from maskrcnn.images.batch import Batch, Targets
from maskrcnn.images.view import resized_sides
from maskrcnn.labels.match_classes import labels_for, take_class
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.prepare import prepare_data
from maskrcnn.training_data.tiles import TiledDataset

ENOUGH = 5.0  # seconds of steps
STEPS = 4  # at most
MEASURED_BATCH = 2  # images of a step that is measured
LOOKED_AT = 500  # images, of whose sizes the mean is taken
T = TypeVar("T")


def measure(config: Config, train: Dataset, val: Dataset | None, device: str) -> Cost:
    """Runs training steps with random weights and looks at one image to evaluate on, where there is one.

    The first step warms up; of the others the fastest counts, which what else the machine does slowed least,
    as much for each pixel as a training has on average: sides and mosaics are drawn.

    Args:
        config: without the classes of the data, or with them.
    """
    train, _ = take_class(train, config.model.classes)
    val = None if val is None else take_class(val, config.model.classes or train.classes)[0]
    config, train, val, _ = prepare_data(config, train, val, decode=False)
    labels = labels_for(train, config.model.classes)
    samples = int(train_loader(train, labels, config).batch_sampler.entries)  # type: ignore[union-attr]
    pixels = _pixels(config.data.augment, train)
    if isinstance(train, TiledDataset):
        train = _largest(train)
    config.data.workers = 0
    # one process, and the memory of one part: the recipe's own parts need not divide so small a batch
    config.train.batch, config.train.accumulate = min(MEASURED_BATCH, len(train)), 1
    network = build(config.model).train().to(device)
    batches = iter(train_loader(train, labels, config, endless=True))
    bf16 = config.train.precision == "bf16"
    times: list[float] = []
    reading: list[float] = []
    of_a_pixel: list[float] = []
    while len(times) < 2 or (len(times) < STEPS and sum(times) < ENOUGH):
        batch, targets, _ = _timed(lambda: next(batches), reading)
        drawn = float(batch.sizes.double().prod(1).sum())
        batch, targets = batch.to(device), targets.to(device)

        def step(batch: Batch = batch, targets: Targets = targets) -> None:
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                losses = network.losses(batch.images, batch.sizes, targets)
            torch.stack(list(losses.values())).sum().backward()
            if device == "cuda":
                torch.cuda.synchronize()

        _timed(step, times)
        of_a_pixel.append(times[-1] / drawn)
    # on a CPU workers take turns with the training
    read = sum(reading) / len(reading) / usable_cores() / config.train.batch
    evaluation = 0.0 if val is None else _seconds_to_find(network.eval(), val)
    return Cost(min(of_a_pixel[1:]) * pixels + read, evaluation, _peak_memory_gb(), samples)


def _pixels(augment: AugmentConfig, dataset: Dataset) -> float:
    """Of a training image, on average over what is drawn."""
    canvas = math.prod(augment.canvas)
    if augment.crop is not None:
        whole = float(math.prod(augment.crop))
    else:
        sizes = [dataset.size(index) for index in range(0, len(dataset), max(1, len(dataset) // LOOKED_AT))]
        found = [
            math.prod(resized_sides(*size, short, augment.long_side))
            for size in sizes
            for short in augment.short_sides
        ]
        whole = sum(found) / len(found)
    return augment.mosaic * canvas + (1 - augment.mosaic) * whole


def _largest(tiles: TiledDataset) -> Dataset:
    """The tiles of the image that has most, which is decoded, as a training does before its first step."""
    found = Subset(tiles, np.flatnonzero(tiles.sources == np.bincount(tiles.sources).argmax()).tolist())
    found.pixels(0)
    return found


def _seconds_to_find(network: MaskRCNN, dataset: Dataset) -> float:
    """Of one image with all its tiles, the second time."""
    times: list[float] = []
    for _ in range(2):
        _timed(lambda: list(find_all(network, Subset(dataset, [0]))), times)
    return times[-1] * (len(dataset) / len(dataset.dataset) if isinstance(dataset, TiledDataset) else 1)


def _timed(work: Callable[[], T], times: list[float]) -> T:
    """What `work` gives, its seconds added to `times`."""
    start = time.perf_counter()
    result = work()
    times.append(time.perf_counter() - start)
    return result


def _peak_memory_gb() -> float | None:
    """The most memory that this process ever held; None on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**3, 2)
