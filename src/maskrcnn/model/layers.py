"""A convolution with its norm and activation: the brick of every backbone, neck and head here."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config import Norm


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine part never change: what fine-tuning with few pictures a step needs."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def affine(self) -> tuple[Tensor, Tensor]:
        """The scale and shift (C,) that the norm amounts to."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.affine()
        return x * scale[:, None, None] + shift[:, None, None]


def make_norm(kind: Norm, channels: int) -> nn.Module | None:
    """The norm of that kind over (B, C, H, W); None for "none"."""
    if kind == "none":
        return None
    if kind == "frozen":
        return FrozenBatchNorm(channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "sync":
        return nn.SyncBatchNorm(channels)
    return nn.GroupNorm(math.gcd(32, channels), channels)


class ConvNorm(nn.Module):
    """Convolution, norm, activation, on (B, C, H, W). The convolution has a bias where there is no norm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        norm: Norm = "none",
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2) if padding is None else padding
        bias = norm == "none"
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias)
        self.norm = make_norm(norm, outputs)
        self.activation = activation
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if isinstance(self.norm, FrozenBatchNorm):
            # folded into the weights on the way: saves a pass over the feature map, forward and backward
            scale, shift = self.norm.affine()
            weight = conv.weight * scale[:, None, None, None]
            x = F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)
        else:
            x = conv(x)
            if self.norm is not None:
                x = self.norm(x)
        return x if self.activation is None else self.activation(x)
