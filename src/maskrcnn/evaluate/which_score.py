"""Which score to ask `predict` for: precision and recall of boxes at an IoU of 0.5, where F1 is highest and
at a score of one's own.

AP is a mean over all scores; whoever counts or draws objects has to choose one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from maskrcnn.evaluate.coco import COUNTED
from maskrcnn.evaluate.found import Result
from maskrcnn.evaluate.resampled import match_images
from maskrcnn.labels.types import Dataset

GRID = np.arange(1, 100) / 100  # scores that are tried


@dataclass(frozen=True)
class AtScore:
    """What detections of at least `score` come to; percent."""

    score: float
    precision: float  # 0 where there is none
    recall: float
    F1: float


@dataclass(frozen=True)
class WhichScore:
    best: AtScore  # where F1 is highest; of several scores the lowest
    given: AtScore

    def to_dict(self) -> dict[str, Any]:
        """As written by `maskrcnn evaluate --json` under "at_score"."""
        return asdict(self)

    def line(self) -> str:
        """For the terminal."""
        best, given = self.best, self.given
        if not best.F1:
            return "boxes at IoU 0.5: no detection matches an object, whatever its score"
        line = (
            f"boxes at IoU 0.5: F1 is highest at --score {best.score:g} (precision {best.precision:.1f},"
            f" recall {best.recall:.1f})"
        )
        if given == best:
            return line
        return f"{line}; at {given.score:g} they are {given.precision:.1f} and {given.recall:.1f}"


def which_score(
    dataset: Dataset, results: list[Result], *, score: float = 0.5, most: int = COUNTED
) -> WhichScore | None:
    """Precision, recall and F1 over all classes together; crowds count as nothing. None without an object or
    a detection.

    Args:
        results: COCO results with the ids of the labels.
        score: a score of one's own.
        most: detections of an image and class that count.

    Raises:
        DataError: as `maskrcnn.evaluate.coco.score_results`.
    """
    classes = match_images(dataset, results, "bbox", most).classes
    objects = sum(int(one.objects.sum()) for one in classes)
    # the first threshold is 0.5
    scores = np.concatenate([np.zeros(0), *(one.score[one.counted[0]] for one in classes)])
    hits = np.concatenate([np.zeros(0, bool), *(one.hit[0, one.counted[0]] for one in classes)])
    if not objects or not len(scores):
        return None

    def at(least: float) -> AtScore:
        kept = scores >= least
        count, right = int(kept.sum()), int(hits[kept].sum())
        shares = right / max(count, 1), right / objects, 2 * right / (count + objects)
        return AtScore(least, *(100 * share for share in shares))

    return WhichScore(max(map(at, GRID.tolist()), key=lambda one: one.F1), at(score))
