"""A convolution with its norm and activation: the brick of every backbone, neck and head here."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F

from maskrcnn.config.model import Norm


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine part never change: what fine-tuning with few images a step
    needs.
    """

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

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        # a batch norm's count of its batches is no weight
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *others)


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes. Unlike `nn.SyncBatchNorm` it runs on any device and
    backend.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and several):
            return super().forward(x)
        # counts too: the images of two processes may be padded to different sizes
        wide = x.float()
        count = wide.new_tensor([wide.numel() / wide.shape[1]])
        total = all_reduce(torch.cat([wide.sum((0, 2, 3)), count]))
        mean = total[:-1] / total[-1]
        # not the mean square less the squared mean, which cancel where the mean is large
        apart = wide - mean[:, None, None]
        variance = all_reduce((apart * apart).sum((0, 2, 3))) / total[-1]
        with torch.no_grad():
            unbiased = variance * total[-1] / (total[-1] - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (wide * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]).to(x.dtype)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def make_norm(kind: Norm, channels: int) -> nn.Module | None:
    """The norm of that kind over (B, C, H, W); None for "none"."""
    if kind == "none":
        return None
    if kind == "frozen":
        return FrozenBatchNorm(channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "sync":
        return SyncBatchNorm(channels)
    if kind == "layer":
        return ChannelNorm(channels, eps=1e-6)
    return nn.GroupNorm(math.gcd(32, channels), channels)


def fold_norm(conv: nn.Conv2d, norm: FrozenBatchNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that `conv` and `norm` after it amount to."""
    scale, shift = norm.affine()
    bias = shift if conv.bias is None else shift + conv.bias * scale
    return conv.weight * scale[:, None, None, None], bias


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
            # one convolution: the norm by itself is one more pass over the feature map, forward and backward
            weight, bias = fold_norm(conv, self.norm)
            x = F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)
        else:
            x = conv(x)
            if self.norm is not None:
                x = self.norm(x)
        return x if self.activation is None else self.activation(x)


def freeze_norms(module: nn.Module) -> None:
    """Batch norms of the convolutions in `module`, over one process or all, become frozen ones with the same
    values.
    """
    for conv in list(module.modules()):
        if isinstance(conv, ConvNorm) and isinstance(conv.norm, nn.BatchNorm2d):
            frozen = FrozenBatchNorm(conv.norm.num_features, conv.norm.eps)
            frozen.load_state_dict(conv.norm.state_dict())
            conv.norm = frozen
