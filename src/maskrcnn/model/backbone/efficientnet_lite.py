"""EfficientNet-Lite 0 to 2: EfficientNet (Tan and Le 2019, Table 1) without squeeze-and-excitation and with
ReLU6, made for int8 on CPUs.
"""

from __future__ import annotations

import math

from maskrcnn.config.model import Norm
from maskrcnn.model.backbone.mobilenet import MobileNet, Row

# factors of channels and of blocks (equation 3); the stem and the blocks of the first and last row have none
EFFICIENTNETS = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
_ROWS = (
    Row(1, 16, 1, 1, 3),
    Row(6, 24, 2, 2, 3),
    Row(6, 40, 2, 2, 5),
    Row(6, 80, 3, 2, 3),
    Row(6, 112, 3, 1, 5),
    Row(6, 192, 4, 2, 5),
    Row(6, 320, 1, 1, 3),
)


class EfficientNetLite(MobileNet):
    """Levels of 24, 40, 112, 320 channels times `width`.

    Args:
        width, depth: factors of the channels and of the blocks.
    """

    def __init__(
        self,
        width: float,
        depth: float,
        *,
        norm: Norm = "frozen",
        input_channels: int = 3,
        dilate_last: bool = False,
    ) -> None:
        ends = (0, len(_ROWS) - 1)
        rows = [
            row._replace(
                channels=_whole_eights(width * row.channels),
                blocks=row.blocks if number in ends else math.ceil(depth * row.blocks),
            )
            for number, row in enumerate(_ROWS)
        ]
        super().__init__(
            rows, norm=norm, input_channels=input_channels, dilate_last=dilate_last, tensorflow=True
        )


def _whole_eights(channels: float) -> int:
    """The nearest multiple of 8 that is not below nine tenths of `channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
