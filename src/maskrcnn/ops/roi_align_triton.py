"""RoIAlign on a GPU as an operator of PyTorch with a gradient; its Triton kernels are in
`roi_align_kernels` and `roi_align_gradient`.

Both are repeatable, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from maskrcnn.ops.roi_align_gradient import backward
from maskrcnn.ops.roi_align_kernels import MOST_LEVELS, forward

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def takes(features: list[Tensor], boxes: Tensor) -> bool:
    """Whether the kernels do these inputs; what they do not is left to `roi_align_plain`."""
    if len(features) > MOST_LEVELS or features[0].dtype not in _DTYPES or features[0].shape[1] == 0:
        return False
    if any(f.dtype != features[0].dtype or f.shape[1] != features[0].shape[1] for f in features):
        return False
    # the kernels know no gradient of the boxes
    return not (torch.is_grad_enabled() and boxes.requires_grad)


def roi_align_triton(
    features: list[Tensor],
    strides: list[int] | list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    *,
    size: int,
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> Tensor:
    """`roi_align` with reduce="average", for inputs that `takes` accepts; same arguments, same result."""
    scales = [1.0 / stride for stride in strides]
    pooled: Tensor = _roi_align(features, scales, boxes.detach(), image, level, size, sampling_ratio, aligned)
    return pooled


@torch.library.custom_op("maskrcnn::roi_align_triton", mutates_args=())
def _roi_align(
    features: list[Tensor],
    scales: list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return forward(features, scales, boxes, image, level, size, sampling_ratio, aligned)


@_roi_align.register_fake
def _(
    features: list[Tensor],
    scales: list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return features[0].new_empty(boxes.shape[0], size, size, features[0].shape[1]).permute(0, 3, 1, 2)


@torch.library.custom_op("maskrcnn::roi_align_triton_backward", mutates_args=())
def _roi_align_backward(
    grad: Tensor,
    images: int,
    heights: list[int],
    widths: list[int],
    scales: list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> list[Tensor]:
    shapes = list(zip(heights, widths, strict=True))
    return backward(grad, images, shapes, scales, boxes, image, level, size, sampling_ratio, aligned)


@_roi_align_backward.register_fake
def _(
    grad: Tensor,
    images: int,
    heights: list[int],
    widths: list[int],
    scales: list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> list[Tensor]:
    shapes = zip(heights, widths, strict=True)
    return [grad.new_empty(images, h, w, grad.shape[1]).permute(0, 3, 1, 2) for h, w in shapes]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, ctx.scales, boxes, image, level, ctx.size, ctx.sampling_ratio, ctx.aligned = inputs
    ctx.save_for_backward(boxes, image, level)
    ctx.images = features[0].shape[0]
    ctx.heights = [f.shape[2] for f in features]
    ctx.widths = [f.shape[3] for f in features]


def _gradients(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    maps = (ctx.images, ctx.heights, ctx.widths, ctx.scales)
    own = _roi_align_backward(grad, *maps, *ctx.saved_tensors, ctx.size, ctx.sampling_ratio, ctx.aligned)
    return own, None, None, None, None, None, None, None


_roi_align.register_autograd(_gradients, setup_context=_remember)
