"""A map of tokens (B, H, W, C) as square windows that attention stays inside of, and back."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pad_to_windows(x: Tensor, side: int) -> Tensor:
    """Zeros right of and below (B, H, W, C), up to multiples of `side`."""
    height, width = x.shape[1:3]
    return F.pad(x, (0, 0, 0, -width % side, 0, -height % side))


def split_windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C), multiples of `side`, as (B * windows, side, side, C), row after row of each image."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // side, side, width // side, side, channels)
    return x.transpose(2, 3).reshape(-1, side, side, channels)


def join_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """The (B, H, W, C) that `split_windows` took apart; H and W are multiples of the window."""
    side, channels = windows.shape[1], windows.shape[-1]
    x = windows.view(-1, height // side, width // side, side, side, channels)
    return x.transpose(2, 3).reshape(-1, height, width, channels)
