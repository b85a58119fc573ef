"""Exporting is told from compiling: on PyTorch 2.11, whose own answer is the same for both, only by our
question.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskrcnn.ops.tracing import exporting


class Tells(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if exporting() else x + 2


def test_only_an_exported_graph_is_exported() -> None:
    x = torch.zeros(1)
    assert Tells()(x).item() == 2
    assert torch.compile(Tells(), backend="eager", fullgraph=True)(x).item() == 2
    assert torch.export.export(Tells(), (x,), strict=False).module()(x).item() == 1
