"""Feature pyramid network (Lin et al. 2017, section 3): semantics from above, resolution from below."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.config.model import Norm
from maskrcnn.model.layers import ConvNorm


class FPN(nn.Module):
    """C2 .. C5 in, P2 .. P5 and P6 out, all with the same channels; P6 is P5 subsampled and serves the RPN
    only.
    """

    def __init__(self, channels: list[int], strides: list[int], outputs: int, *, norm: Norm = "none") -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvNorm(c, outputs, 1, norm=norm) for c in channels)
        self.output = nn.ModuleList(ConvNorm(outputs, outputs, 3, norm=norm) for _ in channels)
        self.strides = [*strides, strides[-1] * 2]

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        sides = [lateral(x) for lateral, x in zip(self.lateral, levels, strict=True)]
        above = sides[-1]
        merged = [above]
        for side in reversed(sides[:-1]):
            above = F.interpolate(above, size=side.shape[-2:], mode="nearest").add_(side)
            merged.insert(0, above)
        outputs = [output(x) for output, x in zip(self.output, merged, strict=True)]
        return [*outputs, outputs[-1][:, :, ::2, ::2]]
