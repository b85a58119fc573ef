"""The exponential moving average of a network's weights, which usually scores higher than they do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Averages of the weights that learn and of the running statistics of norms.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        self.tensors = {
            name: tensor.detach().clone()
            for name, tensor in model.state_dict().items()
            if tensor.is_floating_point() and name not in frozen
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the weights of now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        now = model.state_dict()
        torch._foreach_lerp_(list(self.tensors.values()), [now[name] for name in self.tensors], 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model holds the average inside and its own weights, bit for bit, after."""
        now = model.state_dict()
        own = {name: now[name].clone() for name in self.tensors}
        _copy(self.tensors, now)
        try:
            yield
        finally:
            _copy(own, now)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "tensors": self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        _copy(state["tensors"], self.tensors)


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)
