"""How long to train and how often to evaluate: by the number of images, or by the time there is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from maskrcnn.check.draft import Draft
from maskrcnn.check.statistics import Statistics
from maskrcnn.config.data import TilesConfig
from maskrcnn.errors import UserError
from maskrcnn.images.tiles import tile_grid
from maskrcnn.shell import counted

IMAGE_VIEWS = 8_000  # after which narrow networks have stopped learning fast, crowded images or not
FINE_TUNED = 3  # a model that knows such objects needs so many times less
EPOCHS = (5, 200)
EVALUATIONS = 10
EVALUATED = 0.2  # share of the time that evaluations may take
SPARE = 0.85  # share of the time that is planned: steps differ, and other programs run
START_UP = 10.0  # seconds before the first step and after the last
PATIENCE = 5  # evaluations: half of the training
LONGER = 3  # times as long as the images ask for, at most, where there is time


@dataclass(frozen=True)
class Cost:
    """Measured on this machine, in seconds."""

    step: float  # of training, for an image or a tile, reading it included
    evaluation: float  # for an image with all its tiles
    memory_gb: float | None  # the most that this process held
    samples: int  # images or tiles that an epoch has

    def of_epoch(self, batch: int) -> float:
        """Seconds of an epoch, whose last step is filled up."""
        return self.step * batch * math.ceil(self.samples / batch)


def advise_length(
    draft: Draft,
    stats: Statistics,
    val_images: int,
    kept: int,
    seconds: float | None,
    cost: Cost | None,
    *,
    chosen: bool,
) -> None:
    """Epochs, and where all is `chosen` what hangs on them: warm-up, average, evaluations, early stop.

    Args:
        val_images: of the val split.
        kept: images of `stats` that are kept to evaluate on, where there is no val split.
    """
    config = draft.config
    images, val_images = max(1, stats.images - kept), val_images or kept
    known = config.train.init is not None and draft.familiar
    about = images * _samples_of_an_image(stats, config.data.tiles)
    samples = about if cost is None else cost.samples  # of an epoch
    wanted = int(np.clip(math.ceil(IMAGE_VIEWS / samples / (FINE_TUNED if known else 1)), *EPOCHS))
    evaluations, epochs = EVALUATIONS, float(wanted)
    if seconds is not None and cost is not None:
        evaluations = _evaluations(seconds, cost, val_images)
        evaluated = evaluations + (config.train.init is not None)  # the start itself first
        epochs = _epochs_in(seconds, cost, config.train.batch, evaluated * val_images, wanted)
        said = f"{epochs:g} epochs fit into {seconds / 60:.3g} minutes; the images ask for {wanted}"
        if epochs == LONGER * wanted:
            said = f"{epochs:g} epochs: {LONGER} times what the images ask for, and more would help little"
        draft.reasons.append(said)
    elif draft.asks("train.epochs"):
        epochs = config.train.epochs
        unit = "epoch" if epochs == 1 else "epochs"
        draft.reasons.append(f"{epochs:g} {unit}, as asked for; the images ask for {wanted}")
    else:
        parts = "" if config.data.tiles is None else " in tiles"
        why = f"{counted(round(wanted * samples), 'view')} of {counted(images, 'image')}{parts}"
        draft.reasons.append(f"{counted(wanted, 'epoch')}: {why}")
    draft.overrides.append(f"train.epochs={epochs:g}")
    if not chosen:
        return
    iterations = max(1, round(epochs * math.ceil(samples / config.train.batch)))
    roughly = "" if config.data.tiles is None or cost else "about "
    decay = float(np.clip(1 - 10 / iterations, 0.9, 0.999))
    draft.add(
        f"schedule: {roughly}{counted(iterations, 'step')} along a cosine, the first tenth warms up; weights "
        f"averaged over the last {1 / (1 - decay):.0f}",
        "train.schedule=cosine",
        f"train.warmup_iterations={min(300, max(1, iterations // 10))}",
        f"train.ema={decay:.4g}",
    )
    if val_images and not draft.asks("train.evaluate_every_epochs"):
        every = "null" if evaluations == EVALUATIONS else f"{epochs / evaluations:.6g}"
        stops = evaluations > PATIENCE  # with fewer it could not
        draft.add(
            f"evaluation at {counted(evaluations, 'point')}"
            + (f"; stops early if {PATIENCE} bring nothing better" if stops else ""),
            f"train.evaluate_every_epochs={every}",
            f"train.patience={PATIENCE if stops else 'null'}",
        )


def _samples_of_an_image(stats: Statistics, tiles: TilesConfig | None) -> float:
    """1, or about how many tiles of an image are trained on, taking objects for points that lie anywhere."""
    if tiles is None or not len(stats.image_sizes):
        return 1.0
    samples = 0.0
    for (height, width), objects in zip(stats.image_sizes.tolist(), stats.counts.tolist(), strict=True):
        grid = tile_grid(height, width, tiles.side, tiles.overlap)
        empty = (1 - grid.height * grid.width / (height * width)) ** objects  # the chance of a tile
        samples += len(grid) * (1 - empty + tiles.empty * empty) if len(grid) > 1 else 1
    return samples / len(stats.counts)


def _evaluations(seconds: float, cost: Cost, val_images: int) -> int:
    """How many there may be."""
    once = max(cost.evaluation * val_images, 1e-9)
    return int(np.clip(EVALUATED * seconds / once, 1, EVALUATIONS))


def _epochs_in(seconds: float, cost: Cost, batch: int, evaluated: int, wanted: int) -> float:
    """Epochs that fit into the time beside so many evaluated images, to three digits.

    Raises:
        UserError: not even one step does.
    """
    beside = START_UP + cost.evaluation * evaluated
    left = SPARE * seconds - beside
    if left < cost.step * batch:
        raise UserError(
            f"--time: {seconds:.0f} seconds are too few: a step takes {cost.step:.3g} s an image here; give "
            f"at least {math.ceil((beside + cost.step * batch) / SPARE / 60)}m"
        )
    return float(f"{min(left / cost.of_epoch(batch), LONGER * wanted):.3g}")
