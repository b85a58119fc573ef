"""A network of another library behind our contract: which of its maps become levels, at what strides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskrcnn.errors import UserError, one_line
from maskrcnn.model.backbone.backbone import Backbone

SIDE = 448  # pixels: a multiple of 32 and of 14
STRIDES = (4, 8, 16, 32)  # of the levels that a pyramid takes
PLAIN = 16  # stride of the one level of a plain transformer, whatever its patches

# all maps of a network, or those of these places, from images
MakeMaps = Callable[[Sequence[int] | None], nn.Module]


class Adapter(Backbone):
    """A network that answers images (B, C, H, W) with a list of maps (B, C_i, H_i, W_i).

    Of the maps at each stride the deepest becomes a level. The patches of a plain transformer become 16
    pixels wide by scaling the images: to 14 / 16 for patches of 14, so that sides need be no multiples of 14.

    Args:
        make: makes the network with the maps of these places, of all places where None.
        kind: `model.backbone.kind`, for messages.

    Raises:
        UserError: the network does not take images of any size, or has no such strides.
    """

    def __init__(self, make: MakeMaps, kind: str, input_channels: int) -> None:
        super().__init__()
        self.network: Any
        shapes = _shapes(make, kind, input_channels)
        deepest = {SIDE / shape[2]: place for place, shape in enumerate(shapes)}
        self.scale = 1.0
        if len(deepest) == 1:
            ((stride, place),) = deepest.items()
            self.scale, chosen, self.strides = stride / PLAIN, [place], [PLAIN]
        else:
            self.strides = [stride for stride in STRIDES if stride in deepest]
            chosen = [deepest[stride] for stride in self.strides]
            if sorted(chosen) != chosen or not chosen:
                raise UserError(
                    f"model.backbone.kind={kind}: its strides are {sorted(deepest)}, not {STRIDES}"
                )
        self.channels = [shapes[place][1] for place in chosen]
        self.network = make(chosen)

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.scale != 1:
            side = [round(length * self.scale) for length in x.shape[-2:]]
            x = F.interpolate(x, size=side, mode="bilinear", align_corners=False)
        return list(self.network(x))

    def parts(self) -> list[nn.Module]:
        return []  # `backbone.freeze` is 0: nobody told us where its stages are


def _shapes(make: MakeMaps, kind: str, channels: int) -> list[torch.Size]:
    """Of all maps of an image of `SIDE`; computes nothing."""
    try:
        with torch.device("meta"), torch.no_grad():
            network = make(None).eval()
            network(torch.zeros(1, channels, SIDE, 2 * SIDE))
            return [maps.shape for maps in network(torch.zeros(1, channels, SIDE, SIDE))]
    except UserError:
        raise
    except Exception as error:  # whatever a library's network makes of an image that it does not expect
        first = one_line(f"{type(error).__name__}: {error}")[:160]
        raise UserError(f"model.backbone.kind={kind}: does not give maps of any image: {first}") from None
