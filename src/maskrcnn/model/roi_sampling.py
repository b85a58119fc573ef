"""Which proposals the second stage is trained on (Girshick 2015, section 2.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maskrcnn.config.model import RoiConfig
from maskrcnn.images.batch import Targets
from maskrcnn.model.matching import match
from maskrcnn.model.sampling import random_keys, sample


class SampledRois(NamedTuple):
    """RoIs that the second stage is trained on; positives come first, within the first `prefix` columns."""

    boxes: Tensor  # (B, R, 4)
    positive: Tensor  # (B, R)
    valid: Tensor  # (B, R)
    object_index: Tensor  # (B, R) slot of the matched object
    prefix: int


@torch.no_grad()
def sample_rois(boxes: Tensor, valid: Tensor, targets: Targets, config: RoiConfig) -> SampledRois:
    """Proposals and, as in Fast R-CNN, the objects themselves, matched and sampled.

    Args:
        boxes: (B, P, 4) proposals, of which those that are `valid` (B, P) count.
    """
    if config.add_ground_truth:
        boxes, valid = torch.cat([boxes, targets.boxes], 1), torch.cat([valid, targets.valid], 1)
    matched = match(boxes, targets.boxes, targets.valid, targets.ignore, config.ignore_iou)
    positive = (matched.iou >= config.positive_iou) & valid
    negative = (matched.iou < config.positive_iou) & valid & ~matched.ignored
    keys = random_keys(targets.seeds, boxes.shape[1], stream=1)
    chosen = sample(
        positive, negative, keys, samples=config.samples, positive_fraction=config.positive_fraction
    )
    picked = boxes.gather(1, chosen.index.unsqueeze(-1).expand(-1, -1, 4))
    object_index = matched.index.gather(1, chosen.index)
    return SampledRois(picked, chosen.positive, chosen.valid, object_index, chosen.prefix)
