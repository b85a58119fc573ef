"""Backbones of timm: `model.backbone.kind=timm:NAME`, extra `timm` (which brings torchvision).

Nothing is fetched: a name is the architecture's, and only the installed library's classes are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from maskrcnn.errors import UserError
from maskrcnn.model.backbone.adapter import Adapter
from maskrcnn.shell import nearest

PREFIX = "timm:"
# what the families take that would else see images of one size alone
ANY_SIZE: tuple[dict[str, bool], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


class FeatureMaps(nn.Module):
    """Some of the maps that timm's features_only gives, channel first."""

    def __init__(self, library: nn.Module, places: Sequence[int] | None) -> None:
        super().__init__()
        self.library, self.places = library, places
        self.channel_last = str(getattr(library, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.library(x)
        chosen = maps if self.places is None else [maps[place] for place in self.places]
        return [one.permute(0, 3, 1, 2) if self.channel_last else one for one in chosen]


def timm_backbone(kind: str, input_channels: int) -> Adapter:
    """The backbone of a name of timm's, such as "timm:resnet18".

    Raises:
        UserError: timm is missing or has no such name, or the network is no backbone here.
    """
    name = kind.removeprefix(PREFIX)
    try:
        import timm
    except ImportError as error:
        raise UserError(
            f"model.backbone.kind={kind} needs timm: pip install 'maskrcnn[timm]' ({error})"
        ) from None
    if not timm.is_model(name):
        raise UserError(f"model.backbone.kind={kind}: timm has no such model; {nearest(name, _names(name))}")
    return Adapter(lambda places: FeatureMaps(make(name, input_channels), places), kind, input_channels)


def make(name: str, input_channels: int, weights: Path | None = None) -> nn.Module:
    """timm's network that gives maps, random or of a .safetensors file of its own."""
    import timm

    file = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}} if weights else {}
    for options in ANY_SIZE:
        try:
            return timm.create_model(name, features_only=True, in_chans=input_channels, **options, **file)  # type: ignore[no-any-return]
        except TypeError:  # no such option in this family
            continue
    raise UserError(f"model.backbone.kind={PREFIX}{name}: timm gives no maps of it")


def _names(name: str) -> list[str]:
    """timm's names that begin as `name` does, of more than a thousand."""
    import timm

    return timm.list_models(f"{name[:3]}*")[:20] or ["resnet50", "convnext_tiny"]
