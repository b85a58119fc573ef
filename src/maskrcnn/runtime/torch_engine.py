"""PyTorch as an engine."""

from __future__ import annotations

import torch
from torch import Tensor

from maskrcnn.errors import UserError
from maskrcnn.model.digest import weights_digest
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
        refuse_nan(model)
        self.weights = weights_digest(model)  # not of the copy, which depends on the processor
        self.network = optimise(model)
        self.config = self.network.config
        self.device = next(model.parameters()).device

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        with torch.no_grad():
            return self.network.detect(images.to(self.device), sizes.to(self.device), score)


def refuse_nan(model: MaskRCNN) -> None:
    """Raises a UserError for a network with weights that are NaN or infinite: without a word it would find
    nothing, or what is not there.
    """
    for name, tensor in model.state_dict().items():
        # the sum first, as it reads each number once and keeps none; it may overflow all the same
        if not tensor.sum().isfinite() and not tensor.isfinite().all():
            raise UserError(
                f"the network's {name} holds NaN or infinite numbers, so its results would be wrong; "
                "load other weights, or train with a lower train.lr"
            )
