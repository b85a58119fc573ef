"""Adaptive RoIAlign on a CPU: each bin as one weighted sum over the window of cells that its samples touch.

Taken sample by sample, a bin with n x n bilinear samples reads (2 n)^2 cells. But with adaptive sampling
neighbouring samples are at most one cell apart and share cells: together they touch a window of at most (n +
1)^2. So, step by step:

1. `_windows` adds up, along each axis, the samples' weights per cell. A bin's weights are the outer product
   of the two.
2. Boxes on one level need windows of many sizes. They are sorted by window size, so that boxes of one size
   form one dense tensor of table rows and weights, without padding.
3. `_sums_of` joins the sizes into a single `embedding_bag`, whose bags may have different lengths. Its
   backward (`gathered_sums`, which RoIAlign with fixed sampling uses as well) is an `embedding_bag`, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def window_sums(
    table: Tensor,
    base: Tensor,
    sides: tuple[Tensor, Tensor],
    rows: tuple[Tensor, Tensor],
    cols: tuple[Tensor, Tensor],
    most: int,
) -> tuple[Tensor, Tensor]:
    """The weighted sums of all bins.

    Args:
        table: (R, C) feature vectors.
        base: (N,) for each box the table's row of its map's first cell.
        sides: (N,) height and (N,) width of its map in cells.
        rows: cells (N, size, S, 2) int64 and weights (N, size, S, 2) of the samples down the box, in rising
            order, those of a bin at most one cell apart; likewise `cols` across it.
        most: lookups that are laid out at a time.

    Returns:
        the boxes' order (N,) and, in that order, bins (N * size * size, C).
    """
    first_row, row_weights, row_cells = _windows(*rows)
    first_col, col_weights, col_cells = _windows(*cols)
    size, longest = row_weights.shape[1], col_weights.shape[2]
    kind, order = (row_cells * (longest + 1) + col_cells).sort(stable=True)
    kinds, counts = torch.unique_consecutive(kind, return_counts=True)
    # at the border a bin may touch fewer cells than others of its kind; what it has too many weighs nothing
    down_cells = _cells(first_row, row_weights, sides[0]) * sides[1][:, None, None] + base[:, None, None]
    down_cells, across_cells = down_cells[order], _cells(first_col, col_weights, sides[1])[order]
    row_weights, col_weights = row_weights[order], col_weights[order]
    parts, batch, lookups, begin = list[Tensor](), list[tuple[Tensor, Tensor, int]](), 0, 0
    for each, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        down, across = divmod(each, longest + 1)
        for start, stop in _steps(begin, begin + count, most // (down * across * size * size)):
            index = (
                down_cells[start:stop, :, None, :down, None]
                + across_cells[start:stop, None, :, None, :across]
            )
            weights = (
                row_weights[start:stop, :, None, :down, None]
                * col_weights[start:stop, None, :, None, :across]
            )
            batch.append((index.flatten(), weights.flatten().to(table.dtype), down * across))
            lookups += index.numel()
            if lookups >= most:
                parts.append(_sums_of(table, batch))
                batch, lookups = [], 0
        begin += count
    if batch:
        parts.append(_sums_of(table, batch))
    if not parts:  # no boxes: an empty result that has gradients
        parts.append(table[:0])
    return order, torch.cat(parts) if len(parts) > 1 else parts[0]


def _sums_of(table: Tensor, batch: list[tuple[Tensor, Tensor, int]]) -> Tensor:
    """One `embedding_bag` for several window sizes: each its index (L,), weights (L,) and cells per
    window.
    """
    index, weights = torch.cat([part[0] for part in batch]), torch.cat([part[1] for part in batch])
    cells = torch.tensor([part[2] for part in batch])
    windows = torch.tensor([len(part[0]) // part[2] for part in batch])
    return gathered_sums(table, index, weights, cells.repeat_interleave(windows))


def _cells(first: Tensor, weights: Tensor, side: Tensor) -> Tensor:
    """The cells (N, size, S + 1) from the first on, inside the map."""
    cells = first[:, :, None] + torch.arange(weights.shape[2], device=first.device)
    return torch.minimum(cells, side[:, None, None] - 1)


def _steps(begin: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    step = max(1, most)
    return ((start, min(start + step, end)) for start in range(begin, end, step))


def _windows(cells: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cells that each bin touches along one axis.

    Returns:
        the first cell (N, size), the weights (N, size, S + 1) from it on, and per box (N,) how many are
        needed.
    """
    longest = cells.shape[2] + 1
    first = cells[:, :, 0, 0]
    # slots that a box does not use lie beyond its run, or before it where the box is inside out, and weigh
    # nothing
    place = (cells - first[:, :, None, None]).clamp(0, longest - 1).flatten(2)
    along = weights.new_zeros(*first.shape, longest).scatter_add_(2, place, weights.flatten(2))
    used = (along != 0) * torch.arange(1, longest + 1, device=cells.device)
    return first, along, used.amax((1, 2)).clamp(min=1)


def gathered_sums(table: Tensor, index: Tensor, weights: Tensor, lengths: Tensor | int) -> Tensor:
    """Weighted sums of table rows, in bags of any lengths, with a backward that gathers.

    `embedding_bag`'s own backward zeroes the table's whole gradient and then adds to it, bag by bag.

    Args:
        table: (R, C).
        index: (L,) rows of the table, bag after bag.
        weights: (L,); they get no gradient.
        lengths: (n,) how many of `index` each bag has, or a number where all have the same.

    Returns:
        (n, C).
    """
    found: Tensor = _GatheredSums.apply(table, index, weights, lengths)
    return found


class _GatheredSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weights: Tensor, lengths: Tensor | int) -> Tensor:
        ctx.save_for_backward(index, weights)
        ctx.rows, ctx.lengths = table.shape[0], lengths
        if isinstance(lengths, int):
            starts = torch.arange(0, len(index), lengths)
        else:
            starts = lengths.cumsum(0) - lengths
        return F.embedding_bag(index, table, starts, mode="sum", per_sample_weights=weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        index, weights = ctx.saved_tensors
        # The gradient of a table row is a weighted sum, too: of the gradients of all bags that used it.
        order = index.argsort()
        if isinstance(ctx.lengths, int):
            bags = order // ctx.lengths
        else:
            bags = torch.arange(len(ctx.lengths)).repeat_interleave(ctx.lengths)[order]
        uses = torch.bincount(index, minlength=ctx.rows)
        starts = uses.cumsum(0) - uses
        own = F.embedding_bag(bags, grad.contiguous(), starts, mode="sum", per_sample_weights=weights[order])
        return own, None, None, None
