"""What a training costs on this machine, measured by a few steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from maskrcnn.check.length import Cost
from maskrcnn.config.load import Config
from maskrcnn.environment import usable_cores
from maskrcnn.evaluate.coco import find_all
from maskrcnn.images.batch import Batch, Targets
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.training_data.fill_config import fill_config
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.tiles import TiledDataset

ENOUGH = 5.0  # seconds of steps
STEPS = 4  # at most
MEASURED_BATCH = 2  # images of a step that is measured
T = TypeVar("T")


def measure(config: Config, train: Dataset, val: Dataset | None = None, device: str = "cpu") -> Cost:
    """Runs training steps with random weights and looks at one image of `val`, or else of `train`.

    The first step warms up; of the others the fastest counts, which what else the machine does slowed least.

    Args:
        config: without the classes of the data, or with them.
    """
    config = fill_config(config, train)
    images, seen = len(train), val or train
    seen_images = len(seen)
    if config.data.tiles is not None:
        channels = config.model.input.channels
        train = TiledDataset(train, config.data.tiles, channels=channels)
        seen = TiledDataset(seen, config.data.tiles, channels=channels, keep_empty=True)
    config.data.workers = 0
    # one process, and the memory of one part: the recipe's own parts need not divide so small a batch
    config.train.batch, config.train.accumulate = min(MEASURED_BATCH, len(train)), 1
    network = build(config.model).train().to(device)
    batches = iter(train_loader(train, list(range(len(train.classes))), config, endless=True))
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
    per_image = seconds / config.train.batch * len(train) / images
    evaluation = _seconds_to_find(network.eval(), seen) * len(seen) / seen_images
    return Cost(per_image, evaluation, _peak_memory_gb())


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
