"""Exporting is told from compiling, also where PyTorch itself does not."""

from __future__ import annotations

import pytest
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


def test_a_compiled_graph_is_not_exported_where_pytorch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    # what Dynamo answers inside every graph up to PyTorch 2.12
    monkeypatch.setattr(torch.compiler, "_is_exporting_flag", True)
    torch._dynamo.reset()
    assert torch.compile(Tells(), backend="eager", fullgraph=True)(torch.zeros(1)).item() == 2
