"""Simple feature pyramid (Li et al. 2022, section 3): levels made of the one map of a plain backbone."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config.model import Norm
from maskrcnn.model.layers import ConvNorm, make_norm


class SimplePyramid(nn.Module):
    """A map at stride 16 in, levels at 4, 8, 16, 32 and 64 out; the last is the one before it subsampled and
    serves the RPN only.
    """

    def __init__(self, channels: int, outputs: int, *, norm: Norm = "layer") -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        scales: list[tuple[list[nn.Module], int]] = [
            ([_doubled(channels, half), _norm(norm, half), nn.GELU(), _doubled(half, quarter)], quarter),
            ([_doubled(channels, half)], half),
            ([], channels),
            ([nn.MaxPool2d(2, 2)], channels),
        ]
        self.levels = nn.ModuleList(
            nn.Sequential(
                *scale, ConvNorm(width, outputs, 1, norm=norm), ConvNorm(outputs, outputs, 3, norm=norm)
            )
            for scale, width in scales
        )
        self.strides = [4, 8, 16, 32, 64]

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        outputs = [level(levels[-1]) for level in self.levels]
        return [*outputs, F.max_pool2d(outputs[-1], 1, 2)]


def _doubled(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 2, 2)


def _norm(kind: Norm, channels: int) -> nn.Module:
    return make_norm(kind, channels) or nn.Identity()
