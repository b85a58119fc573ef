"""mmdetection 3's `mask-rcnn` and `faster-rcnn`: what its tensors are called, its conventions as settings of
ours.

Its "pytorch" style takes RGB and strides in the 3x3 convolution; its "caffe" style takes BGR with a deviation
of 1 and strides in the first 1x1. Nothing in a state dict tells the two apart, so the caller says, or
mmdetection's own settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import validate
from maskrcnn.errors import UserError
from maskrcnn.model.backbone.convnext import CONVNEXTS
from maskrcnn.model.backbone.swin import SWINS
from maskrcnn.weights.class_names import classes_of
from maskrcnn.weights.conventions import AS_FOUND
from maskrcnn.weights.rename import Rules, backbone_kind, count_names, rename
from maskrcnn.weights.torchvision import BACKBONE

SWIN: Rules = [
    (r"backbone\.stem\.conv\.", "backbone.patch_embed.projection."),
    (r"backbone\.stem\.norm\.", "backbone.patch_embed.norm."),
    (r"backbone\.merges\.(\d)\.", r"backbone.stages.\1.downsample."),
    *[
        (r"backbone\.stages\.(\d)\.(\d+)\." + ours, r"backbone.stages.\1.blocks.\2." + theirs)
        for ours, theirs in (
            (r"attention\.bias_table", "attn.w_msa.relative_position_bias_table"),
            (r"attention\.", "attn.w_msa."),
            (r"mlp\.fc1\.", "ffn.layers.0.0."),
            (r"mlp\.fc2\.", "ffn.layers.1."),
            ("", ""),
        )
    ],
]
CONVNEXT: Rules = [
    (r"backbone\.stem\.conv\.", "backbone.downsample_layers.0.0."),
    (r"backbone\.stem\.norm\.", "backbone.downsample_layers.0.1."),
    (r"backbone\.downs\.(\d)\.", r"backbone.downsample_layers.{\1}."),
    *[
        (r"backbone\.stages\.(\d)\.(\d+)\." + ours, r"backbone.stages.\1.\2." + theirs)
        for ours, theirs in (
            (r"depthwise\.", "depthwise_conv."),
            (r"mlp\.fc(\d)\.", r"pointwise_conv\3."),
            (r"scale", "gamma"),
            ("", ""),
        )
    ],
]
NORMS = {"bn": "batch", "gn": "group"}
SWIN_STEM = "backbone.patch_embed.projection.weight"
CONVNEXT_STEM = "backbone.downsample_layers.0.0.weight"
MASKS = "roi_head.mask_head.conv_logits.weight"
RESNET_MARK = "backbone.layer1.0.conv2.weight"
LOW_SCORE = 0.01  # below which more candidates are kept: LVIS's threshold is 0.0001
CAFFE_MEAN = [103.53, 116.28, 123.675]  # BGR
RULES: Rules = [
    (r"backbone\.norms\.(\d)\.", r"backbone.norm\1."),
    *[(r"backbone\." + ours, "backbone." + theirs) for ours, theirs in BACKBONE],
    (r"neck\.lateral\.(\d)\.conv\.", r"neck.lateral_convs.\1.conv."),
    (r"neck\.lateral\.(\d)\.norm\.", r"neck.lateral_convs.\1.bn."),
    (r"neck\.output\.(\d)\.conv\.", r"neck.fpn_convs.\1.conv."),
    (r"neck\.output\.(\d)\.norm\.", r"neck.fpn_convs.\1.bn."),
    (r"rpn\.convs\.0\.", "rpn_head.rpn_conv."),
    (r"rpn\.objectness\.", "rpn_head.rpn_cls."),
    (r"rpn\.deltas\.", "rpn_head.rpn_reg."),
    (r"box_head\.convs\.(\d)\.conv\.", r"roi_head.bbox_head.shared_convs.\1.conv."),
    (r"box_head\.convs\.(\d)\.norm\.", r"roi_head.bbox_head.shared_convs.\1.bn."),
    (r"box_head\.fcs\.(\d)\.", r"roi_head.bbox_head.shared_fcs.\1."),
    (r"box_head\.score\.", "roi_head.bbox_head.fc_cls."),
    (r"box_head\.deltas\.", "roi_head.bbox_head.fc_reg."),
    (r"mask_head\.convs\.(\d)\.conv\.", r"roi_head.mask_head.convs.\1.conv."),
    (r"mask_head\.convs\.(\d)\.norm\.", r"roi_head.mask_head.convs.\1.bn."),
    (r"mask_head\.deconv\.", "roi_head.mask_head.upsample."),
    (r"mask_head\.predict\.", "roi_head.mask_head.conv_logits."),
]


def their_name(name: str, config: ModelConfig) -> str:
    """mmdetection's name of our tensor `name`."""
    family = {"swin": SWIN, "convnext": CONVNEXT}.get(config.backbone.kind.partition("_")[0], [])
    several = [(r"rpn\.convs\.(\d+)\.", r"rpn_head.rpn_conv.\1.conv.")] if config.rpn.convs > 1 else []
    theirs = rename(name, [*several, *family, *RULES])
    section = getattr(config, name.partition(".")[0], None)
    return re.sub(r"\.bn(\d?)\.", r".gn\1.", theirs) if getattr(section, "norm", "") == "group" else theirs


def config_of(
    state: Mapping[str, Tensor],
    *,
    style: Literal["pytorch", "caffe"] = "pytorch",
    rgb: bool | None = None,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    data: str = "COCO",
    said: Mapping[str, object] | None = None,
    where: str = "the converted settings",
) -> ModelConfig:
    """Our settings of the detector that `state` belongs to, with a ResNet, Swin or ConvNeXt and FPN.

    Args:
        style: as above, of a ResNet.
        rgb: the input's channel order, where it is not the style's own.
        mean, std: of the input in that order, likewise.
        said: settings of ours, by names with dots, over what the tensors and mmdetection's defaults tell;
            those of a head that it lacks are left out.
        where: what `said` is from.

    Raises:
        UserError: not such a detector of mmdetection's.
    """
    try:
        scores = state["roi_head.bbox_head.fc_cls.weight"]
        deltas = state["roi_head.bbox_head.fc_reg.weight"]
        backbone = _backbone(state, style)
        channels = state["neck.lateral_convs.0.conv.weight"].shape[0]
    except KeyError as error:
        raise UserError(
            f"not a detector of mmdetection's with a ResNet, Swin or ConvNeXt and FPN: it has no {error}"
        ) from None
    names, ids = classes_of(data, scores.shape[0] - 1)
    masks = MASKS in state
    caffe = style == "caffe"
    inputs: dict[str, object] = {"order": "rgb" if (not caffe if rgb is None else rgb) else "bgr"}
    if caffe:
        inputs |= {"mean": CAFFE_MEAN, "std": [1.0, 1.0, 1.0]}
    inputs |= {key: value for key, value in (("mean", mean), ("std", std)) if value is not None}
    settings: dict[str, Any] = {
        "classes": names,
        "class_ids": ids,
        "input": inputs,
        "backbone": backbone,
        "neck": {"channels": channels, "norm": _norm(state, "neck.lateral_convs.0.")},
        "rpn": {
            "convs": max(1, count_names(state, r"rpn_head\.rpn_conv\.\d+\.conv\.weight")),
            "channels": state["rpn_head.rpn_cls.weight"].shape[1],
            "low_quality_overrides": True,
            "low_quality_min_iou": 0.3,
            "ignore_iou": None,
        },
        "roi": {"sampling_ratio": 0, "ignore_iou": None},
        "box_head": {
            "convs": count_names(state, r"roi_head\.bbox_head\.shared_convs\.\d\.conv\.weight"),
            "fcs": count_names(state, r"roi_head\.bbox_head\.shared_fcs\.\d\.weight"),
            "norm": _norm(state, "roi_head.bbox_head.shared_convs.0."),
            **_widths(state, "roi_head.bbox_head.shared_convs.0.conv.weight", "conv_channels"),
            **_widths(state, "roi_head.bbox_head.shared_fcs.0.weight", "fc_channels"),
            "class_agnostic": deltas.shape[0] == 4 and scores.shape[0] > 2,
        },
        "mask_head": (
            {
                "convs": count_names(state, r"roi_head\.mask_head\.convs\.\d\.conv\.weight"),
                "norm": _norm(state, "roi_head.mask_head.convs.0."),
                **_widths(state, "roi_head.mask_head.convs.0.conv.weight", "channels"),
                "target_sampling": 0,
                "class_agnostic": state[MASKS].shape[0] == 1 and scores.shape[0] > 2,
            }
            if masks
            else None
        ),
        "test": {"candidates": 2000, **AS_FOUND},
    }
    for name, value in (said or {}).items():
        section, _, key = name.partition(".")
        if settings[section] is not None:
            settings[section][key] = value
    score = settings["test"].get("score")
    if score is not None and score < LOW_SCORE:
        settings["test"]["candidates"] = 10_000
    return validate(ModelConfig, settings, where)


def needs_style(state: Mapping[str, Tensor]) -> bool:
    """Whether the detector has a ResNet, of which there are two styles."""
    return RESNET_MARK in state


def _backbone(state: Mapping[str, Tensor], style: str) -> dict[str, object]:
    """Settings of the backbone, as the tensors tell them."""
    swins = {(size.width, size.blocks[2]): kind for kind, size in SWINS.items()}
    convnexts = {(width, blocks[2]): kind for kind, (width, blocks) in CONVNEXTS.items()}
    for mark, kinds, pattern, drop_path in (
        (SWIN_STEM, swins, r"backbone\.stages\.2\.blocks\.\d+\.norm1\.weight", 0.2),
        (CONVNEXT_STEM, convnexts, r"backbone\.stages\.2\.\d+\.norm\.weight", 0.4),
    ):
        if mark in state:
            found = state[mark].shape[0], count_names(state, pattern)
            if found not in kinds:
                raise UserError(
                    f"a backbone of {found[0]} channels and {found[1]} blocks in its third stage: there is "
                    f"none here, but {', '.join(kinds.values())}"
                )
            return {"kind": kinds[found], "norm": "layer", "drop_path": drop_path}
    width = state[RESNET_MARK].shape
    depth = 101 if "backbone.layer3.22.conv1.weight" in state else 50
    kind = backbone_kind(depth, width[1], width[0])
    # a ResNeXt's first 1x1 convolution never strides
    strides = {"stride_in_1x1": style == "caffe" and not kind.startswith("resnext")}
    return {"kind": kind, **strides} | ({"norm": "group"} if "backbone.gn1.weight" in state else {})


def _norm(state: Mapping[str, Tensor], layer: str) -> str:
    """Behind a convolution."""
    return next((norm for name, norm in NORMS.items() if f"{layer}{name}.weight" in state), "none")


def _widths(state: Mapping[str, Tensor], name: str, setting: str) -> dict[str, int]:
    """The outputs of a layer, where there is that layer."""
    return {setting: state[name].shape[0]} if name in state else {}
