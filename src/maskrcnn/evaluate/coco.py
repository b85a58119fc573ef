"""COCO's average precision and recall of boxes, masks and keypoints (Lin et al. 2014;
cocodataset.org/#detection-eval).

The matching is hotcoco's: its figures and its whole precision array equalled pycocotools' on 3,600 random
sets, at 10 to 40 times the speed (faster-coco-eval: 1.6 to 6 times, same figures, but its keypoint arrays
leave classes out). The tests hold it to 1e-9. Masks are run-length codes on both sides throughout, so memory
grows with the outlines of the objects and never with image size times detections.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import DataError
from maskrcnn.evaluate.found import FIELDS, Result, gather
from maskrcnn.evaluate.truth import Kind, labelled_kinds, read_truth
from maskrcnn.instances import Instances
from maskrcnn.labels.match_classes import labels_for, passed_over, take_class
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset
from maskrcnn.masks.encoding import encode, encoders
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.predict.large import Tiles, tile_side
from maskrcnn.predict.predictor import check_batch, finish, predict_pixels
from maskrcnn.progress import Progress
from maskrcnn.runtime.engine import Runner, device_of, in_eval_mode, run_network
from maskrcnn.runtime.torch_engine import torch_runner
from maskrcnn.training_data.loader import test_loader

if TYPE_CHECKING:
    import hotcoco


OBJECT_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# why there is no AP of a kind
UNMEASURED: dict[str, str] = {
    "bbox": "no labelled objects to score, crowds aside",
    "segm": "no labelled masks to score, crowds aside",
    "keypoints": "no labelled keypoints to score, crowds aside",
}
COUNTED = 100  # detections of an image and class that COCO counts
KEYPOINT_KEYS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


@dataclass
class Scores:
    """Figures in percent; None where the labels hold nothing to measure it on."""

    kinds: dict[str, dict[str, float | None]]  # "bbox", "segm", "keypoints" -> COCO's twelve or ten figures
    per_class: dict[str, dict[str, dict[str, float | None]]]  # kind -> class name -> AP, AP50, AP75
    images: int
    objects: int  # labelled, without crowds
    detections: int
    notes: list[str] = field(default_factory=list)  # what was left out, and why

    def __getitem__(self, kind: str) -> dict[str, float | None]:
        return self.kinds[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self.kinds

    def to_dict(self) -> dict[str, Any]:
        """As written by `maskrcnn evaluate --json`: the kinds, then `per_class` and the counts."""
        counts = {"images": self.images, "objects": self.objects, "detections": self.detections}
        return {**self.kinds, "per_class": self.per_class, "counts": counts, "notes": self.notes}


def evaluate(
    model: Runner,
    dataset: Dataset,
    *,
    batch: int = 1,
    workers: int = 0,
    tiles: Tiles = "auto",
    progress: Progress | None = None,
) -> Scores:
    """Run `model` over `dataset` and score what it finds.

    Args:
        batch: images per forward pass.
        workers: processes that read images.
        tiles: which images are looked at in tiles, as `maskrcnn.predict` has it.
        progress: called with (images done, images in all).

    Raises:
        DataError: the labels have a class that the model does not know, or an image cannot be read.
    """
    dataset, lines = take_class(dataset, model.config.classes)
    kinds, notes = comparable_kinds(model, dataset)
    results = list(find_all(model, dataset, batch=batch, workers=workers, tiles=tiles, progress=progress))
    scores = score_results(dataset, results, kinds, most=most_of(results, model.config))
    scores.notes = lines + passed_over(dataset, model.config.classes) + notes + scores.notes
    return scores


def most_of(results: Sequence[Result], config: ModelConfig) -> int:
    """Detections of an image to count: what the network gives, or what there is of one in tiles."""
    counts = Counter(result["image_id"] for result in results)
    return max(config.test.detections, *counts.values(), 0)


def find_all(
    model: Runner,
    dataset: Dataset,
    *,
    batch: int = 1,
    workers: int = 0,
    tiles: Tiles = "off",
    progress: Progress | None = None,
) -> Iterator[Result]:
    """What `model` finds in each image, as COCO results: the labels' own image and category ids, masks as
    RLE. Images in tiles come after the others.

    Masks become run-length codes image by image. Detections of classes that the labels do not have are left
    out: there is nothing to compare them with.
    """
    check_batch(batch)
    runner = torch_runner(model) if isinstance(model, MaskRCNN) else model
    runner = in_eval_mode(runner) if isinstance(runner, MaskRCNN) else runner
    config = model.config
    known = labels_for(dataset, config.classes)
    category_of = dict(zip(known, dataset.class_ids, strict=True))
    in_tiles = [i for i in range(len(dataset)) if tile_side(config.input, dataset.size(i), tiles)]
    whole = np.setdiff1d(np.arange(len(dataset)), in_tiles)

    def groups() -> Iterator[tuple[list[int], list[Instances]]]:
        for padded, places in test_loader(Subset(dataset, whole.tolist()), config.input, batch, workers):
            raw = run_network(runner, padded.images, padded.sizes)
            yield whole[places].tolist(), finish(raw, padded, config)
        for index in in_tiles:
            yield (
                [index],
                predict_pixels(runner, [dataset.pixels(index)], score=config.test.score, tiles=tiles),
            )

    done = 0
    with encoders(device_of(runner).type != "cpu") as pool:
        for indices, group in groups():
            every = [found[np.isin(found.labels, known)] for found in group]
            encode((found.masks for found in every), pool)
            for index, found in zip(indices, every, strict=True):
                image_id = dataset.image(index).image_id
                for record, label in zip(found.to_coco(image_id), found.labels.tolist(), strict=True):
                    yield {**record, "category_id": category_of[label]}
            done += len(indices)
            if progress:
                progress(done, len(dataset))


def comparable_kinds(model: Runner, dataset: Dataset) -> tuple[list[Kind], list[str]]:
    """Which of boxes, masks and keypoints both `model` and the labels have, and a line for each that only one
    has.
    """
    config, kinds, notes = model.config, list[Kind](["bbox"]), list[str]()
    if config.mask_head is not None:
        if dataset.has_masks:
            kinds.append("segm")
        else:
            notes.append("masks are not scored: the labels have none")
    if config.keypoint_head is not None and config.keypoints is not None:
        if dataset.keypoints is None:
            notes.append("keypoints are not scored: the labels have none")
        elif dataset.keypoints.names != config.keypoints.names:
            notes.append(
                "keypoints are not scored: the model's and the labels' have different names or another order"
            )
        else:
            kinds.append("keypoints")
    return kinds, notes


def score_results(
    dataset: Dataset,
    results: Iterable[Result],
    kinds: list[Kind] | None = None,
    *,
    most: int = COUNTED,
    matched: dict[Kind, hotcoco.COCOeval] | None = None,
) -> Scores:
    """COCO's figures of `results` against the labels of `dataset`.

    COCO counts the best 100 detections of an image and class, so that an image of 300 cells is a third found
    at best. With `most` above 100 there are "AP@300", "AP50@300" and "AP75@300" of boxes and masks too, which
    count as many.

    Args:
        results: COCO results with the image and category ids of the labels; each has the field of every kind
            scored.
        kinds: which of "bbox", "segm" and "keypoints"; None takes those that the first result has and, when
            there is no result at all, those that the labels have.
        most: detections of an image that the model gives.
        matched: gets what each kind's figures were made of.

    Raises:
        DataError: an empty data set; keypoints to score where the labels have none; a result with an unknown
            id, a missing field, a number that is not finite or a mask that is no RLE of its image's size.
    """
    if len(dataset) == 0:
        raise DataError(f"{dataset.name}: no image to evaluate on")
    results = list(results)
    if kinds is None:
        kinds = _kinds_of(dataset, results)
    if "keypoints" in kinds and dataset.keypoints is None:
        raise DataError(f"{dataset.name}: has no keypoints to score; leave them out")
    truth = read_truth(dataset, masks="segm" in kinds)
    found = gather(results, kinds, truth)
    objects = int(np.count_nonzero(~truth.crowd))
    scores = Scores({}, {}, images=len(dataset), objects=objects, detections=len(found))
    for kind in kinds:
        unmeasured = int(np.count_nonzero(~(truth.masked | truth.crowd)))
        if kind == "segm" and unmeasured:
            scores.notes.append(
                f"{unmeasured} labelled objects have a box but no mask: masks found there do not count"
            )
        labels = truth.coco(kind)
        detections = found.coco(labels, kind)
        evaluator = match(labels, detections, kind, truth.sigmas)
        if matched is not None:
            matched[kind] = evaluator
        keys = KEYPOINT_KEYS if kind == "keypoints" else OBJECT_KEYS
        scores.kinds[kind] = {key: _percent(value) for key, value in zip(keys, evaluator.stats, strict=True)}
        if scores.kinds[kind]["AP"] is None:
            scores.notes.append(f"AP of {kind} is -: {UNMEASURED[kind]}")
        precision = _precision(evaluator)
        scores.per_class[kind] = {
            name: _average(precision[:, :, place]) for place, name in enumerate(dataset.classes)
        }
        if most > COUNTED and kind != "keypoints":
            precision = _precision(match(labels, detections, kind, most=most))
            scores.kinds[kind] |= {f"{key}@{most}": value for key, value in _average(precision).items()}
    return scores


def match(
    labels: hotcoco.COCO,
    found: hotcoco.COCO,
    kind: Kind,
    sigmas: list[float] | None = None,
    most: int = COUNTED,
) -> hotcoco.COCOeval:
    """COCO's evaluation of one kind, done."""
    import hotcoco

    evaluator = hotcoco.COCOeval(labels, found, kind)
    if kind == "keypoints" and sigmas is not None:
        evaluator.params.kpt_oks_sigmas = sigmas
    if most != COUNTED:
        evaluator.params.max_dets = [1, 10, most]
    # it prints its summary, and warns that tolerances other than COCO's are not COCO's
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        evaluator.run()
    return evaluator


def _precision(evaluator: hotcoco.COCOeval) -> np.ndarray:
    """(thresholds 0.50 to 0.95, recalls, classes): of objects of all sizes, with the most detections."""
    assert evaluator.eval is not None
    return np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1]


def _average(precision: np.ndarray) -> dict[str, float | None]:
    """AP, AP50 and AP75 over the entries that are not -1, COCO's mark for "no object of this kind"."""
    rows = {"AP": precision, "AP50": precision[0], "AP75": precision[5]}
    measured = {key: values[values > -1] for key, values in rows.items()}
    return {key: _percent(float(values.mean())) if values.size else None for key, values in measured.items()}


def _percent(value: float) -> float | None:
    return None if value < 0 else 100.0 * float(value)


def _kinds_of(dataset: Dataset, results: list[Result]) -> list[Kind]:
    """What there is to score when the caller does not say."""
    return [kind for kind in labelled_kinds(dataset) if not results or FIELDS[kind] in results[0]]
