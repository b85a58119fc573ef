"""PyTorch as an engine."""

from __future__ import annotations

import torch
from torch import Tensor

from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.model.optimise import optimise


def torch_runner(model: MaskRCNN) -> MaskRCNN | TorchEngine:
    """What runs a network in PyTorch: on a CPU an optimised copy; elsewhere itself, as that is no slower."""
    return TorchEngine(model) if next(model.parameters()).device.type == "cpu" else model


class TorchEngine:
    """Runs an optimised copy of a network on that network's device; see `maskrcnn.runtime.engine.Engine`.

    What becomes of the network afterwards does not change it. Threads may share it.
    """

    name = "torch"

    def __init__(self, model: MaskRCNN) -> None:
        self.network = optimise(model)
        self.config = self.network.config
        self.device = next(model.parameters()).device

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        with torch.no_grad():
            return self.network.detect(images.to(self.device), sizes.to(self.device), score)
