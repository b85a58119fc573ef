"""The Triton kernel of RoIAlign, and what launches it; its gradient's is in `roi_align_gradient.py`.

A program takes a bin (or a few) of one box and a block of channels: in channels-last memory each of the four
cells of a sample is one coalesced vector, and what a bin needs never leaves the registers. How many points
adaptive sampling takes is computed by the program, so nothing is synchronised. Coordinates are computed as in
`roi_align_plain`, in float32 without fused multiply-adds, so that both take the same samples; sums are
float32 whatever the features are.

Importing this imports Triton, and raises ImportError where it cannot work; `roi_align` then does without.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from maskrcnn.ops.triton_compiler import demand_compiler

MOST_LEVELS = 5  # as many as the kernels have pointers

_MOST_CHANNELS = 256  # of one program
UNROLLED = 4  # samples per bin and side up to which their loop is unrolled
# else each map size is compiled anew
_SIZES = [f"{letter}{number}" for letter in "hw" for number in range(MOST_LEVELS)]


demand_compiler()


def forward(
    features: list[Tensor],
    scales: list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
    *,
    bins: int = 1,
    block: int | None = None,
    warps: int | None = None,
) -> Tensor:
    """Launches the kernel: (N, C, size, size), channels-last, without autograd.

    Args:
        scales: feature cells per pixel, per level.
        bins, block, warps: bins and channels of a program, and its warps; they change the speed only.
    """
    features = [f.contiguous(memory_format=torch.channels_last) for f in features]
    count, channels = boxes.shape[0], features[0].shape[1]
    out = features[0].new_empty(count, size, size, channels)
    if out.numel() == 0:
        return out.permute(0, 3, 1, 2)
    block = block or min(triton.next_power_of_2(channels), _MOST_CHANNELS)
    warps = warps or max(1, block * features[0].element_size() // (16 * 32))  # 16 bytes to a thread
    spare = MOST_LEVELS - len(features)
    arguments = (
        *features,
        *[features[0]] * spare,
        *[f.shape[2] for f in features],
        *[1] * spare,
        *[f.shape[3] for f in features],
        *[1] * spare,
        *scales,
        *[1.0] * spare,
    )
    grid = (count * triton.cdiv(size * size, bins), triton.cdiv(channels, block))
    with torch.cuda.device_of(out):  # Triton launches on the current device
        _kernel[grid](
            out,
            boxes.float().contiguous(),
            image.contiguous(),
            level.contiguous(),
            *arguments,
            channels,
            SIZE=size,
            RATIO=sampling_ratio,
            UNROLL=0 < sampling_ratio <= UNROLLED,
            ALIGNED=aligned,
            LEVELS=len(features),
            BINS=bins,
            BLOCK=block,
            num_warps=warps,
            # coordinates round as the plain way's do, or `ceil` takes another number of samples
            enable_fp_fusion=False,
        )
    return out.permute(0, 3, 1, 2)


# The kernel, and its parts. Along an axis `first` is where a box starts, in cells, `step` is a bin's length
# and `count` the number of its samples, all of them float32 scalars.


@triton.jit(do_not_specialize=_SIZES)
def _kernel(
    pooled,
    boxes,
    image,
    level,
    m0,
    m1,
    m2,
    m3,
    m4,
    h0,
    h1,
    h2,
    h3,
    h4,
    w0,
    w1,
    w2,
    w3,
    w4,
    s0,
    s1,
    s2,
    s3,
    s4,
    channels,
    SIZE: tl.constexpr,
    RATIO: tl.constexpr,
    UNROLL: tl.constexpr,
    ALIGNED: tl.constexpr,
    LEVELS: tl.constexpr,
    BINS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """From the maps m0 to m4, of heights h, widths w and scales s, to `pooled`."""
    chunks: tl.constexpr = (SIZE * SIZE + BINS - 1) // BINS
    box = (tl.program_id(0) // chunks).to(tl.int64)
    begin = (tl.program_id(0) % chunks) * BINS
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    wanted = channel < channels

    own = tl.load(level + box)
    height = _of_level(own, h0, h1, h2, h3, h4, LEVELS)
    width = _of_level(own, w0, w1, w2, w3, w4, LEVELS)
    scale = _of_level(own, s0, s1, s2, s3, s4, LEVELS)
    # int64: a batch of large maps has over 2^31 numbers
    before = tl.load(image + box).to(tl.int64) * height * width * channels
    origin = _of_level(own, m0, m1, m2, m3, m4, LEVELS) + before + channel
    x1, y1 = tl.load(boxes + 4 * box), tl.load(boxes + 4 * box + 1)
    x2, y2 = tl.load(boxes + 4 * box + 2), tl.load(boxes + 4 * box + 3)
    y_first, y_step, y_count = axis(y1, y2, scale, SIZE, RATIO, ALIGNED)
    x_first, x_step, x_count = axis(x1, x2, scale, SIZE, RATIO, ALIGNED)

    for number in range(begin, tl.minimum(begin + BINS, SIZE * SIZE)):
        row, column = number // SIZE, number % SIZE
        place = pooled + (box * SIZE * SIZE + number) * channels + channel
        value = tl.zeros((BLOCK,), tl.float32)
        if UNROLL:
            for slot in tl.static_range(RATIO * RATIO):
                y = cells(y_first, y_step, y_count, row, slot // RATIO, height)
                x = cells(x_first, x_step, x_count, column, slot % RATIO, width)
                value = _sample(origin, value, y, x, width, channel, channels)
        else:
            y_low, y_high = slots(y_first, y_step, y_count, row, 0, height, RATIO)
            x_low, x_high = slots(x_first, x_step, x_count, column, 0, width, RATIO)
            for y_slot in range(y_low, y_high):
                y = cells(y_first, y_step, y_count, row, y_slot, height)
                for x_slot in range(x_low, x_high):
                    x = cells(x_first, x_step, x_count, column, x_slot, width)
                    value = _sample(origin, value, y, x, width, channel, channels)
        tl.store(place, value.to(pooled.dtype.element_ty), mask=wanted)


@triton.jit
def _of_level(level, a0, a1, a2, a3, a4, LEVELS: tl.constexpr):
    """The one of five values, or pointers, that belongs to `level`; the first for a number that is none."""
    found = a0
    if LEVELS > 1:
        found = tl.where(level == 1, a1, found)
    if LEVELS > 2:
        found = tl.where(level == 2, a2, found)
    if LEVELS > 3:
        found = tl.where(level == 3, a3, found)
    if LEVELS > 4:
        found = tl.where(level == 4, a4, found)
    return found


@triton.jit
def axis(start, end, scale, SIZE: tl.constexpr, RATIO: tl.constexpr, ALIGNED: tl.constexpr):
    """`first`, `step` and `count` of a box from `start` to `end` in pixels."""
    first = start * scale
    extent = end * scale - first
    if ALIGNED:
        first = first - 0.5
    else:
        extent = tl.maximum(extent, 1.0)
    step = tl.div_rn(extent, SIZE * 1.0)  # `/` is approximate in Triton
    if RATIO > 0:
        count = step * 0.0 + RATIO
    else:
        count = tl.ceil(step)
    return first, step, count


@triton.jit
def slots(first, step, count, number, begin, end, RATIO: tl.constexpr):
    """The range of the samples of bin `number` that may take part of the cells from `begin` to `end`."""
    if RATIO > 0:
        low = count * 0.0
        high = count
    else:
        # most samples of a box far larger than the map are outside; they are at least half a cell apart,
        # which bounds the loop even for a box that ends at infinity
        start = first + number * step
        apart = tl.div_rn(step, tl.maximum(count, 1.0))
        low = tl.maximum(tl.floor(tl.div_rn(begin - 1.0 - start, apart) - 1.5), 0.0)
        high = tl.minimum(tl.ceil(tl.div_rn(end - start, apart) + 1.5), count)
        high = tl.minimum(high, low + 2.0 * (end - begin) + 8.0)
    return low.to(tl.int32), high.to(tl.int32)


@triton.jit
def cells(first, step, count, number, slot, length):
    """Of sample `slot` of bin `number` its two cells and their weights, which are 0 where it does not
    count.
    """
    samples = tl.maximum(count, 1.0)
    where = first + (number + tl.div_rn(slot + 0.5, samples)) * step
    last = length - 1.0
    share = tl.where((where >= -1.0) & (where <= last + 1.0), tl.div_rn(1.0, samples), 0.0)
    where = tl.minimum(tl.maximum(where, 0.0), last)
    low = tl.floor(where)
    high = tl.minimum(low + 1.0, last)
    upper = where - low
    return low.to(tl.int64), high.to(tl.int64), (1.0 - upper) * share, upper * share


@triton.jit
def _sample(origin, value, y, x, width, channel, channels):
    """Adds the sample at `y` and `x`, as of `cells`, to `value`."""
    top, bottom, top_weight, bottom_weight = y
    left, right, left_weight, right_weight = x
    above, below = origin + top * width * channels, origin + bottom * width * channels
    value += _corner(above + left * channels, top_weight * left_weight, channel, channels)
    value += _corner(above + right * channels, top_weight * right_weight, channel, channels)
    value += _corner(below + left * channels, bottom_weight * left_weight, channel, channels)
    value += _corner(below + right * channels, bottom_weight * right_weight, channel, channels)
    return value


@triton.jit
def _corner(cell, weight, channel, channels):
    wanted = channel < tl.where(weight != 0.0, channels, 0)  # of no weight, nothing is touched
    return tl.load(cell, mask=wanted, other=0.0).to(tl.float32) * weight
