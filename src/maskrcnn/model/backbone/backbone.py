"""What a neck may expect of a backbone, and nothing more: a new backbone is one file that keeps this."""

from __future__ import annotations

from torch import Tensor, nn

from maskrcnn.model.layers import freeze_norms


class Backbone(nn.Module):
    """An image in, one feature map per level out.

    Attributes:
        channels: of each level, finest first.
        strides: pixels per cell of each level; image sides are multiples of the last.
    """

    channels: list[int]
    strides: list[int]
    stem: nn.Module
    stages: nn.ModuleList

    def forward(self, x: Tensor) -> list[Tensor]:
        """Levels (B, channels[i], H / strides[i], W / strides[i]) of normalised images (B, C, H, W)."""
        return self.levels(self.stem(x))

    def levels(self, x: Tensor) -> list[Tensor]:
        """What the stages make of the stem's output, one behind the other."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def parts(self) -> list[nn.Module]:
        """The stem and then each stage, in the order in which they are frozen."""
        return [self.stem, *self.stages]

    def freeze(self, count: int) -> None:
        """Stops the first `count` parts from learning: their weights stay, and so do the statistics of their
        batch norms.
        """
        for part in self.parts()[:count]:
            part.requires_grad_(False)
            freeze_norms(part)
