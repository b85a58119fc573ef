"""ResNet and ResNeXt with 50 or 101 layers (He et al. 2016, Table 1; Xie et al. 2017, Table 1), bottleneck
form.
"""

from __future__ import annotations

from torch import Tensor, nn

from maskrcnn.config.model import Norm
from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.layers import ConvNorm

# depth, groups and width per group of each kind
RESNETS = {
    "resnet50": (50, 1, 64),
    "resnet101": (101, 1, 64),
    "resnext50_32x4d": (50, 32, 4),
    "resnext101_32x4d": (101, 32, 4),
    "resnext101_32x8d": (101, 32, 8),
    "resnext101_64x4d": (101, 64, 4),
}
_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and the shortcut. The stride is in the 3x3, or in the first 1x1 as in the original."""

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        stride: int,
        groups: int,
        dilation: int,
        stride_in_1x1: bool,
        norm: Norm,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        relu = nn.ReLU(inplace=True)
        self.conv1 = ConvNorm(inputs, width, 1, stride=first, norm=norm, activation=relu)
        self.conv2 = ConvNorm(
            width, width, 3, stride=second, dilation=dilation, groups=groups, norm=norm, activation=relu
        )
        self.conv3 = ConvNorm(width, outputs, 1, norm=norm)
        changes = stride != 1 or inputs != outputs
        self.shortcut = ConvNorm(inputs, outputs, 1, stride=stride, norm=norm) if changes else None
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        straight = x if self.shortcut is None else self.shortcut(x)
        # in place: a map of 70 MB costs as much to pass over as some convolutions take
        return self.relu(self.conv3(self.conv2(self.conv1(x))).add_(straight))


def make_stage(
    index: int,
    *,
    depth: int,
    groups: int = 1,
    width_per_group: int = 64,
    dilate: bool = False,
    stride_in_1x1: bool = False,
    norm: Norm = "frozen",
) -> nn.Sequential:
    """Stage `index` of C2 .. C5 (0 .. 3); `dilate` keeps the resolution and dilates instead (DC5)."""
    outputs = 256 << index
    width = (groups * width_per_group) << index
    stride = 1 if index == 0 or dilate else 2
    blocks = []
    for block in range(_BLOCKS[depth][index]):
        inputs = outputs if block else (64 if index == 0 else outputs // 2)
        blocks.append(
            Bottleneck(
                inputs,
                width,
                outputs,
                stride=stride if block == 0 else 1,
                groups=groups,
                dilation=2 if dilate else 1,
                stride_in_1x1=stride_in_1x1,
                norm=norm,
            )
        )
    return nn.Sequential(*blocks)


class ResNet(Backbone):
    """The stem and the stages C2 .. C5, or fewer.

    Args:
        depth: 50 or 101.
        groups, width_per_group: 1 and 64 for ResNet, 32 and 8 for ResNeXt 32x8d.
        stages: how many of C2 .. C5 are in the backbone: 4, or 3 where C5 is the head (the paper's C4).
        dilate_last: DC5.
    """

    def __init__(
        self,
        *,
        depth: int,
        groups: int = 1,
        width_per_group: int = 64,
        stages: int = 4,
        dilate_last: bool = False,
        stride_in_1x1: bool = False,
        norm: Norm = "frozen",
        input_channels: int = 3,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(input_channels, 64, 7, stride=2, norm=norm, activation=nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList(
            make_stage(
                i,
                depth=depth,
                groups=groups,
                width_per_group=width_per_group,
                dilate=dilate_last and i == 3,
                stride_in_1x1=stride_in_1x1,
                norm=norm,
            )
            for i in range(stages)
        )
        self.channels = [256 << i for i in range(stages)]
        self.strides = [4 << i for i in range(stages)]
        if dilate_last and stages == 4:
            self.strides[3] = 16

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.levels(self.pool(self.stem(x)))
