"""Test-time augmentation: an image is looked at several times, mirrored and larger, and what is found is made
one.

`Augmented` is an engine around any other, so whatever predicts, evaluates or tiles may be given one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn.config.model import ModelConfig
from maskrcnn.images.batch import round_up
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.ops.boxes import pairwise_iou
from maskrcnn.ops.heatmaps import AREA_OF_BOX
from maskrcnn.ops.nms import nms
from maskrcnn.runtime.engine import Runner, device_of, run_network


class Look(NamedTuple):
    """One way to look at an image."""

    scale: float  # times the model's own test size
    mirrored: bool  # left and right


LOOKS = (Look(1.0, False), Look(1.0, True), Look(0.8, False), Look(1.25, False))
LARGEST = max(look.scale for look in LOOKS)
ALIKE = 0.6  # IoU of boxes from which on two looks found one object
SURE = 0.02  # probabilities are taken as at most this near to 0 and 1: one look alone must not decide


class Augmented:
    """An engine that runs another at every look of `LOOKS`.

    Boxes that the looks found of one object are averaged with their scores as weights, and its score is the
    mean over all looks, 0 where a look missed it (weighted boxes fusion, Solovyev et al. 2021). Masks are
    laid into the frame of the averaged box and their logits averaged. Keypoints, of which an exported graph
    gives places and no logits, are averaged around the place that most looks agree on, as OKS measures it.
    """

    def __init__(self, runner: Runner) -> None:
        """
        Args:
            runner: a network or an engine; not changed.
        """
        self.runner = runner
        self.name = getattr(runner, "name", "torch")
        self.device = device_of(runner)
        # images come at the largest size that is looked at, so that no detail is lost
        sides = {
            name: round(LARGEST * getattr(runner.config.input, name)) for name in ("short_side", "long_side")
        }
        larger = runner.config.input.model_copy(update=sides)
        self.config = runner.config.model_copy(update={"input": larger})

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        """As `maskrcnn.runtime.engine.Engine`; each image goes through the network alone, at every look."""
        return _stacked([self._detect(*one, score) for one in zip(images, sizes.tolist(), strict=True)])

    def _detect(self, image: Tensor, size: list[int], score: float | None) -> list[Tensor | None]:
        """RawDetections' fields of one image (C, H, W), best first, without the batch's dimension."""
        height, width = size
        kept = self.config.test.score if score is None else score
        # one look may score below what all together do
        least = kept if kept < self.config.test.score else None
        found = []
        for look in LOOKS:
            share = look.scale / LARGEST
            sides = max(1, round(height * share)), max(1, round(width * share))
            seen = _look(image[:, :height, :width], sides, look.mirrored, self.config.input.divisor)
            raw = run_network(self.runner, seen[None], torch.tensor([sides]), least)
            back = torch.tensor([width / sides[1], height / sides[0]])
            found.append(_as_original(raw, look.mirrored, sides[1], back, self.config))
        return merge(found, self.config)


def _look(image: Tensor, sides: tuple[int, int], mirrored: bool, divisor: int) -> Tensor:
    """An image (C, H, W) at another size, padded: uint8."""
    if tuple(image.shape[1:]) != sides:
        resized = F.interpolate(image[None].float(), sides, mode="bilinear", antialias=True)[0]
        image = resized.round().clamp(0, 255).to(torch.uint8)
    if mirrored:
        image = image.flip(-1)
    return F.pad(
        image, (0, round_up(sides[1], divisor) - sides[1], 0, round_up(sides[0], divisor) - sides[0])
    )


class Seen(NamedTuple):
    """What one look found: N objects in the pixels of the image that was given."""

    boxes: Tensor  # (N, 4) xyxy
    scores: Tensor  # (N,)
    labels: Tensor  # (N,) int64
    masks: Tensor | None  # (N, m, m) probabilities over the box
    keypoints: Tensor | None  # (N, K, 3) x, y, score
    heat: Tensor | None  # (N, K, S, S) logits over the box


def _as_original(raw: RawDetections, mirrored: bool, width: int, factor: Tensor, config: ModelConfig) -> Seen:
    """What was found in a look of that width, as if it had been found in the image."""
    rows = raw.valid[0].cpu()
    parts = [None if part is None else part[0].cpu()[rows] for part in raw]
    boxes, scores, labels, _, masks, points, heat = parts
    assert boxes is not None and scores is not None and labels is not None
    boxes = boxes.float()
    points = None if points is None else points.float()
    if mirrored:
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
        masks = None if masks is None else masks.flip(-1)
        flip = config.keypoints.flip if config.keypoints else []
        if points is not None:
            points = torch.stack([width - points[..., 0], *points[..., 1:].unbind(-1)], -1)[:, flip]
        heat = None if heat is None else heat.flip(-1)[:, flip]
    boxes = boxes * factor.repeat(2)
    if points is not None:
        points = points * torch.cat([factor, torch.ones(1)])
    return Seen(boxes, scores.float(), labels, masks, points, heat)


def merge(found: list[Seen], config: ModelConfig) -> list[Tensor | None]:
    """RawDetections' fields of one image from what each look found in it."""
    joined = [
        None if any(part is None for part in parts) else torch.cat(parts)  # type: ignore[arg-type]
        for parts in zip(*found, strict=True)
    ]
    boxes, scores, labels, masks, points, heat = joined
    assert boxes is not None and scores is not None and labels is not None
    looks = torch.repeat_interleave(
        torch.arange(len(found)), torch.tensor([len(one.scores) for one in found])
    )
    owner = _groups(boxes, scores, labels, looks)
    count = int(owner.max()) + 1 if len(owner) else 0

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(count, *values.shape[1:]).index_add_(0, owner, values)

    summed = total(scores)
    weights = scores / summed[owner]  # of each view of an object, 1 together
    merged = total(boxes * weights[:, None])
    merged_scores = summed / len(found)
    merged_labels = labels.new_zeros(count).index_copy_(0, owner, labels)
    rows = torch.argsort(merged_scores, descending=True, stable=True)
    valid = torch.ones(1, len(rows), dtype=torch.bool)
    keep = nms(merged[rows][None], valid, config.test.nms_iou, merged_labels[rows][None])[0]
    rows = rows[keep][: config.test.detections]
    result: list[Tensor | None] = [merged[rows], merged_scores[rows], merged_labels[rows]]
    result.append(torch.ones(len(rows), dtype=torch.bool))
    frames = merged[owner]
    if masks is not None:
        logits = _framed(masks.float(), boxes, frames).clamp(SURE, 1 - SURE).logit()
        masks = total(logits * weights[:, None, None]).sigmoid()[rows]
    if heat is not None:
        heat = total(_framed(heat.float(), boxes, frames, outside="border") * weights[:, None, None, None])[
            rows
        ]
    if points is not None:
        assert config.keypoints is not None
        of_looks = points.new_zeros(count, len(found), *points.shape[1:])
        shares = points.new_zeros(count, len(found))
        of_looks[owner, looks], shares[owner, looks] = points, weights
        points = _agreed(of_looks, shares, merged, torch.tensor(config.keypoints.sigmas))[rows]
    return [*result, masks, points, heat]


def _groups(boxes: Tensor, scores: Tensor, labels: Tensor, looks: Tensor) -> Tensor:
    """int64 (N,): the object that each of N boxes of all looks is a view of.

    Best first, a box joins the object of its class whose best box it overlaps most, from `ALIKE` on, unless
    its look has seen that object already; else it is a new one.
    """
    iou = pairwise_iou(boxes, boxes) * (labels[:, None] == labels)
    owner = torch.full((len(boxes),), -1)
    leads = list[int]()
    seen: list[set[int]] = []
    for row in torch.argsort(scores, descending=True, stable=True).tolist():
        look, best = int(looks[row]), -1
        if leads:
            near = iou[row, leads]
            for place in torch.argsort(near, descending=True)[:3].tolist():
                if near[place] >= ALIKE and look not in seen[place]:
                    best = place
                    break
        if best < 0:
            best = len(leads)
            leads.append(row)
            seen.append(set())
        seen[best].add(look)
        owner[row] = best
    return owner


def _framed(maps: Tensor, boxes: Tensor, frames: Tensor, outside: str = "zeros") -> Tensor:
    """Maps (N, m, m) or (N, K, m, m) over `boxes` (N, 4) as they are over `frames` (N, 4), bilinear."""
    side = maps.shape[-1]
    cells = (torch.arange(side) + 0.5) / side  # centres, as shares of the frame

    def along(axis: int) -> Tensor:
        """(N, m): where in its box, -1 to 1, each cell of a frame is."""
        start, extent = boxes[:, axis, None], (boxes[:, axis + 2] - boxes[:, axis])[:, None].clamp(min=1e-6)
        frame = frames[:, axis, None] + cells * (frames[:, axis + 2] - frames[:, axis])[:, None]
        return (frame - start) / extent * 2 - 1

    x, y = along(0)[:, None].expand(-1, side, -1), along(1)[:, :, None].expand(-1, -1, side)
    channels = maps[:, None] if maps.dim() == 3 else maps
    laid = F.grid_sample(channels, torch.stack([x, y], -1), padding_mode=outside, align_corners=False)
    return laid[:, 0] if maps.dim() == 3 else laid


def _agreed(points: Tensor, shares: Tensor, boxes: Tensor, sigmas: Tensor) -> Tensor:
    """(N, K, 3): of what V looks say of each keypoint, what they agree on.

    Args:
        points: (N, V, K, 3) x, y and the OKS expected there.
        shares: (N, V) weights of the looks, 1 together; 0 where one has not seen the object.
        boxes: (N, 4) of the objects, which say what a distance is worth.
        sigmas: (K,) tolerance of each keypoint.
    """
    area = AREA_OF_BOX * (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6).prod(1)
    variance = (2 * sigmas) ** 2 * area[:, None]  # (N, K)
    worth = shares[:, :, None] * points[..., 2]  # (N, V, K)
    distance = (points[:, :, None, :, :2] - points[:, None, :, :, :2]).square().sum(-1)  # (N, V, V, K)
    likeness = torch.exp(-distance / (2 * variance)[:, None, None])
    best = (likeness * worth[:, None]).sum(2).argmax(1)  # (N, K): the look that the others are nearest to
    near = likeness.gather(1, best[:, None, None].expand(-1, 1, likeness.shape[2], -1))[:, 0] * worth
    total = near.sum(1)  # (N, K)
    place = (points[..., :2] * near[..., None]).sum(1) / total.clamp(min=1e-12)[..., None]
    return torch.cat([place, total[..., None]], -1)


def _stacked(images: list[list[Tensor | None]]) -> RawDetections:
    """One batch of several images' detections, each filled up to the longest with what is not valid."""
    most = max(len(one[1]) for one in images)  # type: ignore[arg-type]

    def filled(part: Tensor) -> Tensor:
        return F.pad(part, (0, 0) * (part.dim() - 1) + (0, most - len(part)))

    parts = zip(*images, strict=True)
    return RawDetections(*(None if p[0] is None else torch.stack([filled(one) for one in p]) for p in parts))  # type: ignore[arg-type, union-attr]
