"""What a training step costs on this machine."""

from __future__ import annotations

import sys
import time

import torch

from maskrcnn.check.advice import Advice
from maskrcnn.config.load import load_config
from maskrcnn.labels.types import Dataset
from maskrcnn.model.build import build
from maskrcnn.training_data.fill_config import fill_config
from maskrcnn.training_data.loader import train_loader
from maskrcnn.training_data.tiles import TiledDataset

ENOUGH = 5.0  # seconds of steps
MEASURED_BATCH = 2  # images of a step that is measured


def measure(advice: Advice, train: Dataset) -> None:
    """Runs training steps with the advised settings and notes what the fastest cost.

    The first warms up, others may be slowed by what else the machine does.
    """
    config = fill_config(load_config(advice.recipe, advice.overrides), train)
    if config.data.tiles is not None:
        train = TiledDataset(train, config.data.tiles, channels=config.model.input.channels)
    config.data.workers = 0
    # one process, and the memory of one part: the recipe's own parts need not divide so small a batch
    config.train.batch, config.train.accumulate = min(MEASURED_BATCH, len(train)), 1
    network = build(config.model).train()
    batches = iter(train_loader(train, list(range(len(train.classes))), config))
    bf16 = config.train.precision == "bf16"
    batch, targets, _ = next(batches)
    times: list[float] = []
    while len(times) < 2 or (len(times) < 3 and sum(times) < ENOUGH):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = network.losses(batch.images, batch.sizes, targets)
        torch.stack(list(losses.values())).sum().backward()
        times.append(time.perf_counter() - start)
    advice.seconds_per_image = round(min(times) / len(batch.images), 3)
    advice.hours = round(advice.seconds_per_image * len(train) * config.train.epochs / 3600, 2)
    advice.memory_gb = _peak_memory_gb()


def _peak_memory_gb() -> float | None:
    """The most memory that this process ever held; None on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**3, 2)
