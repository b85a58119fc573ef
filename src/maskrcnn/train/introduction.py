"""What a training says of itself before its first step."""

from __future__ import annotations

from pathlib import Path

from maskrcnn.config.load import Config
from maskrcnn.labels.types import Dataset
from maskrcnn.shell import counted, first_of
from maskrcnn.train.learner import Learner
from maskrcnn.train.optimizer import peak_rate, warmup_iterations


def introduction(
    config: Config, train_data: Dataset, val_data: Dataset | None, learner: Learner, total: int, run: Path
) -> list[str]:
    """Lines about the data, the network, the rate and the iterations."""
    settings, accelerator = config.train, learner.accelerator
    count, learn = learner.parameters()
    val = f", {len(val_data)} to evaluate on" if val_data is not None else ", none to evaluate on"
    ratio = f"{settings.batch}/{settings.reference_batch}"
    ratio = f"the square root of {ratio}" if settings.optimizer == "adamw" else ratio
    scaled = f" = {settings.lr:g} x {ratio}" if settings.scale_lr else ""
    warmup = warmup_iterations(settings, total)
    shortened = (
        f" (shortened from {settings.warmup_iterations:g})" if warmup < settings.warmup_iterations else ""
    )
    return [
        f"{counted(len(train_data), 'image')} to train on{val}; classes: {first_of(config.model.classes, 8)}",
        f"{count / 1e6:.1f} M parameters, of which {learn / 1e6:.1f} M learn",
        f"learning rate {peak_rate(settings):g}{scaled}, {settings.schedule} schedule, "
        f"warm-up of {warmup:g} iterations{shortened}",
        f"{counted(total, 'iteration')} of {counted(settings.batch, 'image')} "
        f"({settings.epochs:g} epoch{'' if settings.epochs == 1 else 's'}) "
        f"on {accelerator.num_processes} x {accelerator.device}, {settings.precision}; run in {run}",
    ]
