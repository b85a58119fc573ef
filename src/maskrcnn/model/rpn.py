"""Region proposal network (Ren et al. 2015, section 3; on a pyramid, Lin et al. 2017, section 4.1): where
objects may be.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config.model import RpnConfig
from maskrcnn.images.batch import Targets
from maskrcnn.model.anchors import cell_anchors, grid_anchors
from maskrcnn.model.losses import box_loss, objectness_loss
from maskrcnn.model.matching import match
from maskrcnn.model.sampling import random_keys, sample
from maskrcnn.ops import boxes as box_ops
from maskrcnn.ops.nms import nms
from maskrcnn.ops.tracing import exporting

_UNIT = (1.0, 1.0, 1.0, 1.0)


class Proposals(NamedTuple):
    boxes: Tensor  # (B, P, 4) xyxy pixels, best first
    scores: Tensor  # (B, P) objectness logits; -inf where not valid
    valid: Tensor  # (B, P) bool


class RpnOutput(NamedTuple):
    """What the head says of all anchors, level after level."""

    objectness: list[Tensor]  # per level (B, A_l) logits
    deltas: list[Tensor]  # per level (B, A_l, 4)
    anchors: list[Tensor]  # per level (A_l, 4)


class RPN(nn.Module):
    """One small convolutional head over every level.

    Args:
        channels: of every level.
        strides: of every level; as many as `config.sizes`.
    """

    def __init__(self, config: RpnConfig, channels: int, strides: list[int]) -> None:
        super().__init__()
        if len(config.sizes) != len(strides):
            raise ValueError(f"rpn.sizes has {len(config.sizes)} levels, the neck {len(strides)}")
        self.config, self.strides = config, strides
        width = config.channels or channels
        self.convs = nn.ModuleList(
            nn.Conv2d(channels if i == 0 else width, width, 3, padding=1) for i in range(config.convs)
        )
        per_cell = len(config.sizes[0]) * len(config.ratios)
        self.objectness = nn.Conv2d(width, per_cell, 1)
        self.deltas = nn.Conv2d(width, per_cell * 4, 1)
        for level, sizes in enumerate(config.sizes):
            cells = cell_anchors(sizes, config.ratios, config.round_anchors)
            self.register_buffer(f"cells{level}", cells, persistent=False)
        for layer in (*self.convs, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, features: list[Tensor]) -> RpnOutput:
        """Scores and moves of every anchor; `features` per level (B, C, H, W)."""
        objectness, deltas = [], []
        for x in features:
            for conv in self.convs:
                x = F.relu_(conv(x))
            objectness.append(self.objectness(x).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.deltas(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4))
        shapes = [(x.shape[2], x.shape[3]) for x in features]
        cells = [self.get_buffer(f"cells{level}") for level in range(len(features))]
        anchors = grid_anchors(shapes, self.strides, cells, self.config.strides_of_image)
        return RpnOutput(objectness, deltas, anchors)

    @torch.no_grad()
    def propose(self, output: RpnOutput, sizes: Tensor, *, before: int, after: int) -> Proposals:
        """The best anchors of each level, moved, cut to the image, and thinned by NMS within their level.

        Args:
            sizes: (B, 2) height and width of the images.
            before: anchors that each level sends into NMS.
            after: proposals that an image keeps of all levels; P is this or, where there are fewer, their
                number.
        """
        # an exported graph takes images of any size: then how many anchors there are is not known
        slots = before if exporting() else min(before, max(a.shape[0] for a in output.anchors))
        all_deltas, all_anchors, all_scores = [], [], []
        for logits, deltas, anchors in zip(output.objectness, output.deltas, output.anchors, strict=True):
            count = torch.sym_min(before, anchors.shape[0])
            scores, best = logits.float().topk(count, dim=1)
            # levels of fewer anchors are filled up so that all are moved and go through NMS at once
            fill = (0, 0, 0, slots - count)
            all_deltas.append(F.pad(deltas.gather(1, best.unsqueeze(-1).expand(-1, -1, 4)), fill))
            all_anchors.append(F.pad(anchors[best], fill))
            all_scores.append(F.pad(scores, fill[2:], value=-math.inf))
        levels = len(all_scores)
        boxes = box_ops.decode(torch.cat(all_deltas, 1), torch.cat(all_anchors, 1), _UNIT)
        boxes = box_ops.clip(boxes, sizes).unflatten(1, (levels, slots))
        scores = torch.stack(all_scores, 1)  # (B, L, slots)
        width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
        valid = (width > self.config.min_size) & (height > self.config.min_size) & torch.isfinite(scores)
        keep = nms(boxes.flatten(0, 1), valid.flatten(0, 1), self.config.nms_iou).view(valid.shape)
        scores = torch.where(keep, scores, torch.full_like(scores, -math.inf)).flatten(1)
        scores, best = scores.topk(min(after, scores.shape[1]), dim=1)
        boxes = boxes.flatten(1, 2).gather(1, best.unsqueeze(-1).expand(-1, -1, 4))
        return Proposals(boxes, scores, scores > -math.inf)

    def losses(self, output: RpnOutput, targets: Targets) -> dict[str, Tensor]:
        """Objectness and box loss over a sample of anchors."""
        config = self.config
        anchors = torch.cat(output.anchors)
        with torch.no_grad():
            matched = match(
                anchors.unsqueeze(0),
                *(targets.boxes, targets.valid, targets.ignore),
                config.ignore_iou,
                config.low_quality_min_iou,
            )
            positive = (matched.iou >= config.positive_iou) | matched.rescued
            negative = (matched.iou < config.negative_iou) & ~positive & ~matched.ignored
            index = matched.index
            if config.low_quality_overrides:
                index = torch.where(matched.rescued, matched.rescuer, index)
            keys = random_keys(targets.seeds, anchors.shape[0], stream=0)
            chosen = sample(
                positive, negative, keys, samples=config.samples, positive_fraction=config.positive_fraction
            )
            object_index = index.gather(1, chosen.index)
            objects = targets.boxes.gather(1, object_index.unsqueeze(-1).expand(-1, -1, 4))
            wanted = box_ops.encode(objects, anchors[chosen.index], _UNIT)
        logits = torch.cat(output.objectness, 1).gather(1, chosen.index)
        deltas = torch.cat(output.deltas, 1).gather(1, chosen.index.unsqueeze(-1).expand(-1, -1, 4))
        count = float(config.samples) if config.normaliser == "samples" else chosen.valid.sum(1)
        return {
            "rpn_objectness": objectness_loss(logits, chosen.positive, chosen.valid, count),
            "rpn_box": box_loss(deltas, wanted, chosen.positive, count, config.smooth_l1_beta),
        }
