"""MobileNetV2 (Sandler et al. 2018, Table 2), width 1.0, without its classifier, and what else is made of
its blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config.model import Norm
from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.layers import ConvNorm


class Row(NamedTuple):
    """A row of the paper's table: blocks that are alike."""

    expansion: int
    channels: int
    blocks: int
    stride: int  # of the first block
    kernel: int = 3


_ROWS = (
    Row(1, 16, 1, 1),
    Row(6, 24, 2, 2),
    Row(6, 32, 3, 2),
    Row(6, 64, 4, 2),
    Row(6, 96, 3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)
# the rows after which the resolution halves next: where a level is taken
_LEVELS = ((0, 1), (2,), (3, 4), (5, 6))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, linear 1x1 projection; a shortcut where the shape stays.

    Args:
        expands: whether there is an expansion: a block that expands 1 to 1 may go without.
        pads_right: a stride of 2 pads more to the right and below, as TensorFlow does.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        expansion: int,
        stride: int,
        norm: Norm,
        kernel: int = 3,
        dilation: int = 1,
        expands: bool = True,
        pads_right: bool = False,
    ) -> None:
        super().__init__()
        width = inputs * expansion
        relu6 = nn.ReLU6(inplace=True)
        self.expands = expands
        self.expand = ConvNorm(inputs, width, 1, norm=norm, activation=relu6) if expands else nn.Identity()
        self.pad = right_padding(kernel) if pads_right and stride == 2 else None
        self.depthwise = ConvNorm(
            width,
            width,
            kernel,
            stride=stride,
            padding=None if self.pad is None else 0,
            dilation=dilation,
            groups=width,
            norm=norm,
            activation=relu6,
        )
        self.project = ConvNorm(width, outputs, 1, norm=norm)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x)
        if self.pad is not None:
            y = F.pad(y, self.pad)
        y = self.project(self.depthwise(y))
        return y.add_(x) if self.shortcut else y


def right_padding(kernel: int) -> tuple[int, int, int, int]:
    """TensorFlow's "same" for a stride of 2 and even sides: left, right, above, below."""
    before = (kernel - 2) // 2
    return (before, kernel - 2 - before) * 2


class MobileNet(Backbone):
    """A stem and rows of `InvertedResidual`; levels at strides 4, 8, 16, 32.

    Args:
        rows: seven, as in MobileNetV2 and EfficientNet.
        dilate_last: the last level keeps the stride of 16 and dilates instead.
        tensorflow: the first block does not expand, and strides pad to the right.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        norm: Norm,
        input_channels: int,
        dilate_last: bool,
        tensorflow: bool = False,
    ) -> None:
        super().__init__()
        self.pad = right_padding(3) if tensorflow else None
        self.stem = ConvNorm(
            input_channels,
            32,
            3,
            stride=2,
            padding=0 if tensorflow else None,
            norm=norm,
            activation=nn.ReLU6(inplace=True),
        )
        inputs, made = 32, []
        for number, row in enumerate(rows):
            dilated = dilate_last and number in _LEVELS[-1]
            blocks: list[nn.Module] = []
            for block in range(row.blocks):
                blocks.append(
                    InvertedResidual(
                        inputs,
                        row.channels,
                        expansion=row.expansion,
                        stride=row.stride if block == 0 and not dilated else 1,
                        norm=norm,
                        kernel=row.kernel,
                        dilation=2 if dilated else 1,
                        # MobileNetV2's first block expands 1 to 1: its trunk was trained so
                        expands=row.expansion > 1 or not tensorflow,
                        pads_right=tensorflow,
                    )
                )
                inputs = row.channels
            made.append(blocks)
        self.stages = nn.ModuleList(nn.Sequential(*(b for r in level for b in made[r])) for level in _LEVELS)
        self.channels = [rows[level[-1]].channels for level in _LEVELS]
        self.strides = [4, 8, 16, 16 if dilate_last else 32]

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.levels(self.stem(x if self.pad is None else F.pad(x, self.pad)))


class MobileNetV2(MobileNet):
    """Levels of 24, 32, 96, 320 channels."""

    def __init__(self, *, norm: Norm = "frozen", input_channels: int = 3, dilate_last: bool = False) -> None:
        super().__init__(_ROWS, norm=norm, input_channels=input_channels, dilate_last=dilate_last)
