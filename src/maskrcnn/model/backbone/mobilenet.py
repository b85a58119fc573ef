"""MobileNetV2 (Sandler et al. 2018, Table 2), width 1.0, without its classifier."""

from __future__ import annotations

from torch import Tensor, nn

from maskrcnn.config.model import Norm
from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.layers import ConvNorm

# (expansion, channels, blocks, stride of the first block), row by row of the paper's table
_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# the rows after which the resolution halves next: where a level is taken
_LEVELS = ((0, 1), (2,), (3, 4), (5, 6))


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut where the shape stays."""

    def __init__(
        self, inputs: int, outputs: int, *, expansion: int, stride: int, norm: Norm, dilation: int = 1
    ) -> None:
        super().__init__()
        width = inputs * expansion
        relu6 = nn.ReLU6(inplace=True)
        # the first block expands 1 to 1 all the same: the trunk we start from was trained so
        self.expand = ConvNorm(inputs, width, 1, norm=norm, activation=relu6)
        self.depthwise = ConvNorm(
            width, width, 3, stride=stride, dilation=dilation, groups=width, norm=norm, activation=relu6
        )
        self.project = ConvNorm(width, outputs, 1, norm=norm)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return y.add_(x) if self.shortcut else y


class MobileNetV2(Backbone):
    """Levels at strides 4, 8, 16, 32 with 24, 32, 96, 320 channels.

    Args:
        dilate_last: the last level keeps the stride of 16 and dilates instead.
    """

    def __init__(self, *, norm: Norm = "frozen", input_channels: int = 3, dilate_last: bool = False) -> None:
        super().__init__()
        self.stem = ConvNorm(input_channels, 32, 3, stride=2, norm=norm, activation=nn.ReLU6(inplace=True))
        inputs, rows = 32, []
        for number, (expansion, outputs, blocks, stride) in enumerate(_ROWS):
            row: list[nn.Module] = []
            dilated = dilate_last and number in _LEVELS[-1]
            for block in range(blocks):
                row.append(
                    InvertedResidual(
                        inputs,
                        outputs,
                        expansion=expansion,
                        stride=stride if block == 0 and not dilated else 1,
                        norm=norm,
                        dilation=2 if dilated else 1,
                    )
                )
                inputs = outputs
            rows.append(row)
        self.stages = nn.ModuleList(nn.Sequential(*(b for r in level for b in rows[r])) for level in _LEVELS)
        self.channels = [24, 32, 96, 320]
        self.strides = [4, 8, 16, 16 if dilate_last else 32]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels

    def parts(self) -> list[nn.Module]:
        return [self.stem, *self.stages]

    def blocks(self) -> list[InvertedResidual]:
        """The seventeen blocks in order."""
        return [block for block in self.stages.modules() if isinstance(block, InvertedResidual)]
