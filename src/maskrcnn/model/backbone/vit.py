"""Plain Vision Transformer as a detector's backbone (Li et al. 2022, "Exploring Plain Vision Transformer
Backbones for Object Detection", section 3): windows in most blocks, attention over the whole image in four.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.backbone.transformer_layers import DropPath, Mlp, drop_rates
from maskrcnn.model.backbone.windows import join_windows, pad_to_windows, split_windows

PATCH = 16  # pixels on a side of a token
WINDOW = 14  # tokens on a side
PRETRAINED = 14  # tokens on a side of the images that the positions were learned on: 224 pixels
GLOBAL = 64  # tokens on a side of the images that the relative positions were learned on: 1024 pixels
STAGES = 4  # the last block of each attends to the whole image
EPS = 1e-6


@dataclass(frozen=True)
class ViTSize:
    """Dosovitskiy et al. 2021, Table 1."""

    width: int
    depth: int
    heads: int


VITS = {"vit_b": ViTSize(768, 12, 12), "vit_l": ViTSize(1024, 24, 16), "vit_h": ViTSize(1280, 32, 16)}


class PatchEmbedding(nn.Module):
    """Patches of the image as tokens, with what tells where each lies."""

    def __init__(self, width: int, input_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(input_channels, width, PATCH, PATCH)
        self.positions = nn.Parameter(torch.zeros(1, PRETRAINED, PRETRAINED, width))
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, H / 16, W / 16, width)."""
        x = self.conv(x).permute(0, 2, 3, 1)
        positions: Tensor = self.positions
        if positions.shape[1:3] != x.shape[1:3]:
            positions = F.interpolate(
                positions.permute(0, 3, 1, 2), size=x.shape[1:3], mode="bicubic", align_corners=False
            ).permute(0, 2, 3, 1)
        return x + positions


class Attention(nn.Module):
    """Attention of all tokens of a map, or of a window, to one another. To each logit comes what the query
    says of the row offset and of the column offset to the key (Li et al. 2021, MViTv2, equation 4).

    Args:
        side: tokens on a side of the maps that the offsets are learned on; they are interpolated for others.
    """

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rows = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.columns = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C)."""
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).view(batch, height * width, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        grid = query.unflatten(2, (height, width))
        by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, of_offsets(self.rows, height))
        by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, of_offsets(self.columns, width))
        bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(4).flatten(2, 3)
        x = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(x.transpose(1, 2).reshape(batch, height, width, channels))


def of_offsets(table: Tensor, side: int) -> Tensor:
    """(side, side, C): the rows of a table (offsets, C) for each query and key along one axis."""
    offsets = 2 * side - 1
    if len(table) != offsets:
        table = F.interpolate(table.T[None], size=offsets, mode="linear", align_corners=False)[0].T
    place = torch.arange(side, device=table.device)
    return table[place[:, None] - place + side - 1]


class Block(nn.Module):
    """Attention, in windows or not, and an MLP, each behind a norm and a residual."""

    def __init__(self, size: ViTSize, *, windowed: bool, drop_path: float) -> None:
        super().__init__()
        self.windowed = windowed
        self.norm1 = nn.LayerNorm(size.width, eps=EPS)
        self.attention = Attention(size.width, size.heads, WINDOW if windowed else GLOBAL)
        self.norm2 = nn.LayerNorm(size.width, eps=EPS)
        self.mlp = Mlp(size.width, 4 * size.width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C)."""
        y = self.norm1(x)
        y = self._in_windows(y) if self.windowed else self.attention(y)
        x = x + self.drop_path(y)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _in_windows(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = pad_to_windows(x, WINDOW)
        padded = x.shape
        windows = self.attention(split_windows(x, WINDOW))
        return join_windows(windows, padded[1], padded[2])[:, :height, :width]


class ViT(Backbone):
    """One level at stride 16; `SimplePyramid` makes the others of it."""

    def __init__(self, size: ViTSize, *, drop_path: float = 0.0, input_channels: int = 3) -> None:
        super().__init__()
        self.channels, self.strides = [size.width], [PATCH]
        self.stem = PatchEmbedding(size.width, input_channels)
        rates = drop_rates(drop_path, size.depth)
        blocks = size.depth // STAGES
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    Block(size, windowed=block < blocks - 1, drop_path=rates[stage * blocks + block])
                    for block in range(blocks)
                )
            )
            for stage in range(STAGES)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return [x.permute(0, 3, 1, 2)]
