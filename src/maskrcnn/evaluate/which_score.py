"""Which score to ask `predict` for: precision and recall of boxes at an IoU of 0.5, where F1 is highest and
at a score of one's own.

AP is a mean over all scores; whoever counts or draws objects has to choose one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from maskrcnn.evaluate.coco import COUNTED, match
from maskrcnn.evaluate.found import Result, gather
from maskrcnn.evaluate.truth import read_truth
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
        return (
            f"boxes at IoU 0.5: F1 is highest at --score {best.score:g} (precision {best.precision:.1f},"
            f" recall {best.recall:.1f}); at {given.score:g} they are {given.precision:.1f} and"
            f" {given.recall:.1f}"
        )


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
    truth = read_truth(dataset, masks=False)
    labels = truth.coco("bbox")
    evaluator = match(labels, gather(results, ["bbox"], truth).coco(labels, "bbox"), "bbox", most=most)
    everything = evaluator.params.area_rng[0]
    rows = [row for row in evaluator.eval_imgs if row is not None and row["aRng"] == everything]
    objects = sum(len(row["gtIgnore"]) - sum(row["gtIgnore"]) for row in rows)
    # the first threshold is 0.5
    found = [
        (row_score, bool(hit))
        for row in rows
        for row_score, hit, ignored in zip(
            row["dtScores"], row["dtMatched"][0], row["dtIgnore"][0], strict=True
        )
        if not ignored
    ]
    if not objects or not found:
        return None
    scores, hits = np.array([one for one, _ in found]), np.array([hit for _, hit in found])

    def at(least: float) -> AtScore:
        kept = scores >= least
        count, right = int(kept.sum()), int(hits[kept].sum())
        shares = right / max(count, 1), right / objects, 2 * right / (count + objects)
        return AtScore(least, *(100 * share for share in shares))

    return WhichScore(max(map(at, GRID.tolist()), key=lambda one: one.F1), at(score))
