"""What transformers and ConvNeXts share: the stem, the MLP, and branches that are left out in training."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from maskrcnn.model.layers import ChannelNorm


def patchify(input_channels: int, width: int, *, eps: float) -> nn.Sequential:
    """The stem: each 4 x 4 pixels become a token, behind a norm."""
    conv = nn.Conv2d(input_channels, width, 4, 4)
    return nn.Sequential(OrderedDict(conv=conv, norm=ChannelNorm(width, eps=eps)))


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training the branch of an image is left out with a
    probability of `rate`, and what stays is scaled so that the expectation does not change.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * kept.to(x.dtype) / (1 - self.rate)


def drop_rates(deepest: float, blocks: int) -> list[float]:
    """The rate of each block, rising in equal steps from 0 to that of the deepest."""
    return [deepest * block / max(1, blocks - 1) for block in range(blocks)]


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, over the last axis."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))
