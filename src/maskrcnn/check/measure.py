"""What a training costs on this machine, measured by a few steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from maskrcnn.check.length import Cost
from maskrcnn.config.load import Config
from maskrcnn.environment import usable_cores
from maskrcnn.evaluate.coco import find_all
from maskrcnn.images.batch import Batch, Targets
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.match_classes import labels_for
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.training_data.decoded import GIGABYTE, DecodedImages
from maskrcnn.training_data.fill_config import fill_config, fill_value_range
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.tiles import TiledDataset

ENOUGH = 5.0  # seconds of steps
STEPS = 4  # at most
MEASURED_BATCH = 2  # images of a step that is measured
T = TypeVar("T")


def measure(config: Config, train: Dataset, val: Dataset | None, device: str) -> Cost:
    """Runs training steps with random weights and looks at one image of `val`, or else of `train`.

    The first step warms up; of the others the fastest counts, which what else the machine does slowed least.

    Args:
        config: without the classes of the data, or with them.
    """
    config = fill_value_range(fill_config(config, train), train)
    form = config.model.input.channels, config.model.input.value_range
    train, seen = with_channels(train, *form), with_channels(val or train, *form)
    views, views_seen = 1.0, 1.0  # of an image
    if config.data.tiles is not None:
        decoded = DecodedImages(int(config.data.tiles.cache_gb * GIGABYTE), value_range=form[1])
        cut = partial(TiledDataset, tiles=config.data.tiles, channels=form[0], decoded=decoded)
        tiles, tiles_seen = cut(train), cut(seen, keep_empty=True)
        views, views_seen = len(tiles) / len(train), len(tiles_seen) / len(seen)
        train, seen = _largest(tiles), tiles_seen
    config.data.workers = 0
    # one process, and the memory of one part: the recipe's own parts need not divide so small a batch
    config.train.batch, config.train.accumulate = min(MEASURED_BATCH, len(train)), 1
    network = build(config.model).train().to(device)
    labels = labels_for(train, config.model.classes)
    batches = iter(train_loader(train, labels, config, endless=True))
    bf16 = config.train.precision == "bf16"
    times: list[float] = []
    reading: list[float] = []
    while len(times) < 2 or (len(times) < STEPS and sum(times) < ENOUGH):
        batch, targets, _ = _timed(lambda: next(batches), reading)
        batch, targets = batch.to(device), targets.to(device)

        def step(batch: Batch = batch, targets: Targets = targets) -> None:
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                losses = network.losses(batch.images, batch.sizes, targets)
            torch.stack(list(losses.values())).sum().backward()
            if device == "cuda":
                torch.cuda.synchronize()

        _timed(step, times)
    # on a CPU workers take turns with the training
    seconds = min(times[1:]) + sum(reading) / len(reading) / usable_cores()
    evaluation = _seconds_to_find(network.eval(), seen) * views_seen
    return Cost(seconds / config.train.batch * views, evaluation, _peak_memory_gb())


def _largest(tiles: TiledDataset) -> Dataset:
    """The tiles of the image that has most, which is decoded, as a training does before its first step."""
    found = Subset(tiles, np.flatnonzero(tiles.sources == np.bincount(tiles.sources).argmax()).tolist())
    found.pixels(0)
    return found


def _seconds_to_find(network: MaskRCNN, dataset: Dataset) -> float:
    """Of one image, the second time."""
    times: list[float] = []
    for _ in range(2):
        _timed(lambda: list(find_all(network, Subset(dataset, [0]))), times)
    return times[-1]


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
