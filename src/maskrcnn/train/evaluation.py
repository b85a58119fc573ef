"""Evaluation between epochs: every process finds objects in its share of the images, one of them scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from maskrcnn.config.load import Config
from maskrcnn.config.model import ModelConfig
from maskrcnn.config.train import TrainConfig
from maskrcnn.evaluate.coco import UNMEASURED, Scores, comparable_kinds, find_all, score_results
from maskrcnn.evaluate.found import Result
from maskrcnn.evaluate.resampled import match_images
from maskrcnn.evaluate.truth import KIND_NAMES, in_order
from maskrcnn.evaluate.which_score import which_score
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset
from maskrcnn.progress import Progress
from maskrcnn.train.checkpoint import TrainingState

LARGEST_BATCH = 4
WORST = 8  # images of which the least was found that are drawn
TOLD_BY = 20  # objects, by which a score to keep them from is told
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
    """The scores of `network` on `dataset`, the same in every process, of as many detections as it gives.

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
        scored = score_results(dataset, results, kinds, most=config.model.test.detections)
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

    Args:
        most: detections of an image that count.
    """
    by_id = match_images(dataset, results, "segm" if "segm" in scores else "bbox", most).recalled()
    places = {image.image_id: place for place, image in enumerate(dataset)}
    recalled = np.empty(len(places))
    recalled[[places[image_id] for image_id in in_order(places)]] = by_id
    order = np.argsort(recalled, kind="stable")[: int(np.isfinite(recalled).sum())]  # NaN comes last
    return [(int(index), float(recalled[index])) for index in order[:WORST]]


def kept_from(config: ModelConfig, dataset: Dataset, results: list[Result], scores: Scores) -> float | None:
    """The score where F1 of boxes is highest on `dataset`: at another a count is of too many objects or too
    few. Of few objects none can be told.
    """
    chosen = which_score(dataset, results, most=config.test.detections) if scores.objects >= TOLD_BY else None
    return None if chosen is None or not chosen.best.F1 else chosen.best.score


def judge(progress: TrainingState, figure: float | None, patience: int | None) -> bool:
    """Count an evaluation of the present weights. Whether they are the best so far.

    Args:
        figure: what decides (`figure_of_merit`).
    """
    better = figure is not None and (progress.best is None or figure > progress.best)
    if better:
        progress.best, progress.best_iteration, progress.stale = figure, progress.iteration, 0
    # from when it was better than its start, and than nothing
    elif figure is not None and progress.best and progress.best_iteration > 0:
        progress.stale += 1
    progress.evaluated_at = progress.iteration
    progress.stopped_early = patience is not None and progress.stale >= patience
    return better


def best_line(progress: TrainingState, config: TrainConfig) -> str:
    """What the best evaluation found, and whether that is what the training started from."""
    if progress.best is None:
        return ""
    best = f"best: {config.best} AP {progress.best:.1f}"
    if progress.best_iteration == 0:
        return f"{best} of the start, {config.init}, in weights/best: nothing was better"
    return f"{best} at iteration {progress.best_iteration}, in weights/best"


def done_line(run: Path, settings: TrainConfig, progress: TrainingState) -> str:
    """What a finished training has come to."""
    done = f"done in {progress.seconds / 60:.1f} minutes: {run / 'report.html'}"
    score = progress.best_score if (run / "weights" / "best").exists() else progress.predict_score
    kept = "" if score is None else f"prediction keeps objects from a score of {score:g} on"
    return "; ".join(filter(None, [done, best_line(progress, settings), kept]))


def figure_of_merit(scores: Scores, best: str) -> float | None:
    """The AP that decides which weights are best, in percent: of one kind, or the mean over all that were
    scored; of all detections that the model gives.
    """
    figures = [
        numbers[f"AP{suffix_of(numbers)}"] for kind, numbers in scores.kinds.items() if best in (kind, "mean")
    ]
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else None


def suffix_of(numbers: Mapping[str, float | None]) -> str:
    """What the names of the figures end with that count more than 100 detections, as "@300"; else nothing."""
    return next((name[2:] for name in numbers if name.startswith("AP@")), "")


def scores_line(scores: Scores) -> str:
    """AP and AP50 of each kind in one line, or why there is none."""
    parts = []
    for kind, numbers in scores.kinds.items():
        if numbers["AP"] is None:
            parts.append(f"{KIND_NAMES[kind]} AP - ({UNMEASURED[kind]})")
            continue
        names = [f"{name}{suffix_of(numbers)}" for name in ("AP", "AP50")]
        pair = ("-" if numbers[name] is None else f"{numbers[name]:.1f}" for name in names)
        parts.append(f"{KIND_NAMES[kind]} {names[0]} {next(pair)} ({names[1]} {next(pair)})")
    return "  ".join(parts)
