"""An exported graph beside PyTorch's eager mode on the same images: detections are matched, their numbers
compared.

Two engines add in different orders, so scores differ in the sixth digit, and a detection whose score lies
that near to a threshold may be on one side only. Those are counted apart; every other detection must have its
like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from rich.table import Table
from torch import Tensor

from maskrcnn.errors import UserError, one_line
from maskrcnn.export.test_images import Case, cases
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.ops.boxes import pairwise_iou
from maskrcnn.ops.heatmaps import decode_resize
from maskrcnn.runtime.engine import refuse_overflow

if TYPE_CHECKING:
    from maskrcnn.runtime.engine import Engine

COMPARED = ("boxes", "scores", "masks", "keypoints")
# detections over all images: with fewer the threshold is lowered until there are so many
ENOUGH, WANTED = 12, 40
NEAR_IOU = 0.005  # to the NMS threshold, where rounding decides


@dataclass(frozen=True)
class Limits:
    """Largest differences with which an export is handed out."""

    iou: float  # of a detection and its like, at least
    boxes: float  # pixels
    scores: float
    masks: float  # probability
    keypoints: float  # pixels
    unlike: float  # share of detections without their like that nothing explains
    quantile: float  # of the differences that is held against the limits; 1 is the largest
    near: float  # to a threshold, in score


FP32 = Limits(
    iou=0.9, boxes=0.1, scores=1e-3, masks=1e-2, keypoints=0.1, unlike=0.02, quantile=1.0, near=1e-3
)
# a guard against a broken export, on images that the model was not made for; AP says how good it is
INT8 = Limits(iou=0.5, boxes=16.0, scores=0.2, masks=0.25, keypoints=16.0, unlike=0.3, quantile=0.5, near=0.2)
# a heatmap with two peaks of the same height jumps from one to the other at the slightest difference
KEYPOINT_QUANTILE = 0.95


@dataclass
class Row:
    """One line of the table; differences are over the matched detections, None where there are none."""

    images: str
    size: str
    batch: int
    score: float  # threshold
    eager: int  # detections
    engine: int
    matched: int
    explained: int  # without their like, on a threshold
    unlike: int  # without their like
    boxes: float | None = None
    scores: float | None = None
    masks: float | None = None
    keypoints: float | None = None


def verify(model: MaskRCNN, engine: Engine, limits: Limits = FP32) -> list[Row]:
    """Compare on the images of `maskrcnn.export.test_images`.

    A model that finds next to nothing on them is compared at a lower score.

    Raises:
        UserError: the engine cannot run the graph.
        DataError: the network's own numbers become NaN or infinite.
    """
    compared = cases(model.config)
    score = model.config.test.score
    with torch.no_grad():
        eager = [model.detect(case.images, case.sizes) for case in compared]
        for found in eager:
            refuse_overflow(found)
        if sum(int(found.valid.sum()) for found in eager) < ENOUGH:
            # best over all cases; halfway between two scores, so that neither engine stands on it
            score = _lower([model.detect(case.images, case.sizes, -1.0) for case in compared])
            eager = [model.detect(case.images, case.sizes, score) for case in compared]
    rows = []
    for case, expected in zip(compared, eager, strict=True):
        try:
            found = engine(case.images, case.sizes, score)
        except RuntimeError as error:
            raise UserError(f"export: {engine.name} cannot run the graph: {one_line(error)[-300:]}") from None
        rows.append(compare(case, expected, found, model, score, limits))
    return rows


def _lower(everything: list[RawDetections]) -> float:
    scores = torch.cat([found.scores[found.valid] for found in everything]).sort(descending=True).values
    if len(scores) < 2:
        return -1.0
    place = min(WANTED, len(scores) - 1)
    return float((scores[place - 1] + scores[place]) / 2)


def compare(
    case: Case, expected: RawDetections, found: RawDetections, model: MaskRCNN, score: float, limits: Limits
) -> Row:
    """One line: what both found on the images of a case."""
    height, width = case.images.shape[-2:]
    row = Row(case.name, f"{height} x {width}", len(case.images), score, 0, 0, 0, 0, 0)
    differences: dict[str, list[Tensor]] = {name: [] for name in COMPARED}
    for image in range(len(case.images)):
        ours, theirs = _of(expected, image), _of(found, image)
        left, right = _match(ours, theirs, limits.iou)
        row.eager += len(ours.scores)
        row.engine += len(theirs.scores)
        row.matched += len(left)
        for this, other, taken in ((ours, theirs, left), (theirs, ours, right)):
            alone = torch.ones(len(this.scores), dtype=torch.bool)
            alone[taken] = False
            explained = alone & _on_a_threshold(this, other, model, score, limits.near)
            row.explained += int(explained.sum())
            row.unlike += int((alone & ~explained).sum())
        for name, values in differences.items():
            a, b = getattr(ours, name), getattr(theirs, name)
            if a is not None and len(left):
                a, b = (x[..., :2] if name == "keypoints" else x for x in (a, b))
                values.append((a[left].float() - b[right].float()).abs().flatten())
    for name, parts in differences.items():
        if parts:
            quantile = min(limits.quantile, KEYPOINT_QUANTILE) if name == "keypoints" else limits.quantile
            setattr(row, name, _quantile(torch.cat(parts), quantile))
    return row


def refusal(rows: list[Row], limits: Limits) -> str | None:
    """Why the export must not be handed out; None where it may."""
    for name in COMPARED:
        worst = max(
            (row for row in rows if getattr(row, name) is not None),
            key=lambda r: getattr(r, name),
            default=None,
        )
        if worst is not None and not getattr(worst, name) <= getattr(limits, name):
            unit = " pixels" if name in ("boxes", "keypoints") else ""
            return (
                f"{name} differ by {getattr(worst, name):.3g}{unit} from PyTorch's on the images "
                f"{worst.images!r}, {worst.size}; at most {getattr(limits, name):g} is allowed"
            )
    unlike, total = sum(row.unlike for row in rows), sum(row.eager + row.engine for row in rows)
    if unlike > limits.unlike * max(total, 1):
        return (
            f"{unlike} of {total} detections have no match on the other side;"
            f" at most {limits.unlike:.0%} is allowed"
        )
    return None


def as_table(rows: list[Row], title: str) -> Table:
    """The rows for a terminal."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    parts = [part for part in COMPARED if any(getattr(row, part) is not None for row in rows)]
    units = {"boxes": "boxes px", "keypoints": "points px"}
    counts = ("batch", "torch", "engine", "matched", "limit", "unlike")
    for name in ("images", "size", *counts, *(units.get(part, part) for part in parts)):
        table.add_column(name, justify="left" if name in ("images", "size") else "right", no_wrap=True)
    for row in rows:
        numbers = (row.batch, row.eager, row.engine, row.matched, row.explained, row.unlike)
        values = (getattr(row, part) for part in parts)
        table.add_row(
            row.images, row.size, *map(str, numbers), *("" if v is None else f"{v:.1e}" for v in values)
        )
    return table


def _of(found: RawDetections, image: int) -> RawDetections:
    """The detections of one image, with keypoints also where those are decoded from logits later."""
    valid = found.valid[image]
    parts = [None if part is None else part[image][valid] for part in found]
    one = RawDetections(*parts)  # type: ignore[arg-type]
    if one.keypoint_logits is None:
        return one
    return one._replace(keypoints=decode_resize(one.keypoint_logits.float(), one.boxes)[..., :3])


def _match(ours: RawDetections, theirs: RawDetections, least: float) -> tuple[Tensor, Tensor]:
    """Places of detections that are each other's best by IoU, of the same class."""
    if not len(ours.scores) or not len(theirs.scores):
        none = torch.zeros(0, dtype=torch.int64)
        return none, none
    iou = pairwise_iou(ours.boxes, theirs.boxes) * (ours.labels[:, None] == theirs.labels)
    # two boxes in one place are told apart by their scores
    near = iou - 1e-2 * (ours.scores[:, None] - theirs.scores).abs()
    best, back = near.argmax(1), near.argmax(0)
    mutual = (back[best] == torch.arange(len(best))) & (iou.gather(1, best[:, None])[:, 0] >= least)
    left = mutual.nonzero()[:, 0]
    return left, best[left]


def _on_a_threshold(
    this: RawDetections, other: RawDetections, model: MaskRCNN, score: float, near: float
) -> Tensor:
    """Which detections stand where rounding decides: at the score threshold, at the last slot, or at NMS's
    overlap.
    """
    test = model.config.test
    at = (this.scores - score).abs() <= near
    for each in (this, other):
        if len(each.scores) >= test.detections:
            at |= (this.scores - each.scores[-1]).abs() <= near
        if len(each.scores):
            overlap = pairwise_iou(this.boxes, each.boxes)
            at |= (((overlap - test.nms_iou).abs() <= NEAR_IOU) & (this.labels[:, None] == each.labels)).any(
                1
            )
    return at


def _quantile(values: Tensor, quantile: float) -> float:
    """NaN counts as the largest."""
    ordered = values.nan_to_num(float("inf")).sort().values
    return float(ordered[min(len(ordered) - 1, int(quantile * len(ordered)))])
