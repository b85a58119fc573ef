"""A network that gives a fixed answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maskrcnn.config.model import InputConfig, KeypointSchema, ModelConfig


class Raw(NamedTuple):
    """The fields of RawDetections."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    valid: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    keypoint_logits: Tensor | None = None


def config() -> ModelConfig:
    schema = KeypointSchema(names=["head", "foot"], flip=[0, 1], skeleton=[(0, 1)], sigmas=[0.05, 0.05])
    small = InputConfig(short_side=64, long_side=128, divisor=32)
    return ModelConfig(classes=["cat", "dog"], keypoints=schema, input=small)


def answer(images: int = 1) -> Raw:
    """Five slots: a cat, a dog over the right border, a low score, one that is not valid, one with nothing in
    it.
    """
    boxes = torch.tensor(
        [[8.0, 4, 40, 60], [90, 10, 300, 50], [0, 0, 9, 9], [0, 0, 64, 64], [20, 20, 20, 40]]
    )
    scores = torch.tensor([0.6, 0.9, 0.2, 0.99, 0.95])
    valid = torch.tensor([True, True, True, False, True])
    masks = torch.ones(5, 28, 28)
    points = torch.tensor([[10.0, 5, 0.7], [38, 59, 0.3]]).expand(5, 2, 3)
    labels = torch.tensor([0, 1, 0, 1, 1])
    return Raw(*(t.expand(images, *t.shape).clone() for t in (boxes, scores, labels, valid, masks, points)))


class FixedModel(nn.Module):
    """Answers the same whatever it sees, and remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.config = config()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: Tensor, sizes: Tensor) -> Raw:
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append(tuple(images.shape))
        return answer(len(images))


def image(height: int = 128, width: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
