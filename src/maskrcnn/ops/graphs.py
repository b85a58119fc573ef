"""A function of tensors as compiled graphs, one for each shape that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

BACKEND = "inductor"  # of torch.compile


class Graphs:
    """Compiles a function whole, for fixed shapes: a break in the graph is an error.

    On a GPU graphs may be replayed as CUDA graphs. What these give lies where the next call writes: who keeps
    it makes a copy. One thread only.
    """

    def __init__(self, function: Callable[..., Any], most: int, *, cuda_graphs: bool) -> None:
        """
        Args:
            most: graphs that may be compiled; one more is an error of PyTorch's.
        """
        self.most, self.cuda_graphs = most, cuda_graphs
        mode = "reduce-overhead" if cuda_graphs else None
        self._compiled = torch.compile(function, fullgraph=True, dynamic=False, backend=BACKEND, mode=mode)

    def __call__(self, *given: Any) -> Any:
        if self.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with torch._dynamo.config.patch(recompile_limit=self.most):  # type: ignore[no-untyped-call]
            return self._compiled(*given)
