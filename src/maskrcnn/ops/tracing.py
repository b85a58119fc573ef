"""What is being made of the network at the moment: an exported graph, or something else."""

from __future__ import annotations

import torch


def exporting() -> bool:
    """Whether `torch.export` traces the network. Up to PyTorch 2.12 `torch.compiler.is_exporting` is true in
    every graph that `torch.compile` makes, too, where the exported nodes would be wrong: they have no
    gradients."""
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()
