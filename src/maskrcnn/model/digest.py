"""What tells a network's weights from others."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_digest(network: nn.Module, before: str = "") -> str:
    """SHA-256 of a network's tensors, and of a text before them."""
    found = hashlib.sha256(before.encode())
    for name, tensor in sorted(network.state_dict().items()):
        found.update(name.encode())
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)  # NumPy has no bfloat16
        found.update(data.numpy().tobytes())
    return found.hexdigest()
