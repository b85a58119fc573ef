"""AP of images drawn again: how far a figure hangs on which images happened to be in the set.

Images are matched once, by COCO's rules; AP of any selection of them, some several times, is then a sum over
the matches (Efron and Tibshirani 1993, chapter 6: the bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maskrcnn.evaluate.coco import COUNTED, match
from maskrcnn.evaluate.found import Result, gather
from maskrcnn.evaluate.truth import Kind, read_truth
from maskrcnn.labels.types import Dataset

RECALLS = np.linspace(0, 1, 101)


@dataclass
class ClassMatches:
    """The detections of a class, best first, at T thresholds of IoU or OKS."""

    score: np.ndarray  # float64 (N,)
    image: np.ndarray  # int64 (N,): place of the image in the set's ids
    hit: np.ndarray  # bool (T, N): found an object
    counted: np.ndarray  # bool (T, N): not in a crowd
    objects: np.ndarray  # int64 (P,): to be found in each image


@dataclass
class Matches:
    """What was found in the P images of a set, by class."""

    images: int
    classes: list[ClassMatches]

    def average_precision(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """AP, AP50 and AP75 in percent; NaN where there is nothing to find.

        Args:
            weights: (P,) how many times each image counts; None: once.
        """
        weights = np.ones(self.images) if weights is None else weights
        tables = [_precision(one, weights) for one in self.classes if one.objects @ weights > 0]
        if not tables:
            return dict.fromkeys(("AP", "AP50", "AP75"), float("nan"))
        table = 100 * np.stack(tables).mean(axis=(0, 2))  # over classes and recalls
        return {"AP": float(table.mean()), "AP50": float(table[0]), "AP75": float(table[5])}

    def recalled(self) -> np.ndarray:
        """(P,) share of an image's objects that were found, mean over the thresholds; NaN without objects.

        The images are in the order of their ids (`in_order`), not in the data set's.
        """
        hits, objects = np.zeros(self.images), np.zeros(self.images)
        for one in self.classes:
            np.add.at(hits, one.image, (one.hit & one.counted).mean(axis=0))
            objects += one.objects
        return np.divide(hits, objects, out=np.full(self.images, np.nan), where=objects > 0)


def match_images(dataset: Dataset, results: list[Result], kind: Kind, most: int = COUNTED) -> Matches:
    """Which of `results` (COCO results with the ids of `dataset`) found an object, of at most `most` of an
    image and class.

    Raises:
        DataError: as `maskrcnn.evaluate.coco.score_results`.
    """
    truth = read_truth(dataset, masks=kind == "segm")
    found = gather(results, [kind], truth)
    labels = truth.coco(kind)
    evaluator = match(labels, found.coco(labels, kind), kind, truth.sigmas, most)
    everything = evaluator.params.area_rng[0]
    rows = [row for row in evaluator.eval_imgs if row is not None and row["aRng"] == everything]
    classes = []
    for category in range(1, len(truth.classes) + 1):
        own = [row for row in rows if row["category_id"] == category]
        classes.append(_class_matches(own, len(dataset)))
    return Matches(len(dataset), classes)


def _class_matches(rows: list[dict[str, object]], images: int) -> ClassMatches:
    """The rows of one class, joined and sorted by score as COCO does: equal scores in the images' order."""
    objects = np.zeros(images, np.int64)
    scores, places = [np.zeros(0)], [np.zeros(0, np.int64)]
    hits, counted = [np.zeros((10, 0), bool)], [np.zeros((10, 0), bool)]
    for row in sorted(rows, key=lambda row: row["image_id"]):  # type: ignore[arg-type, return-value]
        place = int(row["image_id"]) - 1  # type: ignore[call-overload]
        objects[place] = len(row["gtIgnore"]) - sum(row["gtIgnore"])  # type: ignore[arg-type, call-overload]
        scores.append(np.asarray(row["dtScores"], float))
        places.append(np.full(len(scores[-1]), place))
        hits.append(np.asarray(row["dtMatched"], bool).reshape(10, -1))
        counted.append(~np.asarray(row["dtIgnore"], bool).reshape(10, -1))
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    return ClassMatches(
        score[order],
        np.concatenate(places)[order],
        np.concatenate(hits, axis=1)[:, order],
        np.concatenate(counted, axis=1)[:, order],
        objects,
    )


def _precision(one: ClassMatches, weights: np.ndarray) -> np.ndarray:
    """(T, recalls): COCO's interpolated precision."""
    times = weights[one.image]
    hits = np.cumsum((one.hit & one.counted) * times, axis=1)
    wrong = np.cumsum((~one.hit & one.counted) * times, axis=1)
    recall = hits / (one.objects @ weights)
    precision = hits / (hits + wrong + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    table = np.zeros((len(hits), len(RECALLS)))
    for row in range(len(hits)):
        place = np.searchsorted(recall[row], RECALLS, side="left")
        inside = place < precision.shape[1]
        table[row, inside] = precision[row, place[inside]]
    return table
