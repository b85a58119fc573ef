"""Evaluation between epochs: every process finds objects in its share of the images, one of them scores."""

from __future__ import annotations

import math

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from maskrcnn.config.load import Config
from maskrcnn.config.train import TrainConfig
from maskrcnn.evaluate.coco import UNMEASURED, Scores, comparable_kinds, find_all, score_results
from maskrcnn.evaluate.found import Result
from maskrcnn.evaluate.resampled import match_images
from maskrcnn.evaluate.truth import KIND_NAMES
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset
from maskrcnn.progress import Progress
from maskrcnn.train.checkpoint import TrainingState

LARGEST_BATCH = 4
TENTHS = 10  # evaluations of a training that does not say how many


def evaluate_together(
    network: nn.Module,
    dataset: Dataset,
    config: Config,
    accelerator: Accelerator,
    *,
    progress: Progress | None = None,
    found: list[Result] | None = None,
) -> Scores:
    """The scores of `network` on `dataset`, the same in every process.

    Args:
        progress: called with the images of this process that are done, and all of them.
        found: gets what was found, in the main process.
    """
    rank, world = accelerator.process_index, accelerator.num_processes
    batch = max(1, min(LARGEST_BATCH, config.train.batch // (world * config.train.accumulate)))
    share = Subset(dataset, range(rank, len(dataset), world))
    own = find_all(network, share, batch=batch, workers=config.data.workers, progress=progress)  # type: ignore[arg-type]
    results = gather_object(list(own))
    scores: list[Scores | None] = [None]
    if accelerator.is_main_process:
        if found is not None:
            found += results
        kinds, notes = comparable_kinds(network, dataset)  # type: ignore[arg-type]
        scored = score_results(dataset, results, kinds)
        scored.notes = notes + scored.notes
        scores[0] = scored
    broadcast_object_list(scores)
    assert scores[0] is not None
    return scores[0]


def evaluation_due(settings: TrainConfig, progress: TrainingState, total: int, per_epoch: int) -> bool:
    """Whether the weights of now are to be evaluated.

    Args:
        total, per_epoch: iterations of the training and of an epoch.
    """
    iteration, last, epochs = progress.iteration, progress.evaluated_at, settings.evaluate_every_epochs
    # rounded up, past the last digits of a fraction: one more would cost time that was not planned
    every = max(1, math.ceil((total / TENTHS if epochs is None else epochs * per_epoch) - 1e-3))
    regular = epochs != 0 and iteration // every > last // every
    return iteration != last and (regular or iteration >= total)


def worst_images(
    dataset: Dataset, results: list[Result], scores: Scores, most: int
) -> list[tuple[int, float]]:
    """The images of which the least was found: index, and share of its objects over IoU 0.5 to 0.95.

    By masks where they were scored, else by boxes; images without an object are left out.
    """
    recalled = match_images(dataset, results, "segm" if "segm" in scores else "bbox").recalled()
    order = np.argsort(recalled, kind="stable")[: int(np.isfinite(recalled).sum())]  # NaN comes last
    return [(int(index), float(recalled[index])) for index in order[:most]]


def best_line(progress: TrainingState) -> str:
    """What the best evaluation found, and whether that is what the training started from."""
    if progress.best is None:
        return ""
    if progress.best_iteration == 0:
        return f"; no evaluation was better than the start (AP {progress.best:.1f}), which is in weights/best"
    return f"; best AP {progress.best:.1f} in weights/best"


def figure_of_merit(scores: Scores, best: str) -> float | None:
    """The AP that decides which weights are best, in percent: of one kind, or the mean over all that were
    scored.
    """
    figures = [numbers["AP"] for kind, numbers in scores.kinds.items() if best in (kind, "mean")]
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else None


def scores_line(scores: Scores) -> str:
    """AP and AP50 of each kind in one line, or why there is none."""
    parts = []
    for kind, numbers in scores.kinds.items():
        if numbers["AP"] is None:
            parts.append(f"{KIND_NAMES[kind]} AP - ({UNMEASURED[kind]})")
            continue
        pair = ("-" if numbers[key] is None else f"{numbers[key]:.1f}" for key in ("AP", "AP50"))
        parts.append("{} AP {} (AP50 {})".format(KIND_NAMES[kind], *pair))
    return "  ".join(parts)
