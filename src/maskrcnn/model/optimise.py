"""A copy of a network for test time on a CPU: frozen norms folded into their convolutions, large 3x3
convolutions by Winograd's algorithm, linear layers by the faster library. The network itself stays plain.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from torch import Tensor, nn

from maskrcnn.model.layers import ConvNorm, FrozenBatchNorm, fold_norm
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.ops.matmul import eager_float32, linear, onednn_is_faster
from maskrcnn.ops.winograd import transform_weights, winograd_conv
from maskrcnn.tuning import tune

N = TypeVar("N", bound=MaskRCNN)
# below, the transforms cost more than they save (benchmarks/operators.py)
LEAST_CHANNELS, LEAST_CELLS = 128, 4000
ROW = 8 * 251  # bytes, see `_checksum`; 1,021 words a row took half as long again


def optimise(model: N) -> N:
    """A copy of `model` in eval mode that computes the same faster and shares no memory with it.

    It is for `detect` and has no gradients; its state dict is not the network's. Threads may share it. Calls
    `maskrcnn.tune`.
    """
    tune()
    network = fold_norms(copy.deepcopy(model).eval().requires_grad_(False))
    _replace_layers(network)
    return network


def fold_norms(network: N) -> N:
    """Makes every frozen norm part of its convolution's weights, in place."""
    for module in network.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, FrozenBatchNorm):
            weight, bias = fold_norm(module.conv, module.norm)
            module.conv.weight = nn.Parameter(weight.detach(), requires_grad=False)
            module.conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
            module.norm = None
    return network


class WinogradConv(nn.Module):
    """A 3x3 convolution that large maps (B, C, H, W) go through by Winograd's algorithm."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self._transformed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] * x.shape[2] * x.shape[3] < LEAST_CELLS or not eager_float32(x):
            return self.conv(x)
        transformed = self._transformed
        if transformed is None:
            # not before it is needed: they take four times the memory of the weights. Two threads may both
            # make them
            self._transformed = transformed = transform_weights(self.conv.weight)
        return winograd_conv(x, transformed, self.conv.bias)


class FasterLinear(nn.Module):
    """A linear layer of (..., C) by oneDNN, see `maskrcnn.ops.matmul`."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.layer.weight, self.layer.bias)


def _replace_layers(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and _suits_winograd(child):
            setattr(module, name, WinogradConv(child))
        elif isinstance(child, nn.Linear) and onednn_is_faster():
            setattr(module, name, FasterLinear(child))
        else:
            _replace_layers(child)


def _suits_winograd(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == (1, 1)
        and conv.padding == (1, 1)
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
    )


def fingerprint(model: MaskRCNN) -> tuple[object, ...]:
    """What an optimised copy of `model` was made of: its settings, its layers and the values of all its
    tensors.

    Values rather than PyTorch's version counters, which do not see `weight.data.mul_(3)`.
    """
    return (model.config.model_dump_json(), str(model), *(_checksum(tensor) for tensor in _tensors(model)))


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _checksum(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor lies, and a CRC of the sums of its columns, were it a table of 251 8-byte words a row:
    cheaper than a CRC of all of it. 251 is prime, so values that change places change sums."""
    data = tensor.detach().numpy().ravel(order="K").view(np.uint8)  # as it lies in memory, without a copy
    whole = data.size // ROW * ROW
    sums = zlib.crc32(data[:whole].view(np.int64).reshape(-1, ROW // 8).sum(0).data) if whole else 0
    return tensor.data_ptr(), zlib.crc32(data[whole:].data, sums)
