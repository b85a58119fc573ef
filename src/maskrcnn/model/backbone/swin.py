"""Swin Transformer (Liu et al. 2021): attention inside windows that every other block shifts by half of
one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.backbone.transformer_layers import DropPath, Mlp, drop_rates, patchify
from maskrcnn.model.backbone.windows import join_windows, pad_to_windows, split_windows

WINDOW = 7  # tokens on a side
APART = -100.0  # added to the logits of tokens that a shift only brings together


@dataclass(frozen=True)
class SwinSize:
    """Section 3.3 of the paper."""

    width: int  # channels of the first stage; each next one has twice as many
    blocks: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]


SWINS = {
    "swin_t": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_s": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24)),
}


class WindowAttention(nn.Module):
    """Attention of all tokens of a window to one another, with a learned bias for each offset between two
    (section 3.2, equation 4).
    """

    index: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        place = torch.stack(
            torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij"), -1
        ).view(-1, 2)
        offset = place[:, None] - place[None] + WINDOW - 1  # (T, T, 2), from 0
        self.register_buffer("index", offset[..., 0] * (2 * WINDOW - 1) + offset[..., 1], persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """
        Args:
            windows: (B * windows, side, side, C).
            mask: (windows, T, T), added to the logits of T tokens.
        """
        count, side, _, width = windows.shape
        tokens = side * side
        qkv = self.qkv(windows).view(count, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        bias = self.bias_table[self.index].permute(2, 0, 1)[None]  # (1, heads, T, T)
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(count // len(mask), 1, 1, 1)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        return self.proj(x.transpose(1, 2).reshape(windows.shape))


class SwinBlock(nn.Module):
    """Attention in windows, shifted or not, and an MLP, each behind a norm and a residual (equation 3)."""

    def __init__(self, width: int, heads: int, *, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.shift = WINDOW // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C)."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = pad_to_windows(x, WINDOW)
        shape, mask = x.shape, None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
            mask = shift_mask(shape[1], shape[2], self.shift, x)
        x = join_windows(self.attention(split_windows(x, WINDOW), mask), shape[1], shape[2])
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x[:, :height, :width]


def shift_mask(height: int, width: int, shift: int, like: Tensor) -> Tensor:
    """(windows, T, T): what keeps tokens apart that were not neighbours before the shift (Figure 4)."""

    def part(length: int) -> Tensor:
        place = torch.arange(length, device=like.device)
        return (place >= length - WINDOW).long() + (place >= length - shift).long()

    region = part(height)[:, None] * 3 + part(width)
    windows = split_windows(region[None, ..., None], WINDOW).flatten(1)
    apart = windows[:, :, None] != windows[:, None]
    return torch.zeros_like(apart, dtype=like.dtype).masked_fill(apart, APART)


class PatchMerging(nn.Module):
    """Four neighbouring tokens become one of twice the channels (section 3.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H / 2, W / 2, 2 C)."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2)).permute(0, 3, 1, 2)
        # of each channel its four neighbours in turn, as mmdetection has them
        return self.reduction(self.norm(F.pixel_unshuffle(x, 2).permute(0, 2, 3, 1)))


class SwinTransformer(Backbone):
    """Levels at strides 4, 8, 16, 32, each behind a norm of its own."""

    def __init__(self, size: SwinSize, *, drop_path: float = 0.0, input_channels: int = 3) -> None:
        super().__init__()
        self.channels = [size.width << stage for stage in range(4)]
        self.strides = [4, 8, 16, 32]
        self.stem = patchify(input_channels, size.width, eps=1e-5)
        rates = iter(drop_rates(drop_path, sum(size.blocks)))
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    SwinBlock(channels, heads, shifted=block % 2 == 1, drop_path=next(rates))
                    for block in range(blocks)
                )
            )
            for channels, blocks, heads in zip(self.channels, size.blocks, size.heads, strict=True)
        )
        self.merges = nn.ModuleList(PatchMerging(channels) for channels in self.channels[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in self.channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x).permute(0, 2, 3, 1)
        levels = []
        for index, stage in enumerate(self.stages):
            if index:
                x = self.merges[index - 1](x)
            x = stage(x)
            levels.append(self.norms[index](x).permute(0, 3, 1, 2))
        return levels

    def parts(self) -> list[nn.Module]:
        merges = [nn.ModuleList(), *self.merges]
        return [self.stem, *(nn.ModuleList(part) for part in zip(merges, self.stages, strict=True))]
