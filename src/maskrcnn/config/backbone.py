"""The settings of the network that makes features of an image (`model.backbone`)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StrictBool, StrictInt, model_validator

from maskrcnn.config.section import Fraction, Section
from maskrcnn.shell import nearest

Norm = Literal["none", "frozen", "batch", "sync", "group", "layer"]
ResNetKind = Literal[
    "resnet50", "resnet101", "resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d", "resnext101_64x4d"
]
EfficientNetKind = Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
# their norms are layer norms
LayerNormKind = Literal["swin_t", "swin_s", "convnext_t", "convnext_s", "vit_b", "vit_l", "vit_h"]

KINDS = (
    "mobilenetv2",
    *(each for kind in (ResNetKind, EfficientNetKind, LayerNormKind) for each in get_args(kind)),
)
ADAPTERS = r"^(transformers:[a-z0-9_-]+|timm:[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?)$"

# a network of another library, which is installed beside this package
AdapterKind = Annotated[
    str,
    Field(
        pattern=ADAPTERS,
        max_length=100,
        examples=["transformers:TYPE", "timm:NAME"],
    ),
]
Number = Annotated[float, Field(ge=-16_384, le=16_384)]
Word = Annotated[str, Field(pattern=r"^\w*$", max_length=40)]
AdapterSetting = StrictBool | StrictInt | Number | Word | None | list[StrictBool | StrictInt | Number | Word]


class BackboneConfig(Section):
    """The network that makes features of an image. Its ImageNet weights are `train.trunk`."""

    kind: ResNetKind | Literal["mobilenetv2"] | EfficientNetKind | LayerNormKind | AdapterKind = "resnet50"
    """The architecture; `transformers:TYPE` and `timm:NAME` are networks of these libraries."""
    settings: dict[str, AdapterSetting] = Field({}, max_length=64)
    """Of a `transformers:TYPE`: the library's own settings of the type that are not its defaults."""
    norm: Norm = "frozen"
    """Norm behind its convolutions; `frozen`: batch norm that keeps its statistics, scale and shift. Swin,
    ConvNeXt and ViT have `layer`; for another library's network, which has its own, `none`."""
    norm_eps: Fraction = 1e-5
    """Convention: what a batch norm adds to its variance. torchvision's first detectors were published
    with 0, EfficientNet-Lite's trunks with 1e-3."""
    freeze: int = Field(2, ge=0, le=5)
    """So many stages, the stem first, keep their weights, and their batch norms their statistics."""
    stride_in_1x1: bool = False
    """Convention: MSRA's ResNets stride in the first 1x1 convolution of a bottleneck, others in the 3x3."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Share of the images for which training leaves out a residual branch of the deepest block (stochastic
    depth, Huang et al. 2016), less from block to block before it. Of Swin, ConvNeXt and ViT."""

    @property
    def adapted(self) -> bool:
        """Whether it is a network of another library."""
        return ":" in self.kind

    @model_validator(mode="before")
    @classmethod
    def _known(cls, settings: Any) -> Any:
        kind = settings.get("kind", KINDS[0]) if isinstance(settings, dict) else KINDS[0]
        if kind not in KINDS and not (isinstance(kind, str) and re.match(ADAPTERS, kind)):
            hint = nearest(str(kind)[:40], KINDS)
            raise ValueError(f"kind: none is called {kind!r:.60}; {hint}; and transformers:TYPE, timm:NAME")
        return settings

    @model_validator(mode="after")
    def _consistent(self) -> BackboneConfig:
        if self.adapted and (self.norm != "none" or self.freeze):
            name, wanted = ("norm", "none") if self.norm != "none" else ("freeze", "0")
            raise ValueError(f"{name} is {getattr(self, name)}: for {self.kind} set it to {wanted}")
        if self.settings and not self.kind.startswith("transformers:"):
            raise ValueError(f"settings are for transformers:TYPE, not for a {self.kind}: leave them out")
        for setting, value in self.settings.items():
            # layers are made one by one, which a few digits must not ask for without end
            most = 100 if re.search("layers|depth|blocks", setting) else 16_384
            numbers = value if isinstance(value, list) else [value]
            if len(numbers) > 64 or any(isinstance(n, (int, float)) and abs(n) > most for n in numbers):
                raise ValueError(f"settings: {setting} is {value!r:.60}: write at most {most}")
        layer_norms = self.kind in get_args(LayerNormKind)
        if layer_norms != (self.norm == "layer"):
            fitting = "layer" if layer_norms else "frozen, batch, sync or group"
            raise ValueError(f"norm is {self.norm}: a {self.kind} has {fitting}")
        if self.drop_path and not layer_norms:
            raise ValueError(f"drop_path is {self.drop_path}: a {self.kind} has none, set it to 0")
        return self
