"""COCO's average precision and recall of boxes, masks and keypoints (Lin et al. 2014; cocodataset.org/#detection-eval).

The matching is hotcoco's: its figures and its whole precision array equalled pycocotools' on 3,600 random sets, at 10 to
40 times the speed (faster-coco-eval: 1.6 to 6 times, same figures, but its keypoint arrays leave classes out). The tests
hold it to 1e-9. Masks are run-length codes on both sides throughout, so memory grows with the outlines of the objects and
never with picture size times detections.

Two traps of COCO's own evaluator are kept out by renumbering everything before it is scored: an annotation with id 0
counts as never found, and a missing area puts the object in no size range.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from maskrcnn.data.dataset import Annotation, Dataset, Picture
from maskrcnn.errors import DataError

if TYPE_CHECKING:
    from maskrcnn.model.mask_rcnn import MaskRCNN

Kind = Literal["bbox", "segm", "keypoints"]
Progress = Callable[[int, int], None]  # pictures done, pictures in all
Result = dict[str, Any]  # one detection as in COCO's results files

KINDS: tuple[Kind, ...] = ("bbox", "segm", "keypoints")
FIELDS: dict[Kind, str] = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
OBJECT_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
COUNTED = 100  # detections of a picture and class that COCO counts
KEYPOINT_KEYS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")


@dataclass
class Scores:
    """Figures in percent; None where the labels hold nothing to measure it on."""

    kinds: dict[str, dict[str, float | None]]  # "bbox", "segm", "keypoints" -> COCO's twelve or ten figures
    per_class: dict[str, dict[str, dict[str, float | None]]]  # kind -> class name -> AP, AP50, AP75
    pictures: int
    objects: int  # labelled, without crowds
    detections: int
    notes: list[str] = field(default_factory=list)  # what was left out, and why

    def __getitem__(self, kind: str) -> dict[str, float | None]:
        return self.kinds[kind]

    def __contains__(self, kind: object) -> bool:
        return kind in self.kinds

    def to_dict(self) -> dict[str, Any]:
        """As written by `maskrcnn evaluate --json`: the kinds, then `per_class` and the counts."""
        counts = {"pictures": self.pictures, "objects": self.objects, "detections": self.detections}
        return {**self.kinds, "per_class": self.per_class, "counts": counts, "notes": self.notes}


def evaluate(
    model: MaskRCNN,
    dataset: Dataset,
    *,
    batch: int = 1,
    workers: int = 0,
    score: float = 0.0,
    progress: Progress | None = None,
) -> Scores:
    """Run `model` over `dataset` and score what it finds.

    Args:
        batch: pictures per forward pass.
        workers: processes that read pictures.
        score: detections below this are not counted; the model's own `test.score` applies first.
        progress: called with (pictures done, pictures in all).

    Raises:
        DataError: the labels have a class that the model does not know, or a picture cannot be read.
    """
    results = list(find_all(model, dataset, batch=batch, workers=workers, score=score, progress=progress))
    kinds, notes = comparable_kinds(model, dataset)
    scores = score_results(dataset, results, kinds, most=model.config.test.detections)
    scores.notes = notes + scores.notes
    return scores


def find_all(
    model: MaskRCNN,
    dataset: Dataset,
    *,
    batch: int = 1,
    workers: int = 0,
    score: float = 0.0,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """What `model` finds in each picture, as COCO results: the labels' own image and category ids, masks as RLE.

    Masks become run-length codes picture by picture. Detections of classes that the labels do not have are left out:
    there is nothing to compare them with.
    """
    import torch

    from maskrcnn.data.loader import test_loader
    from maskrcnn.data.match_classes import labels_for
    from maskrcnn.predict.predictor import finish

    config = model.config
    known = labels_for(dataset, config.classes)
    category_of = dict(zip(known, dataset.class_ids, strict=True))
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    done = 0
    try:
        for pictures, indices in test_loader(dataset, config.input, batch, workers):
            # not inference_mode: what a model caches (anchors) must stay usable for training
            with torch.no_grad():
                raw = model(pictures.images.to(device), pictures.sizes.to(device))
            for index, found in zip(indices, finish(raw, pictures, config, score=score), strict=True):
                found = found[np.isin(found.labels, known)]
                image_id = dataset.picture(int(index)).image_id
                # one object at a time: never the bitmaps of all of a picture's objects at once
                for place, label in enumerate(found.labels):
                    (record,) = found[place].to_coco(image_id)
                    yield {**record, "category_id": category_of[int(label)]}
            done += len(indices)
            if progress:
                progress(done, len(dataset))
    finally:
        model.train(was_training)


def comparable_kinds(model: MaskRCNN, dataset: Dataset) -> tuple[list[Kind], list[str]]:
    """Which of boxes, masks and keypoints both `model` and the labels have, and a line for each that only one has."""
    config, kinds, notes = model.config, list[Kind](["bbox"]), list[str]()
    if config.mask_head is not None:
        if any(_has_mask(a) for picture in _pictures(dataset) for a in picture.annotations):
            kinds.append("segm")
        else:
            notes.append("masks are not scored: the labels have none")
    if config.keypoint_head is not None and config.keypoints is not None:
        if dataset.keypoints is None:
            notes.append("keypoints are not scored: the labels have none")
        elif dataset.keypoints.names != config.keypoints.names:
            notes.append("keypoints are not scored: the model's and the labels' have different names or another order")
        else:
            kinds.append("keypoints")
    return kinds, notes


def score_results(
    dataset: Dataset, results: list[Result], kinds: list[Kind] | None = None, *, most: int = COUNTED
) -> Scores:
    """COCO's figures of `results` against the labels of `dataset`.

    COCO counts the best 100 detections of a picture and class, so that a picture of 300 cells is a third found at best.
    With `most` above 100 there are "AP@300", "AP50@300" and "AP75@300" of boxes and masks too, which count as many.

    Args:
        results: COCO results with the image and category ids of the labels; each has the field of every kind scored.
        kinds: which of "bbox", "segm" and "keypoints"; None takes those that the first result has and, when there is
            no result at all, those that the labels have.
        most: detections of a picture that the model gives.

    Raises:
        DataError: an empty data set, or a result with an unknown id, a missing field or a number that is not finite.
    """
    if len(dataset) == 0:
        raise DataError(f"{dataset.name}: no picture to evaluate on")
    kinds = list(kinds) if kinds is not None else _kinds_of(dataset, results)
    images = _image_numbers(dataset)
    categories = {class_id: number for number, class_id in enumerate(dataset.class_ids, 1)}
    _check(results, kinds, images, categories, dataset)

    objects = sum(not a.crowd for picture in _pictures(dataset) for a in picture.annotations)
    scores = Scores({}, {}, pictures=len(dataset), objects=objects, detections=len(results))
    for kind in kinds:
        truth, unmeasured = _truth(dataset, kind, images)
        if unmeasured:
            scores.notes.append(f"{unmeasured} labelled objects have a box but no mask: masks found there do not count")
        found = [
            {
                "image_id": images[result["image_id"]],
                "category_id": categories[result["category_id"]],
                "score": float(result["score"]),
                FIELDS[kind]: result[FIELDS[kind]],
            }
            for result in results
        ]
        sigmas = dataset.keypoints.sigmas if kind == "keypoints" and dataset.keypoints else None
        scores.kinds[kind], scores.per_class[kind] = _score_kind(truth, found, kind, dataset.classes, sigmas)
        if most > COUNTED and kind != "keypoints":
            scores.kinds[kind] |= _score_many(truth, found, kind, most)
    return scores


def _score_many(truth: dict[str, Any], found: list[Result], kind: Kind, most: int) -> dict[str, float | None]:
    """AP, AP50 and AP75 where up to `most` detections of a picture and class count."""
    import hotcoco

    labels = hotcoco.COCO(truth)
    evaluator = hotcoco.COCOeval(labels, labels.load_res(found), kind)
    evaluator.params.max_dets = [1, 10, most]
    evaluator.evaluate()
    evaluator.accumulate()
    assert evaluator.eval is not None  # accumulate has run
    precision = np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1]
    rows = {"AP": precision, "AP50": precision[0], "AP75": precision[5]}
    return {f"{key}@{most}": _percent(_mean_measured(values)) for key, values in rows.items()}


def _score_kind(
    truth: dict[str, Any], found: list[Result], kind: Kind, classes: list[str], sigmas: list[float] | None
) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    """The figures of one kind, over all classes and per class."""
    import hotcoco

    labels = hotcoco.COCO(truth)
    evaluator = hotcoco.COCOeval(labels, labels.load_res(found), kind)
    if sigmas is not None:
        evaluator.params.kpt_oks_sigmas = list(sigmas)
    # it prints its summary, and warns that tolerances other than COCO's are not COCO's
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    keys = KEYPOINT_KEYS if kind == "keypoints" else OBJECT_KEYS
    overall = {key: _percent(value) for key, value in zip(keys, evaluator.stats, strict=True)}

    assert evaluator.eval is not None  # accumulate has run
    # (thresholds 0.50 to 0.95, recalls, classes, sizes with "all" first, detections with the most last)
    precision = np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1]
    per_class = {}
    for place, name in enumerate(classes):
        rows = {"AP": precision[:, :, place], "AP50": precision[0, :, place], "AP75": precision[5, :, place]}
        per_class[name] = {key: _percent(_mean_measured(values)) for key, values in rows.items()}
    return overall, per_class


def _mean_measured(values: np.ndarray) -> float:
    """Mean over the entries that are not -1, COCO's mark for "no object of this kind"; -1 if all are."""
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else -1.0


def _percent(value: float) -> float | None:
    return None if value < 0 else 100.0 * float(value)


def _pictures(dataset: Dataset) -> Iterator[Picture]:
    return (dataset.picture(index) for index in range(len(dataset)))


def _has_mask(annotation: Annotation) -> bool:
    return bool(annotation.polygons) or annotation.rle is not None


def _kinds_of(dataset: Dataset, results: list[Result]) -> list[Kind]:
    """What there is to score when the caller does not say."""
    masks = any(_has_mask(a) for picture in _pictures(dataset) for a in picture.annotations)
    labelled = {"bbox": True, "segm": masks, "keypoints": dataset.keypoints is not None}
    return [kind for kind in KINDS if labelled[kind] and (not results or FIELDS[kind] in results[0])]


def _image_numbers(dataset: Dataset) -> dict[int | str, int]:
    """A number from 1 for every image id, in the order of the ids: COCO breaks ties between equal scores by it."""
    ids = [picture.image_id for picture in _pictures(dataset)]
    ordered = sorted(ids) if all(isinstance(i, int) for i in ids) else sorted(ids, key=str)
    return {image_id: number for number, image_id in enumerate(ordered, 1)}


def _check(
    results: list[Result],
    kinds: list[Kind],
    images: dict[int | str, int],
    categories: dict[int, int],
    dataset: Dataset,
) -> None:
    """Refuse results that cannot be scored, naming the first."""
    fields = ["score", *(FIELDS[kind] for kind in kinds)]
    numeric = [field for field in fields if field != "segmentation"]
    for place, result in enumerate(results):
        if not (result.get("image_id") in images and result.get("category_id") in categories):
            raise DataError(_unknown(place, result, images, categories, dataset))
        for key in fields:
            if key not in result:
                raise DataError(
                    f"result {place} (image_id {result['image_id']!r}): no {key!r}; it cannot be scored without"
                )
        for key in numeric:
            # NumPy's isfinite takes as long as the matching, for lists of four numbers
            value = result[key]
            if not all(
                map(
                    math.isfinite,
                    value if isinstance(value, list) else (value,) if isinstance(value, float) else np.ravel(value),
                )
            ):
                raise DataError(f"result {place} (image_id {result['image_id']!r}): {key!r} is not finite")


def _unknown(
    place: int,
    result: Result,
    images: dict[int | str, int],
    categories: dict[int, int],
    dataset: Dataset,
) -> str:
    """What is wrong with a result of a picture or a category that the labels do not have."""
    if result.get("image_id") not in images:
        return f"result {place}: image_id {result.get('image_id')!r} is not in {dataset.name}"
    return (
        f"result {place}: category_id {result.get('category_id')!r} is not in {dataset.name}, "
        f"which has {', '.join(map(str, categories))}"
    )


def _truth(dataset: Dataset, kind: Kind, images: dict[int | str, int]) -> tuple[dict[str, Any], int]:
    """The labels as COCO's evaluator wants them, numbered from 1, and how many objects lack the mask that is scored.

    For masks, an object that is only a box becomes a crowd over that box: it need not be found, and what is found there
    is no mistake.
    """
    annotations: list[dict[str, Any]] = []
    unmeasured = 0
    for picture in _pictures(dataset):
        for annotation in picture.annotations:
            x0, y0, x1, y1 = annotation.box
            record = {
                "id": len(annotations) + 1,
                "image_id": images[picture.image_id],
                "category_id": annotation.label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": annotation.area if annotation.area > 0 else _measure(annotation, picture),
                "iscrowd": int(annotation.crowd),
            }
            if kind == "segm":
                if not _has_mask(annotation):
                    unmeasured += not annotation.crowd
                    record["iscrowd"] = 1
                record["segmentation"] = _mask(annotation, picture)
            if kind == "keypoints" and dataset.keypoints is not None:
                record |= _keypoints(annotation, len(dataset.keypoints.names))
            annotations.append(record)
    sides = [(images[p.image_id], p.height, p.width) for p in _pictures(dataset)]
    return {
        "images": [{"id": number, "height": height, "width": width} for number, height, width in sorted(sides)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(dataset.classes, 1)],
    }, unmeasured


def _mask(annotation: Annotation, picture: Picture) -> dict[str, Any]:
    """The object's mask, or its box where it has none, as RLE with text counts."""
    from pycocotools import mask as coco_mask

    from maskrcnn.data.masks import annotation_rle

    rle = annotation_rle(annotation, picture.height, picture.width)
    if rle is None:
        x0, y0, x1, y1 = annotation.box
        ring = [x0, y0, x1, y0, x1, y1, x0, y1]
        rle = coco_mask.merge(coco_mask.frPyObjects([ring], picture.height, picture.width))
    counts = rle["counts"]
    return {"size": [int(v) for v in rle["size"]], "counts": counts.decode() if isinstance(counts, bytes) else counts}


def _measure(annotation: Annotation, picture: Picture) -> float:
    """Area of an object whose label does not state it."""
    from pycocotools import mask as coco_mask

    if _has_mask(annotation):
        return float(coco_mask.area(_mask(annotation, picture)))
    x0, y0, x1, y1 = annotation.box
    return float((x1 - x0) * (y1 - y0))


def _keypoints(annotation: Annotation, count: int) -> dict[str, Any]:
    """Keypoints as COCO counts them: pixel indices, half a pixel less than the continuous coordinates inside."""
    points = np.zeros((count, 3)) if annotation.keypoints is None else np.array(annotation.keypoints, dtype=float)
    labelled = points[:, 2] > 0
    points[labelled, :2] -= 0.5
    return {"keypoints": points.ravel().tolist(), "num_keypoints": int(labelled.sum())}
