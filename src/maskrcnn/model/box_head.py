"""The second stage's box head (Fast R-CNN; its FPN form, Lin et al. 2017, section 4.2): what a RoI is, and
where exactly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config.model import BoxHeadConfig, TestConfig
from maskrcnn.images.batch import Targets
from maskrcnn.model.layers import ConvNorm
from maskrcnn.model.losses import box_loss, class_loss
from maskrcnn.model.roi_sampling import SampledRois
from maskrcnn.ops import boxes as box_ops
from maskrcnn.ops.nms import nms


class BoxHead(nn.Module):
    """Pooled features to class logits and box deltas.

    Args:
        inputs: channels of the pooled features.
        classes: without background, which takes the last place of the logits.
        stage: the backbone's fifth stage where that is the head (C4, the paper's Figure 4 left), with its
            output channels.
    """

    def __init__(
        self, config: BoxHeadConfig, inputs: int, classes: int, stage: tuple[nn.Module, int] | None = None
    ) -> None:
        super().__init__()
        self.config, self.classes = config, classes
        self.stage = stage[0] if stage else None
        channels = stage[1] if stage else inputs
        self.convs = nn.ModuleList()
        for _ in range(config.convs):
            conv = ConvNorm(
                channels, config.conv_channels, 3, norm=config.norm, activation=nn.ReLU(inplace=True)
            )
            self.convs.append(conv)
            channels = config.conv_channels
        if self.stage is None:
            channels *= config.size**2
        self.fcs = nn.ModuleList()
        for _ in range(config.fcs):
            fc = nn.Linear(channels, config.fc_channels)
            nn.init.kaiming_uniform_(fc.weight, a=1)
            nn.init.zeros_(fc.bias)
            self.fcs.append(fc)
            channels = config.fc_channels
        self.score = nn.Linear(channels, classes + 1)
        self.deltas = nn.Linear(channels, 4 * (1 if config.class_agnostic else classes))
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        for layer in (self.score, self.deltas):
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, K + 1) and deltas (N, K or 1, 4) of RoI features (N, C, s, s)."""
        x = features
        for conv in self.convs:
            x = conv(x)
        if self.stage is None:
            # rows, columns, channels: no copy where the pooled features are channels-last
            x = x.permute(0, 2, 3, 1).flatten(1)
        else:
            x = x.mean((2, 3))
        for fc in self.fcs:
            x = F.relu(fc(x))
        return self.score(x), self.deltas(x).unflatten(1, (-1, 4))

    def losses(
        self, logits: Tensor, deltas: Tensor, rois: SampledRois, targets: Targets
    ) -> dict[str, Tensor]:
        """Class and box loss of what `forward` says of sampled RoIs: (B, R, K + 1) and (B, R, K or 1, 4)."""
        config = self.config
        labels = targets.labels.gather(1, rois.object_index)
        with_background = torch.where(rois.positive, labels, self.classes)
        objects = targets.boxes.gather(1, rois.object_index.unsqueeze(-1).expand(-1, -1, 4))
        wanted = box_ops.encode(objects, rois.boxes, config.box_weights)
        column = torch.zeros_like(labels) if config.class_agnostic else labels
        own = deltas.gather(2, column[:, :, None, None].expand(-1, -1, 1, 4))[:, :, 0]
        return {
            "class": class_loss(logits, with_background, rois.valid),
            "box": box_loss(own, wanted, rois.positive, rois.valid.sum(1), config.smooth_l1_beta),
        }


def detect(
    logits: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    valid: Tensor,
    sizes: Tensor,
    config: BoxHeadConfig,
    test: TestConfig,
    score: Tensor | float | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Final boxes: every (RoI, class) pair above the score threshold is a candidate, thinned by NMS within
    its class.

    Args:
        logits: (B, P, K + 1); deltas: (B, P, K or 1, 4); proposals: (B, P, 4); valid: (B, P).
        sizes: (B, 2) height and width of the images.
        score: in place of `test.score`.

    Returns:
        boxes (B, D, 4), scores (B, D), labels (B, D), valid (B, D), best first; D = `test.detections` or
        fewer slots where there are fewer candidates.
    """
    classes = logits.shape[-1] - 1
    scores = logits.float().softmax(-1)[..., :classes]
    least = test.score if score is None else score
    # what is not asked for still votes, so that a higher score gives the same boxes, only fewer
    lowest = least.clamp(max=test.score) if isinstance(least, Tensor) else min(least, test.score)
    scores = torch.where(valid.unsqueeze(-1) & (scores > lowest), scores, torch.full_like(scores, -math.inf))
    flat = scores.flatten(1)
    scores, pair = flat.topk(min(test.candidates, flat.shape[1]), dim=1)
    roi, labels = pair // classes, pair % classes
    rows = torch.arange(roi.shape[0], device=roi.device)[:, None]
    moves = deltas[rows, roi, torch.zeros_like(labels) if config.class_agnostic else labels]
    boxes = box_ops.clip(box_ops.decode(moves, proposals[rows, roi], config.box_weights), sizes)
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    candidate = (scores > -math.inf) & (width > test.min_size) & (height > test.min_size)
    keep = nms(boxes, candidate, test.nms_iou, groups=labels)
    best_scores, best = torch.where(keep, scores, torch.full_like(scores, -math.inf)).topk(
        min(test.detections, scores.shape[1]), dim=1
    )
    found = best_scores > least
    best_boxes, best_labels = boxes.gather(1, best.unsqueeze(-1).expand(-1, -1, 4)), labels.gather(1, best)
    if test.box_vote is not None:
        same = best_labels.unsqueeze(-1) == labels.unsqueeze(-2)
        ballots = torch.where(candidate, scores, 0.0).unsqueeze(-2) * same
        best_boxes = vote(best_boxes, boxes, ballots, test.box_vote)
    best_boxes = torch.where(found.unsqueeze(-1), best_boxes, 0.0)
    return best_boxes, best_scores.masked_fill(~found, 0), best_labels.masked_fill(~found, 0), found


def vote(boxes: Tensor, candidates: Tensor, ballots: Tensor, least: float) -> Tensor:
    """Boxes (B, D, 4) as the mean of the candidates (B, C, 4) that overlap them by more than `least`.

    A candidate weighs its ballot (B, D, C), which is its score, times what its IoU is above `least` (Gidaris
    and Komodakis 2015, section 6, who weigh by score alone; so a candidate comes in without a jump, and
    rounding moves no box).
    """
    weights = ballots * (box_ops.pairwise_iou(boxes, candidates) - least).clamp(min=0)
    total = weights.sum(-1).clamp(min=1e-12)  # of a slot without a detection it is 0
    # coordinate by coordinate: a product of matrices would be done in bfloat16 under autocast
    return torch.stack([(weights * side.unsqueeze(-2)).sum(-1) / total for side in candidates.unbind(-1)], -1)
