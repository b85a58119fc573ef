"""ConvNeXt (Liu et al. 2022): a ResNet with the transformer's proportions, norms and activations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.backbone.transformer_layers import DropPath, Mlp, drop_rates, patchify
from maskrcnn.model.layers import ChannelNorm

# channels of the first stage (each next one has twice as many) and blocks of each, section 3
CONVNEXTS = {"convnext_t": (96, (3, 3, 9, 3)), "convnext_s": (96, (3, 3, 27, 3))}
EPS = 1e-6


class ConvNeXtBlock(nn.Module):
    """A depthwise 7x7 convolution, a norm, two linear layers and a learned scale of each channel
    (Figure 4).
    """

    def __init__(self, width: int, drop_path: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, 4 * width)
        self.scale = nn.Parameter(torch.full((width,), 1.0))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W)."""
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1))) * self.scale
        return x + self.drop_path(y.permute(0, 3, 1, 2))


class ConvNeXt(Backbone):
    """Levels at strides 4, 8, 16, 32, each behind a norm of its own."""

    def __init__(
        self, width: int, blocks: tuple[int, ...], *, drop_path: float = 0.0, input_channels: int = 3
    ) -> None:
        super().__init__()
        self.channels = [width << stage for stage in range(4)]
        self.strides = [4, 8, 16, 32]
        self.stem = patchify(input_channels, width, eps=EPS)
        rates = iter(drop_rates(drop_path, sum(blocks)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(channels, next(rates)) for _ in range(count)))
            for channels, count in zip(self.channels, blocks, strict=True)
        )
        self.downs = nn.ModuleList(
            nn.Sequential(ChannelNorm(channels, eps=EPS), nn.Conv2d(channels, 2 * channels, 2, 2))
            for channels in self.channels[:-1]
        )
        self.norms = nn.ModuleList(ChannelNorm(channels, eps=EPS) for channels in self.channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        levels = []
        for index, stage in enumerate(self.stages):
            if index:
                x = self.downs[index - 1](x)
            x = stage(x)
            levels.append(self.norms[index](x))
        return levels

    def parts(self) -> list[nn.Module]:
        downs = [nn.ModuleList(), *self.downs]
        return [self.stem, *(nn.ModuleList(part) for part in zip(downs, self.stages, strict=True))]
