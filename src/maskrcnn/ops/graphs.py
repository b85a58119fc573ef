"""A function of tensors as compiled graphs, one for each shape that it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from maskrcnn.errors import UserError, one_line

BACKEND = "inductor"  # of torch.compile


class Graphs:
    """Compiles a function whole, for fixed shapes: a break in the graph is an error.

    On a GPU graphs may be replayed as CUDA graphs. What these give lies where the next call writes: who keeps
    it makes a copy. One thread only.
    """

    def __init__(self, function: Callable[..., Any], most: int, *, cuda_graphs: bool) -> None:
        """
        Args:
            most: graphs that may be compiled.
        """
        self.most, self.cuda_graphs = most, cuda_graphs
        mode = "reduce-overhead" if cuda_graphs else None
        self._compiled = torch.compile(function, fullgraph=True, dynamic=False, backend=BACKEND, mode=mode)

    def __call__(self, *given: Any) -> Any:
        """
        Raises:
            UserError: PyTorch cannot compile it here, or it would be a graph more than `most`.
        """
        # here, not above: whoever does not compile need not wait for it
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        if self.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        with torch._dynamo.config.patch(recompile_limit=self.most):  # type: ignore[no-untyped-call]
            try:
                return self._compiled(*given)
            except (TorchDynamoException, FailOnRecompileLimitHit) as error:
                raise UserError(
                    f"compiling failed: {type(error).__name__}: {one_line(error):.200}; leave out "
                    "--compile, or set train.compile=false"
                ) from error
