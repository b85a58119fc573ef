"""The Triton kernel of RoIAlign's gradient, and what launches it.

A program takes a tile of one map's cells and a block of channels, and adds up in its registers what the bins
of all boxes of that image and level took of them, box after box, in float32. Nothing is zeroed and nothing
added atomically, so the gradient has the same bits each time, and each of its numbers is written once.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskrcnn.ops.roi_align_kernels import UNROLLED, axis, cells, slots

_TILE, _CHANNELS = 8, 64  # cells per side and channels of one program


def backward(
    grad: Tensor,
    images: int,
    shapes: list[tuple[int, int]],
    scales: list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
    *,
    tile: int = _TILE,
    block: int | None = None,
) -> list[Tensor]:
    """Launches the kernel of the gradient once for each level: (B, C, H, W) of the dtype of `grad` (N, C,
    size, size), channels-last.

    Args:
        images: B.
        shapes: height and width of each level.
        scales: as for `forward`.
        tile, block: cells per side and channels of a program; they change the speed only.
    """
    channels = grad.shape[1]
    last = grad.permute(0, 2, 3, 1).contiguous()
    block = block or min(triton.next_power_of_2(channels), _CHANNELS)
    # the boxes image by image and level by level, in the order that they came in
    key = image * len(shapes) + level
    order = key.argsort(stable=True)
    ends = torch.arange(images * len(shapes) + 1, device=key.device)
    starts = torch.searchsorted(key[order], ends)
    boxes, found = boxes.float().contiguous(), []
    for number, ((height, width), scale) in enumerate(zip(shapes, scales, strict=True)):
        own = grad.new_empty(images, height, width, channels)
        tiles = images * triton.cdiv(height, tile) * triton.cdiv(width, tile)
        if own.numel():
            with torch.cuda.device_of(own):
                _gradient_kernel[(tiles, triton.cdiv(channels, block))](
                    last,
                    boxes,
                    order,
                    starts[number:],
                    own,
                    height,
                    width,
                    scale,
                    channels,
                    SIZE=size,
                    RATIO=sampling_ratio,
                    UNROLL=0 < sampling_ratio <= UNROLLED,
                    ALIGNED=aligned,
                    LEVELS=len(shapes),
                    TILE=tile,
                    BLOCK=block,
                    num_warps=4,
                    enable_fp_fusion=False,
                )
        found.append(own.permute(0, 3, 1, 2))
    return found


@triton.jit(do_not_specialize=["height", "width"])
def _gradient_kernel(
    grad,
    boxes,
    order,
    starts,
    own,
    height,
    width,
    scale,
    channels,
    SIZE: tl.constexpr,
    RATIO: tl.constexpr,
    UNROLL: tl.constexpr,
    ALIGNED: tl.constexpr,
    LEVELS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """From `grad` of the bins to `own` of the cells of one level, whose boxes of image b are those in `order`
    from starts[b * LEVELS] to the next of `starts`.
    """
    across, down = tl.cdiv(width, TILE), tl.cdiv(height, TILE)
    tile = tl.program_id(0)
    image = tile // (across * down)
    top, left = (tile // across) % down * TILE, tile % across * TILE
    cell = tl.arange(0, TILE * TILE)
    row, column = top + cell // TILE, left + cell % TILE
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    wanted = channel < channels
    total = tl.zeros((TILE * TILE, BLOCK), tl.float32)
    begin, end = tl.load(starts + image * LEVELS), tl.load(starts + image * LEVELS + 1)
    for number in range(begin, end):
        box = tl.load(order + number)
        x1, y1 = tl.load(boxes + 4 * box), tl.load(boxes + 4 * box + 1)
        x2, y2 = tl.load(boxes + 4 * box + 2), tl.load(boxes + 4 * box + 3)
        y_first, y_step, y_count = axis(y1, y2, scale, SIZE, RATIO, ALIGNED)
        x_first, x_step, x_count = axis(x1, x2, scale, SIZE, RATIO, ALIGNED)
        if _reaches(y_first, y_step * SIZE, 0, top, TILE) & _reaches(x_first, x_step * SIZE, 0, left, TILE):
            for i in range(SIZE):
                if _reaches(y_first, y_step, i, top, TILE):
                    part = _weights(y_first, y_step, y_count, i, row, top, height, TILE, RATIO, UNROLL)
                    bins = grad + (box * SIZE + i) * SIZE * channels + channel
                    for j in range(SIZE):
                        if _reaches(x_first, x_step, j, left, TILE):
                            weight = part * _weights(
                                x_first, x_step, x_count, j, column, left, width, TILE, RATIO, UNROLL
                            )
                            value = tl.load(bins + j * channels, mask=wanted, other=0.0).to(tl.float32)
                            total += weight[:, None] * value[None, :]
    # int64: a batch of large maps has over 2^31 numbers
    place = (image.to(tl.int64) * height + row) * width + column
    inside = ((row < height) & (column < width))[:, None] & wanted[None, :]
    tl.store(own + place[:, None] * channels + channel[None, :], total.to(own.dtype.element_ty), mask=inside)


@triton.jit
def _reaches(first, step, number, begin, TILE: tl.constexpr):
    """Whether samples of bin `number` may take part of one of `TILE` cells from `begin` on."""
    start, stop = first + number * step, first + (number + 1) * step
    # a little further than a sample reaches, for the rounding
    return (tl.maximum(start, stop) >= begin - 1.5) & (tl.minimum(start, stop) <= begin + TILE + 0.5)


@triton.jit
def _weights(
    first,
    step,
    count,
    number,
    cell,
    begin,
    length,
    TILE: tl.constexpr,
    RATIO: tl.constexpr,
    UNROLL: tl.constexpr,
):
    """What bin `number` takes, along an axis, of each of `cell`, which are among `TILE` from `begin` on."""
    weight = cell * 0.0
    if UNROLL:
        for slot in tl.static_range(RATIO):
            weight += _share(first, step, count, number, slot, cell, length)
    else:
        low, high = slots(first, step, count, number, begin, begin + TILE, RATIO)
        for slot in range(low, high):
            weight += _share(first, step, count, number, slot, cell, length)
    return weight


@triton.jit
def _share(first, step, count, number, slot, cell, length):
    """What sample `slot` of bin `number` takes, along an axis, of each of `cell`."""
    low, high, lower, upper = cells(first, step, count, number, slot, length)
    return tl.where(cell == low, lower, 0.0) + tl.where(cell == high, upper, 0.0)
