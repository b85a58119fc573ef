"""A network's first convolution for another number of input channels than it was trained with."""

from __future__ import annotations

import torch
from torch import Tensor

STEM = "backbone.stem.conv.weight"


def adapt_first_convolution(weight: Tensor, channels: int) -> Tensor:
    """Weights (O, C, k, k) for `channels` inputs.

    One channel gets the sum, which does to grey what the original does to the same grey in all channels.
    Several take the original's in turn (R, G, B, R, ...), times C / `channels`, so that activations keep
    their scale.
    """
    before = weight.shape[1]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, torch.arange(channels) % before] * (before / channels)
