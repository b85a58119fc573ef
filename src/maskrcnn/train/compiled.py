"""The losses of a training as compiled graphs, one for each shape of batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from maskrcnn.images.batch import Targets
from maskrcnn.ops.graphs import Graphs


class CompiledForward:
    """Takes the place of a network's `forward`: losses come from a graph, anything else as before.

    Forward and backward are one graph each.
    """

    def __init__(self, network: nn.Module, most: int, cuda_graphs: bool) -> None:
        """
        Args:
            most, cuda_graphs: as `Graphs` takes them.
        """
        self.seen: set[tuple[int, ...]] = set()
        self._plain = network.forward
        self._graphs = Graphs(network.forward, most, cuda_graphs=cuda_graphs)
        network.forward = self  # type: ignore[assignment]

    def __call__(self, images: Tensor, sizes: Tensor, targets: Targets | None = None) -> Any:
        if targets is None:
            return self._plain(images, sizes, targets)
        losses = self._graphs(images, sizes, targets)
        return {name: loss.clone() for name, loss in losses.items()} if self._graphs.cuda_graphs else losses

    def is_new(self, images: Tensor, targets: Targets) -> bool:
        """Whether no batch of that shape came before; asked once for each batch."""
        shape = (*images.shape, targets.boxes.shape[1])
        new = shape not in self.seen
        self.seen.add(shape)
        return new

    def line(self, images: Tensor, targets: Targets, seconds: float) -> str:
        """What compiling for a new shape took, for people."""
        count, _, height, width = images.shape
        return (
            f"compiled graph {len(self.seen)} of at most {self._graphs.most} in {seconds:.0f} s: {count} x "
            f"{height} x {width} pixels, {targets.boxes.shape[1]} object slots"
        )
