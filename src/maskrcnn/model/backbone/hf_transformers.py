"""Backbones of Hugging Face's transformers: `model.backbone.kind=transformers:TYPE`, extra `transformers`.

A type is the library's own (`resnet`, `dinov2`, ...) and its settings are ours to keep, so that a model
folder says all there is to know: nothing is fetched, and only the installed library's classes are made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from maskrcnn.errors import UserError
from maskrcnn.model.backbone.adapter import Adapter
from maskrcnn.shell import nearest

PREFIX = "transformers:"
OTHERS = ("timm_backbone",)  # have a kind of their own
OURS = ("num_channels", "_out_features", "_out_indices")  # set here, not by the user


class FeatureMaps(nn.Module):
    """The backbone's answer as a plain list."""

    def __init__(self, library: nn.Module) -> None:
        super().__init__()
        self.library = library

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.library(pixel_values=x).feature_maps)


def transformers_backbone(kind: str, settings: Mapping[str, Any], input_channels: int) -> Adapter:
    """The backbone of a type of transformers' AutoBackbone.

    Args:
        kind: "transformers:TYPE".
        settings: those of the type's configuration class that are not the default.

    Raises:
        UserError: transformers is missing or has no such type or setting, or the type is no backbone here.
    """

    def make(places: Sequence[int] | None) -> nn.Module:
        from transformers import AutoBackbone

        config = _config_class(kind)(**settings, num_channels=input_channels)
        for name in own_settings(config):  # some add their tuples to lists
            if isinstance(value := getattr(config, name), tuple):
                setattr(config, name, list(value))
        stages = range(1, len(config.stage_names))  # without the stem
        config.set_output_features_output_indices(None, [stages[i] for i in places or range(len(stages))])
        return FeatureMaps(AutoBackbone.from_config(config, trust_remote_code=False))

    _check(kind, settings)
    return Adapter(make, kind, input_channels)


def own_settings(config: Any) -> list[str]:
    """Names of the settings that a configuration has by its type; what all have may name code to fetch."""
    from transformers import PreTrainedConfig

    shared = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return [f.name for f in dataclasses.fields(config) if f.name not in shared and f.name not in OURS]


def _check(kind: str, settings: Mapping[str, Any]) -> None:
    known = own_settings(_config_class(kind))
    for name in settings:
        if name not in known:
            raise UserError(
                f"model.backbone.settings: a {kind} has no setting {name!r}; {nearest(name, known)}"
            )


def _config_class(kind: str) -> Any:
    try:
        from transformers import CONFIG_MAPPING
        from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES
    except ImportError:
        raise UserError(
            f"model.backbone.kind={kind} needs transformers: pip install 'maskrcnn[transformers]'"
        ) from None
    names = [name for name in MODEL_FOR_BACKBONE_MAPPING_NAMES if name not in OTHERS]
    if (name := kind.removeprefix(PREFIX)) not in names:
        raise UserError(
            f"model.backbone.kind={kind}: transformers has no such backbone; {nearest(name, names)}"
        )
    return CONFIG_MAPPING[name]
