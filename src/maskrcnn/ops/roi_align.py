"""RoIAlign (He et al. 2017, section 3): features at exactly the box's place, without rounding it to the grid.

Each of size x size bins of a RoI is the average (or maximum) of bilinear samples inside it. A sample is a
weighted sum of four feature vectors, so a bin is a weighted sum of a few rows of a table whose rows are all
feature vectors of all pyramid levels. In channels-last memory that table is a view of the features, and
pooling over every level at once is one gather-and-reduce, `embedding_bag`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn.ops.tracing import exporting
from maskrcnn.ops.window_sums import gathered_sums, window_sums

# Table look-ups made at a time: bounds the index tensors where adaptive sampling takes many points.
_LOOKUPS = 1 << 24


def roi_align(
    features: list[Tensor],
    strides: list[int] | list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    *,
    size: int,
    sampling_ratio: int = 2,
    aligned: bool = True,
    reduce: str = "average",
) -> Tensor:
    """Pools each box from its own level of its own image.

    Args:
        features: per level (B, C, H, W); fastest where they are channels-last in memory.
        strides: pixels per feature cell, per level.
        boxes: (N, 4) xyxy in pixels.
        image: (N,) index of each box's image.
        level: (N,) index of each box's level in `features`.
        size: bins per side.
        sampling_ratio: samples per bin and side; 0 takes ceil(box side / size / stride), which costs one
            synchronisation per axis outside a compiled graph and the bound that the map's own size gives
            inside one; neither where Triton's kernel does it, on a GPU.
        aligned: shift by half a cell, so that a cell's centre is at +0.5 (detectron2's ROIAlignV2). Without
            it boxes are at least one cell wide, as in the first releases.
        reduce: "average" or "max" over the samples of a bin.

    Returns:
        (N, C, size, size), channels-last in memory.
    """
    if reduce not in ("average", "max"):
        raise ValueError(f"reduce is 'average' or 'max', not {reduce!r}")
    if exporting() and reduce == "average":
        scales = [float(stride) for stride in strides]
        return roi_align_node(features, scales, boxes, image, level, size, sampling_ratio, aligned)
    way: Callable[..., Tensor] = partial(roi_align_plain, reduce=reduce)
    if reduce == "average":
        way = _triton(features, boxes) or way
    return way(
        features, strides, boxes, image, level, size=size, sampling_ratio=sampling_ratio, aligned=aligned
    )


def _triton(features: list[Tensor], boxes: Tensor) -> Callable[..., Tensor] | None:
    """The kernel, on a GPU where Triton is there and the kernel takes these inputs."""
    if not boxes.is_cuda:
        return None
    try:
        from maskrcnn.ops.roi_align_triton import roi_align_triton, takes
    except ImportError:  # not every build of PyTorch has Triton, nor every machine what Triton needs
        return None
    return roi_align_triton if takes(features, boxes) else None


def roi_align_plain(
    features: list[Tensor],
    strides: list[int] | list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    *,
    size: int,
    sampling_ratio: int = 2,
    aligned: bool = True,
    reduce: str = "average",
) -> Tensor:
    """`roi_align` in PyTorch's own operators, on every device; same arguments, same result."""
    pool = partial(_pool, size=size, sampling_ratio=sampling_ratio, aligned=aligned, reduce=reduce)
    eager = not torch.compiler.is_compiling() and boxes.device.type == "cpu"
    windows = eager and not sampling_ratio and reduce == "average" and not boxes.requires_grad
    if not eager or (len(features) == 1 and not windows):
        pooled = pool(features, strides, boxes, image, level)
    else:
        # level by level, where it may be asked who belongs to which: a table of all levels would be a copy of
        # them
        groups = [(number, (level == number).nonzero()[:, 0]) for number in range(len(features))]
        groups = [(number, rows) for number, rows in groups if len(rows)] or groups[:1]
        pooled = features[0].new_empty(boxes.shape[0], size * size, features[0].shape[1])
        for number, rows in groups:
            feature, stride = features[number], strides[number]
            if windows:
                order, part = _pool_windows(
                    feature, stride, boxes[rows], image[rows], size=size, aligned=aligned
                )
                rows = rows[order]
            else:
                part = pool([feature], [stride], boxes[rows], image[rows], torch.zeros_like(rows))
            pooled.index_copy_(0, rows, part.view(len(rows), *pooled.shape[1:]))
    return pooled.view(boxes.shape[0], size, size, features[0].shape[1]).permute(0, 3, 1, 2)


@torch.library.custom_op("maskrcnn::roi_align", mutates_args=())
def roi_align_node(
    features: list[Tensor],
    strides: list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Average `roi_align` as one node of an exported graph: inference engines have an operator of their own
    for it.
    """
    pooled = roi_align(
        features, strides, boxes, image, level, size=size, sampling_ratio=sampling_ratio, aligned=aligned
    )
    return pooled.contiguous()


@roi_align_node.register_fake
def _(
    features: list[Tensor],
    strides: list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    size: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return features[0].new_empty(boxes.shape[0], features[0].shape[1], size, size)


def _pool(
    features: list[Tensor],
    strides: list[int] | list[float],
    boxes: Tensor,
    image: Tensor,
    level: Tensor,
    *,
    size: int,
    sampling_ratio: int,
    aligned: bool,
    reduce: str,
) -> Tensor:
    """Bins (N * size * size, C), by one table of the feature vectors of all levels."""
    table, start, heights, widths = _table(features)
    scale = boxes.new_tensor([1.0 / s for s in strides])[level].unsqueeze(-1)
    rows, row_weights = _axis(
        boxes[:, 1::2] * scale,
        heights[level],
        max(f.shape[2] for f in features),
        size,
        sampling_ratio,
        aligned,
    )
    cols, col_weights = _axis(
        boxes[:, 0::2] * scale,
        widths[level],
        max(f.shape[3] for f in features),
        size,
        sampling_ratio,
        aligned,
    )
    base = start[level] + image * (heights * widths)[level]
    rows = base[:, None, None, None] + rows * widths[level][:, None, None, None]
    pool = _pool_max if reduce == "max" else _pool_average
    if exporting():  # how many boxes there are is not known then
        return pool(table, rows, row_weights, cols, col_weights)
    per_box = size * size * rows.shape[2] * cols.shape[2] * 4
    step = max(1, _LOOKUPS // max(1, per_box))
    parts = [
        pool(
            table,
            rows[i : i + step],
            row_weights[i : i + step],
            cols[i : i + step],
            col_weights[i : i + step],
        )
        for i in range(
            0, max(boxes.shape[0], 1), step
        )  # once for no boxes too: an empty result that has gradients
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _pool_windows(
    feature: Tensor, stride: float, boxes: Tensor, image: Tensor, *, size: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Adaptive averages of one level's boxes, and the order they come in; see `window_sums`."""
    table, _, heights, widths = _table([feature])
    level = torch.zeros_like(image)
    ends = boxes / stride
    rows = _axis(ends[:, 1::2], heights[level], feature.shape[2], size, 0, aligned)
    cols = _axis(ends[:, 0::2], widths[level], feature.shape[3], size, 0, aligned)
    return window_sums(
        table, image * (heights * widths)[level], (heights[level], widths[level]), rows, cols, _LOOKUPS
    )


def _table(features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All feature vectors as rows (sum of B*H*W, C), and per level its first row, height and width."""
    rows = [f.permute(0, 2, 3, 1).reshape(-1, f.shape[1]) for f in features]
    table = torch.cat(rows) if len(rows) > 1 else rows[0]  # of one level it is a view
    sizes = [f.shape[0] * f.shape[2] * f.shape[3] for f in features]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    device = features[0].device
    heights = torch.tensor([f.shape[2] for f in features], device=device)
    widths = torch.tensor([f.shape[3] for f in features], device=device)
    return table, torch.tensor(starts, device=device), heights, widths


def _axis(
    ends: Tensor, length: Tensor, longest: int, size: int, sampling_ratio: int, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Cells and weights of every sample along one axis.

    Args:
        ends: (N, 2) where each box starts and ends, in cells.
        length: (N,) cells of the map; `longest` is their largest possible value.

    Returns:
        cells (N, size, S, 2) int64 and weights (N, size, S, 2); the weights of a bin sum to 1, or to less
        where samples lie outside the map or where slots of the S are not used.
    """
    first = ends[:, 0] - 0.5 if aligned else ends[:, 0]
    extent = ends[:, 1] - ends[:, 0]
    if not aligned:
        extent = extent.clamp(min=1.0)
    bins = extent / size
    if sampling_ratio:
        count = torch.full_like(bins, sampling_ratio)
        slots = sampling_ratio
    else:
        count = torch.ceil(bins)
        slots = _most(count, math.ceil(longest / size) + 1)
    slot = torch.arange(slots, device=ends.device, dtype=ends.dtype)
    fraction = (slot + 0.5) / count.clamp(min=1).unsqueeze(-1)  # (N, S)
    bin_index = torch.arange(size, device=ends.device, dtype=ends.dtype)
    # (N, size, S)
    where = first[:, None, None] + (bin_index[:, None] + fraction[:, None, :]) * bins[:, None, None]
    last = (length - 1)[:, None, None].to(ends.dtype)
    # A sample over one cell outside the map counts as zero (a maximum leaves it out); nearer ones take the
    # border's value.
    inside = (where >= -1.0) & (where <= last + 1) & (slot < count.unsqueeze(-1)).unsqueeze(1)
    where = torch.minimum(where.clamp(min=0), last)
    low = where.floor()
    high = torch.minimum(low + 1, last)
    upper = where - low
    share = inside.to(ends.dtype) / count.clamp(min=1)[:, None, None]
    weights = torch.stack([(1 - upper) * share, upper * share], -1)
    return torch.stack([low, high], -1).long(), weights


def _most(count: Tensor, bound: int) -> int:
    """The largest value of `count`; inside a compiled graph, where nothing may be asked, the given bound."""
    if torch.compiler.is_compiling():
        return bound
    return max(1, int(count.max())) if count.numel() else 1


def _pool_average(
    table: Tensor, rows: Tensor, row_weights: Tensor, cols: Tensor, col_weights: Tensor
) -> Tensor:
    """Bins (n * size * size, C) as weighted sums of table rows."""
    size = rows.shape[1]
    # (n, size, 1, 2S, 1) with (n, 1, size, 1, 2S)
    index = rows.flatten(2)[:, :, None, :, None] + cols.flatten(2)[:, None, :, None, :]
    weights = row_weights.flatten(2)[:, :, None, :, None] * col_weights.flatten(2)[:, None, :, None, :]
    bags = (rows.shape[0] * size * size, 4 * rows.shape[2] * cols.shape[2])
    return _weighted_sums(index.reshape(bags), table, weights.reshape(bags).to(table.dtype))


def _pool_max(table: Tensor, rows: Tensor, row_weights: Tensor, cols: Tensor, col_weights: Tensor) -> Tensor:
    """Bins (n * size * size, C) as the largest bilinear sample; the paper's Table 2c finds no difference to
    the average.
    """
    n, size, slots_y = rows.shape[:3]
    slots_x = cols.shape[2]
    used_y, used_x = row_weights.sum(-1) > 0, col_weights.sum(-1) > 0
    # undo the division by the number of samples
    row_weights = row_weights / row_weights.sum(-1, keepdim=True).clamp(min=1e-12)
    col_weights = col_weights / col_weights.sum(-1, keepdim=True).clamp(min=1e-12)
    shape_y, shape_x = (n, size, 1, slots_y, 1, 2, 1), (n, 1, size, 1, slots_x, 1, 2)
    index = (rows.view(shape_y) + cols.view(shape_x)).reshape(-1, 4)
    weights = (row_weights.view(shape_y) * col_weights.view(shape_x)).reshape(-1, 4)
    values = _weighted_sums(index, table, weights.to(table.dtype))
    values = values.view(n * size * size, slots_y * slots_x, table.shape[1])
    used = (used_y[:, :, None, :, None] & used_x[:, None, :, None, :]).reshape(
        n * size * size, slots_y * slots_x, 1
    )
    largest = values.masked_fill(~used, -math.inf).amax(1)
    return torch.where(used.any(1), largest, torch.zeros_like(largest))


def _weighted_sums(index: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """(n, C): the sums of the `table`'s (rows, C) rows at `index` (n, s), times `weights` (n, s)."""
    if exporting():
        return weighted_sums_node(index, table, weights)
    eager_cpu = table.device.type == "cpu" and not torch.compiler.is_compiling()
    if table.requires_grad and not weights.requires_grad and eager_cpu:
        return gathered_sums(table, index.flatten(), weights.flatten(), index.shape[1])
    return weighted_sums_graph(index, table, weights)


@torch.library.custom_op("maskrcnn::weighted_sums", mutates_args=())
def weighted_sums_node(index: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """The same as one node of an exported graph: inference engines have their own ways to it."""
    return weighted_sums_graph(index, table, weights)


@weighted_sums_node.register_fake
def _(index: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    return table.new_empty(index.shape[0], table.shape[1])


def weighted_sums_graph(index: Tensor, table: Tensor, weights: Tensor) -> Tensor:
    """The same in PyTorch's own operators."""
    return F.embedding_bag(index, table, mode="sum", per_sample_weights=weights)


def roi_align_bitmaps(
    bitmaps: Tensor, boxes: Tensor, *, size: int, sampling_ratio: int = 2, aligned: bool = True
) -> Tensor:
    """RoIAlign of one box from each of N one-channel images: how a mask target is cut.

    With one channel the two sums of RoIAlign are matrix products, rows x image x columns.

    Args:
        bitmaps: (N, h, w) float.
        boxes: (N, 4) xyxy in pixels of the bitmap.

    Returns:
        (N, size, size).
    """
    rows = _axis_matrix(boxes[:, 1::2], bitmaps.shape[1], size, sampling_ratio, aligned)
    cols = _axis_matrix(boxes[:, 0::2], bitmaps.shape[2], size, sampling_ratio, aligned)
    return rows @ bitmaps @ cols.transpose(1, 2)


def _axis_matrix(ends: Tensor, length: int, size: int, sampling_ratio: int, aligned: bool) -> Tensor:
    """(N, size, length): the weight of each cell in each bin."""
    lengths = torch.full((ends.shape[0],), length, device=ends.device)
    # a RoI that matched its object is at most twice as long as it, so 2 * length bounds the adaptive sampling
    cells, weights = _axis(ends, lengths, 2 * length, size, sampling_ratio, aligned)
    matrix = weights.new_zeros(ends.shape[0], size, length)
    return matrix.scatter_add(2, cells.flatten(2), weights.flatten(2))
