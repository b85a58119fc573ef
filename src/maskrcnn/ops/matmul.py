"""Matrix products in float32 on a CPU, by whichever of PyTorch's two libraries is faster there.

PyTorch multiplies matrices with MKL and convolves with oneDNN. On AMD processors with AVX-512, MKL uses only
half the width of the registers: two cores of a Zen 5 reach 210 GFLOP/s with MKL and 430 to 510 with oneDNN.
On Intel's, MKL is ahead (docs/performance.md). A 1 x 1 convolution of a channels-last map is a matrix
product, so oneDNN can be reached through `conv2d`, forward and backward.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F


@functools.cache
def onednn_is_faster() -> bool:
    """Whether this is an AMD processor with AVX-512. Not timed, so that a machine gives the same bits every
    time.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and "AuthenticAMD" in _vendor()


def _vendor() -> str:
    try:
        return next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "vendor" in line), "")
    except OSError:
        return platform.processor()  # on Windows it ends with the vendor


def eager_float32(x: Tensor) -> bool:
    """Whether x is in float32 on a CPU and stays so: outside a compiled graph and autocast."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` of x (..., C) by weight (K, C): (..., K)."""
    if not (eager_float32(x) and x.numel() and onednn_is_faster()):
        return F.linear(x, weight, bias)
    # each row of x is one cell of a map of height 1
    rows = x.reshape(1, 1, -1, x.shape[-1]).permute(0, 3, 1, 2)
    found = F.conv2d(rows, weight[:, :, None, None], bias)
    return found.permute(0, 2, 3, 1).reshape(*x.shape[:-1], len(weight))


def grouped(x: Tensor, weights: Tensor) -> Tensor:
    """For each of G groups the product of x (N, G, C) and weights (G, C, K): (N, G, K). No gradients.

    Fastest where `weights` come from `arranged` and x is contiguous.
    """
    if not (x.dtype == torch.float32 and len(x) and onednn_is_faster()):
        return torch.bmm(x.transpose(0, 1), weights).transpose(0, 1)
    groups, inputs, outputs = weights.shape
    places = x.reshape(1, 1, len(x), groups * inputs).permute(0, 3, 1, 2)
    kernels = weights.transpose(1, 2).reshape(groups * outputs, inputs, 1, 1)
    return F.conv2d(places, kernels, groups=groups).permute(0, 2, 3, 1).view(len(x), groups, outputs)


def arranged(weights: Tensor) -> Tensor:
    """The same weights (G, C, K), laid out in memory so that `grouped` need not copy them."""
    return (
        weights.transpose(1, 2).contiguous().transpose(1, 2) if onednn_is_faster() else weights.contiguous()
    )
