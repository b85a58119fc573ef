"""A network compiled for batches of one size and a few shapes."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from maskrcnn.images.shapes import Shapes, scaled_sides
from maskrcnn.model.digest import weights_digest
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.model.optimise import fold_norms
from maskrcnn.ops.graphs import Graphs
from maskrcnn.runtime.torch_engine import TorchEngine, refuse_nan


class CompiledEngine(TorchEngine):
    """Runs a copy of a network as compiled graphs, on a GPU as CUDA graphs; see
    `maskrcnn.runtime.engine.Engine`.

    Batches are filled up to `batch` images and padded to the smallest of `shapes`, so that there are few
    graphs. An image's padding does not depend on the others of its batch, but may be more than without
    compiling, which moves scores a little. One thread only.
    """

    def __init__(self, model: MaskRCNN, *, batch: int = 1, bf16: bool = False) -> None:
        """
        Args:
            model: what becomes of it afterwards does not change the engine.
            batch: images that go through the network together.
            bf16: arithmetic in bfloat16, by autocast.
        """
        refuse_nan(model)
        self.weights = weights_digest(model)
        self.network = fold_norms(copy.deepcopy(model).eval().requires_grad_(False))
        self.config = self.network.config
        self.device = next(model.parameters()).device
        self.name = "compiled, bf16" if bf16 else "compiled"
        self.batch, self.bf16 = batch, bf16
        given = self.config.input
        self.shapes = Shapes.of(scaled_sides(given.short_side, given.long_side), given.divisor)
        on_gpu = self.device.type == "cuda"
        self._graphs = Graphs(self.network.detect, len(self.shapes.sides), cuda_graphs=on_gpu)

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        parts = [
            self._detect(images[start : start + self.batch], sizes[start : start + self.batch], score)
            for start in range(0, len(images), self.batch)
        ]
        if len(parts) == 1:
            return parts[0]
        joined = (None if columns[0] is None else torch.cat(columns) for columns in zip(*parts, strict=True))
        return RawDetections(*joined)  # type: ignore[arg-type]

    def _detect(self, images: Tensor, sizes: Tensor, score: float | None) -> RawDetections:
        """At most `batch` images."""
        count, channels, height, width = images.shape
        shape = (self.batch, channels, *self.shapes.holding(height, width))
        padded = torch.zeros(shape, dtype=images.dtype, device=self.device)
        padded[:count, :, :height, :width] = images.to(self.device, non_blocking=True)
        filled = torch.zeros(self.batch, 2, dtype=sizes.dtype, device=self.device)
        filled[:count] = sizes.to(self.device, non_blocking=True)
        # a number would be part of the graph, and another one another graph
        least = self.config.test.score if score is None else score
        threshold = torch.full((), least, dtype=torch.float32, device=self.device)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            raw: RawDetections = self._graphs(padded, filled, threshold)
        found = (None if part is None else part[:count].clone() for part in raw)
        return RawDetections(*found)  # type: ignore[arg-type]
