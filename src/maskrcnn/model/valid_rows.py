"""Which RoIs the heads compute: the one place where it depends on how the network is run."""

from __future__ import annotations

import torch
from torch import Tensor

from maskrcnn.ops.tracing import exporting


def kept_rows(valid: Tensor) -> Tensor:
    """Rows of the flattened `valid` (B, R) that the heads compute.

    All of them in a compiled graph or on an accelerator, where asking how many are valid would cost a
    synchronisation and change shapes. On a CPU, run eagerly or exported to an engine, only the valid ones:
    padding is pure waste there. Everything after this works on rows and their weights, so this line is the
    only difference.
    """
    if _keeps_all(valid):
        return torch.arange(valid.numel(), device=valid.device)
    kept = valid.flatten()
    if exporting():
        # one row at least, valid or not: some engines' operators refuse to run on none
        kept = kept | (torch.arange(kept.shape[0], device=kept.device) == 0)
    return kept.nonzero()[:, 0]


def scatter_rows(values: Tensor, rows: Tensor, shape: torch.Size) -> Tensor:
    """(B, R, ...) with `values` (N, ...) at the flattened `rows` (N,) and zeros elsewhere."""
    if _keeps_all(values):
        return values.view(*shape, *values.shape[1:])
    full = values.new_zeros(shape[0] * shape[1], *values.shape[1:])
    return full.index_copy(0, rows, values).view(*shape, *values.shape[1:])


def _keeps_all(tensor: Tensor) -> bool:
    compiling = torch.compiler.is_compiling() and not exporting()
    return compiling or tensor.device.type != "cpu"
