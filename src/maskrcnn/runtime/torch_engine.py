"""PyTorch as an engine."""

from __future__ import annotations

import torch
from torch import Tensor

from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.model.optimise import optimise


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
