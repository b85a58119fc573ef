"""Weighted sums over windows of a feature map, each of its own size: RoIAlign with adaptive sampling.

With as many samples as a bin has cells, neighbouring samples share cells, so that a bin of n samples a side reads
(n + 1)^2 cells and not (2 n)^2; and boxes of one level have anything from one to a dozen samples a side. Bins of one size
are laid out together, and all of them are one `embedding_bag` with bags of different lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def span_sums(
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
        rows: cells (N, size, S, 2) int64 and weights (N, size, S, 2) of the samples down the box, in rising order, those
            of a bin at most one cell apart; likewise `cols` across it.
        most: lookups that are laid out at a time.

    Returns:
        the boxes' order (N,) and, in that order, bins (N * size * size, C).
    """
    first_row, row_weights, row_cells = _spans(*rows)
    first_col, col_weights, col_cells = _spans(*cols)
    size, longest = row_weights.shape[1], col_weights.shape[2]
    kind, order = (row_cells * (longest + 1) + col_cells).sort(stable=True)
    kinds, counts = torch.unique_consecutive(kind, return_counts=True)
    # at the border a bin may touch fewer cells than others of its kind; what it has too many weighs nothing
    down_cells = _cells(first_row, row_weights, sides[0]) * sides[1][:, None, None] + base[:, None, None]
    down_cells, across_cells = down_cells[order], _cells(first_col, col_weights, sides[1])[order]
    row_weights, col_weights = row_weights[order], col_weights[order]
    parts, held, begin = list[Tensor](), list[tuple[Tensor, Tensor, int]](), 0

    def flush() -> None:
        index, weights = torch.cat([part[0] for part in held]), torch.cat([part[1] for part in held])
        lengths = torch.tensor([part[2] for part in held], device=table.device)
        bags = torch.tensor([len(part[0]) // part[2] for part in held], device=table.device)
        parts.append(_ragged_sums(table, index, weights, lengths.repeat_interleave(bags)))
        held.clear()

    for each, count in zip(kinds.tolist(), counts.tolist(), strict=True):
        down, across = divmod(each, longest + 1)
        bag = down * across
        for start, stop in _steps(begin, begin + count, most // (bag * size * size)):
            index = down_cells[start:stop, :, None, :down, None] + across_cells[start:stop, None, :, None, :across]
            weights = row_weights[start:stop, :, None, :down, None] * col_weights[start:stop, None, :, None, :across]
            held.append((index.flatten(), weights.flatten().to(table.dtype), bag))
            if sum(len(part[0]) for part in held) >= most:
                flush()
        begin += count
    if held:
        flush()
    if not parts:  # no boxes: an empty result that has gradients
        parts.append(table[:0])
    return order, torch.cat(parts) if len(parts) > 1 else parts[0]


def _cells(first: Tensor, weights: Tensor, side: Tensor) -> Tensor:
    """The cells (N, size, S + 1) from the first on, inside the map."""
    cells = first[:, :, None] + torch.arange(weights.shape[2], device=first.device)
    return torch.minimum(cells, side[:, None, None] - 1)


def _steps(begin: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    step = max(1, most)
    return ((start, min(start + step, end)) for start in range(begin, end, step))


def _spans(cells: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The run of cells that each bin touches.

    Returns:
        the first cell (N, size), the weights (N, size, S + 1) from it on, and per box (N,) how many are needed.
    """
    longest = cells.shape[2] + 1
    first = cells[:, :, 0, 0]
    # slots that a box does not use lie beyond its run, or before it where the box is inside out, and weigh nothing
    place = (cells - first[:, :, None, None]).clamp(0, longest - 1).flatten(2)
    along = weights.new_zeros(*first.shape, longest).scatter_add_(2, place, weights.flatten(2))
    used = (along != 0) * torch.arange(1, longest + 1, device=cells.device)
    return first, along, used.amax((1, 2)).clamp(min=1)


def _ragged_sums(table: Tensor, index: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
    """(n, C): sums of `table` rows at `index` (L,) times `weights` (L,), in bags of `lengths` (n,)."""
    if table.requires_grad:
        found: Tensor = _RaggedSums.apply(table, index, weights, lengths)
        return found
    return F.embedding_bag(index, table, lengths.cumsum(0) - lengths, mode="sum", per_sample_weights=weights)


class _RaggedSums(torch.autograd.Function):
    """`embedding_bag` with a backward that gathers, as RoIAlign's own (see `roi_align._WeightedSums`)."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weights: Tensor, lengths: Tensor) -> Tensor:
        ctx.save_for_backward(index, weights, lengths)
        ctx.rows = table.shape[0]
        return F.embedding_bag(index, table, lengths.cumsum(0) - lengths, mode="sum", per_sample_weights=weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        index, weights, lengths = ctx.saved_tensors
        # the table's row r takes part in the sums whose index names it: those are its bag
        order = index.argsort()
        uses = torch.bincount(index, minlength=ctx.rows)
        sums = torch.arange(len(lengths), device=index.device).repeat_interleave(lengths)[order]
        starts = uses.cumsum(0) - uses
        own = F.embedding_bag(sums, grad.contiguous(), starts, mode="sum", per_sample_weights=weights[order])
        return own, None, None, None
