"""The figures that biologists know: objects matched to objects, as `stardist.matching` does (Weigert et al.
2020, section 3; Caicedo et al. 2019, the 2018 Data Science Bowl).

Both sides become label images, in which a pixel is one object's: the first label's, the best detection's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maskrcnn.errors import DataError
from maskrcnn.evaluate.found import Result, gather
from maskrcnn.evaluate.truth import read_truth
from maskrcnn.labels.types import Dataset
from maskrcnn.masks.rle import rle_bitmap
from maskrcnn.shell import counted

THRESHOLDS = np.arange(50, 91, 5) / 100  # of IoU


@dataclass
class ObjectMatches:
    """What was matched at each of T thresholds, summed over P images; figures are shares, 0 to 1."""

    score: float  # detections have this score at least
    thresholds: np.ndarray  # (T,)
    hits: np.ndarray  # int64 (T,): true positives
    iou_sum: np.ndarray  # float64 (T,): of their IoU
    labelled: np.ndarray  # int64 (P,)
    found: np.ndarray  # int64 (P,)
    image_ids: list[int | str]
    notes: list[str]

    def figures(self) -> list[dict[str, float]]:
        """Precision, recall, F1, AP = TP / (TP + FP + FN) and mean matched IoU at each threshold; 0 where
        nothing matched, as stardist has it.
        """
        rows = []
        for threshold, tp, total in zip(self.thresholds, self.hits, self.iou_sum, strict=True):
            fp, fn = int(self.found.sum() - tp), int(self.labelled.sum() - tp)
            shares = {"precision": tp + fp, "recall": tp + fn, "F1": tp + (fp + fn) / 2, "AP": tp + fp + fn}
            rows.append(
                {"IoU": float(threshold)}
                | {name: float(tp / whole) if tp else 0.0 for name, whole in shares.items()}
                | {"mean_IoU": float(total / tp) if tp else 0.0}
                | {"TP": int(tp), "FP": fp, "FN": fn}
            )
        return rows

    def counting(self) -> dict[str, float]:
        """How far the number found in an image is from the number labelled: mean of the differences, of
        their size, and the share of images without one.
        """
        error = self.found - self.labelled
        return {
            "mean_error": float(error.mean()),
            "mean_absolute_error": float(np.abs(error).mean()),
            "exact": float((error == 0).mean()),
        }

    def to_dict(self) -> dict[str, Any]:
        """As written by `maskrcnn evaluate --metrics stardist --json`."""
        counts = zip(self.image_ids, self.labelled.tolist(), self.found.tolist(), strict=True)
        images = [{"image_id": i, "labelled": n, "found": m} for i, n, m in counts]
        return {
            "score": self.score,
            "at": self.figures(),
            "counting": self.counting() | {"images": images},
            "notes": self.notes,
        }


def match_objects(dataset: Dataset, results: Sequence[Result], *, score: float = 0.5) -> ObjectMatches:
    """Which objects of `dataset` were found by `results` of that score at least; classes match as well.

    Raises:
        DataError: no image, or as `maskrcnn.evaluate.coco.score_results`.
    """
    if len(dataset) == 0:
        raise DataError(f"{dataset.name}: no image to evaluate on")
    truth = read_truth(dataset, masks=True)
    found = gather(list(results), ["segm"], truth)
    assert found.masks is not None
    hits, sums = np.zeros(len(THRESHOLDS), np.int64), np.zeros(len(THRESHOLDS))
    labelled, counts = (np.zeros(len(dataset), np.int64) for _ in range(2))
    solid = truth.masked & ~truth.crowd
    image_of = np.array([record["image_id"] for record in truth.annotations], np.int64)
    hidden = 0
    best_first = np.argsort(-found.score, kind="stable")
    best_first = best_first[found.score[best_first] >= score]
    class_of = np.array([record["category_id"] for record in truth.annotations], np.int64)
    for place, (height, width) in enumerate(truth.sizes.tolist()):
        own = np.flatnonzero(solid & (image_of == place + 1))
        rows = best_first[found.image[best_first] == place + 1]
        # a label image for each class: a nucleus does not hide its cell
        for each in np.union1d(class_of[own], found.category[rows]).tolist():
            known_rows, seen_rows = own[class_of[own] == each], rows[found.category[rows] == each]
            outlines = [truth.annotations[row]["segmentation"] for row in known_rows]
            known, known_hidden = _label_image(outlines, height, width)
            seen, seen_hidden = _label_image([found.masks[row] for row in seen_rows], height, width)
            hidden += known_hidden + seen_hidden
            iou = iou_table(known, seen, len(known_rows), len(seen_rows))
            labelled[place] += len(known_rows) - known_hidden
            counts[place] += len(seen_rows) - seen_hidden
            for index, threshold in enumerate(THRESHOLDS):
                matched = matched_iou(iou, threshold)
                hits[index] += len(matched)
                sums[index] += matched.sum(dtype=np.float64)
    notes = []
    if left := int(np.count_nonzero(~solid)):
        notes.append(f"{left} labelled objects are crowds or have no mask: no objects here, only background")
    if hidden:
        notes.append(f"{counted(hidden, 'object')} wholly hidden under others: not counted")
    return ObjectMatches(score, THRESHOLDS, hits, sums, labelled, counts, list(truth.images), notes)


def iou_table(known: np.ndarray, seen: np.ndarray, labels: int, detections: int) -> np.ndarray:
    """float32 (labels, detections), as stardist has it: IoU of the objects 1, 2, ... of two label images."""
    pairs = np.bincount(
        known.ravel().astype(np.int64) * (detections + 1) + seen.ravel(),
        minlength=(labels + 1) * (detections + 1),
    ).reshape(labels + 1, detections + 1)
    both = pairs[1:, 1:]
    either = pairs.sum(1)[1:, None] + pairs.sum(0)[1:] - both
    return np.divide(both, either, out=np.zeros(both.shape, np.float32), where=either > 0)


def matched_iou(iou: np.ndarray, threshold: float) -> np.ndarray:
    """The IoU of the pairs of the best one-to-one match among those of `threshold` (0.5 or more) or above.

    Objects of a label image share no pixel, so that one of them reaches 0.5 with two others only where these
    are its two halves: then it does not matter which is taken, and going by IoU is the optimum.
    """
    pairs = np.argwhere(iou >= np.float32(threshold))
    values = iou[pairs[:, 0], pairs[:, 1]]
    kept, rows, columns = [], set[int](), set[int]()
    for place in np.argsort(-values, kind="stable"):
        row, column = pairs[place].tolist()
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            kept.append(place)
    return values[kept]


def _label_image(rles: Sequence[Any], height: int, width: int) -> tuple[np.ndarray, int]:
    """int32 (H, W): objects by number from 1, a pixel the first one's; and how many have no pixel left."""
    ids = np.zeros((height, width), np.int32)
    hidden = 0
    for number, rle in enumerate(rles, 1):
        free = (rle_bitmap(rle) != 0) & (ids == 0)
        ids[free] = number
        hidden += not free.any()
    return ids, hidden
