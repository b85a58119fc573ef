"""A ModelConfig in, a MaskRCNN out: the whole composition in one function."""

from __future__ import annotations

import torch
from torch import nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import validate
from maskrcnn.errors import UserError
from maskrcnn.model.backbone import hf_transformers, timm_models
from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.backbone.convnext import CONVNEXTS, ConvNeXt
from maskrcnn.model.backbone.efficientnet_lite import EFFICIENTNETS, EfficientNetLite
from maskrcnn.model.backbone.fpn import FPN
from maskrcnn.model.backbone.mobilenet import MobileNetV2
from maskrcnn.model.backbone.resnet import RESNETS, ResNet, make_stage
from maskrcnn.model.backbone.simple_pyramid import SimplePyramid
from maskrcnn.model.backbone.swin import SWINS, SwinTransformer
from maskrcnn.model.backbone.vit import VITS, ViT
from maskrcnn.model.box_head import BoxHead
from maskrcnn.model.keypoint_head import KeypointHead
from maskrcnn.model.layers import FrozenBatchNorm
from maskrcnn.model.mask_head import MaskHead
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.model.mlp_mask_head import MLPMaskHead
from maskrcnn.model.roi_features import RoiFeatures, SharedStageFeatures
from maskrcnn.model.roi_pooler import RoiPooler
from maskrcnn.model.rpn import RPN


def build(config: ModelConfig, network: type[MaskRCNN] = MaskRCNN) -> MaskRCNN:
    """The network of `config`, freshly initialised, float32 and channels-last.

    Args:
        network: the class to make.

    Raises:
        UserError: settings that contradict each other, or no classes.
    """
    _check(config)
    backbone = make_backbone(config)
    neck = _neck(config, backbone)
    if neck is not None:
        channels, strides, pooled_strides = config.neck.channels, neck.strides, neck.strides[:-1]
    else:
        # one level: C4 and the dilated C5 at stride 16, C5 at 32
        channels, strides = backbone.channels[-1], backbone.strides[-1:]
        pooled_strides = strides

    stage = None
    if config.box_head is not None and config.neck.kind == "c4":
        depth, groups, width = RESNETS[config.backbone.kind]
        fifth = make_stage(
            3,
            depth=depth,
            groups=groups,
            width_per_group=width,
            stride_in_1x1=config.backbone.stride_in_1x1,
            norm=config.backbone.norm,
        )
        set_eps(fifth, config.backbone.norm_eps)
        stage = (fifth, 2048)
    classes = len(config.classes)
    shared_channels = stage[1] if stage else channels
    pooler = RoiPooler(config.roi, pooled_strides)
    model = network(
        config=config,
        backbone=backbone,
        neck=neck,
        rpn=RPN(config.rpn, channels, strides),
        roi_features=SharedStageFeatures(pooler, config, stage[0]) if stage else RoiFeatures(pooler, config),
        box_head=BoxHead(config.box_head, channels, classes, stage) if config.box_head else None,
        mask_head=_mask_head(config, shared_channels) if config.mask_head else None,
        keypoint_head=(
            KeypointHead(config.keypoint_head, channels, len(config.keypoints.names))
            if config.keypoint_head and config.keypoints
            else None
        ),
    )
    model.backbone.freeze(config.backbone.freeze)
    return model.float().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _neck(config: ModelConfig, backbone: Backbone) -> FPN | SimplePyramid | None:
    outputs, norm = config.neck.channels, config.neck.norm
    if config.backbone.adapted and (len(backbone.channels) == 4) != (config.neck.kind == "fpn"):
        fitting = {1: "simple_pyramid", 4: "fpn"}.get(len(backbone.channels))
        advice = f"set model.neck.kind={fitting}" if fitting else "no neck takes them"
        raise UserError(
            f"model.backbone.kind={config.backbone.kind}: has levels of strides {backbone.strides}: {advice}"
        )
    if config.neck.kind == "fpn":
        return FPN(backbone.channels, backbone.strides, outputs, norm=norm)
    if config.neck.kind == "simple_pyramid":
        return SimplePyramid(backbone.channels[-1], outputs, norm=norm)
    return None


def _mask_head(config: ModelConfig, inputs: int) -> MaskHead | MLPMaskHead:
    """The mask head; `inputs` channels come in, at half the pooled size from C4's fifth stage."""
    head = config.mask_head
    assert head is not None
    # the background last
    masks = 1 if head.class_agnostic else len(config.classes) + (head.loss == "softmax")
    if head.kind == "fcn":
        return MaskHead(head, inputs, masks)
    assert config.box_head is not None  # the shared stage pools for it
    side = -(-config.box_head.size // 2) if config.neck.kind == "c4" else head.size
    return MLPMaskHead(inputs, side, masks)


def make_backbone(config: ModelConfig) -> Backbone:
    """The backbone: another library's with its own norms, ours with `norm_eps` in its batch norms."""
    if config.backbone.kind.startswith(hf_transformers.PREFIX):
        settings, channels = config.backbone.settings, config.input.channels
        return hf_transformers.transformers_backbone(config.backbone.kind, settings, channels)
    if config.backbone.kind.startswith(timm_models.PREFIX):
        return timm_models.timm_backbone(config.backbone.kind, config.input.channels)
    backbone = _backbone(config)
    set_eps(backbone, config.backbone.norm_eps)
    return backbone


def _backbone(config: ModelConfig) -> Backbone:
    """A new backbone is one file beside these and one line here."""
    kind, norm, channels = config.backbone.kind, config.backbone.norm, config.input.channels
    drop_path, dilated = config.backbone.drop_path, config.neck.kind == "dc5"
    if kind in SWINS:
        return SwinTransformer(SWINS[kind], drop_path=drop_path, input_channels=channels)
    if kind in CONVNEXTS:
        return ConvNeXt(*CONVNEXTS[kind], drop_path=drop_path, input_channels=channels)
    if kind in VITS:
        return ViT(VITS[kind], drop_path=drop_path, input_channels=channels)
    if kind == "mobilenetv2":
        return MobileNetV2(norm=norm, input_channels=channels, dilate_last=dilated)
    if kind in EFFICIENTNETS:
        factors = EFFICIENTNETS[kind]
        return EfficientNetLite(*factors, norm=norm, input_channels=channels, dilate_last=dilated)
    depth, groups, width = RESNETS[kind]
    return ResNet(
        depth=depth,
        groups=groups,
        width_per_group=width,
        stages=3 if config.neck.kind == "c4" else 4,
        dilate_last=dilated,
        stride_in_1x1=config.backbone.stride_in_1x1,
        norm=norm,
        input_channels=channels,
    )


def set_eps(backbone: nn.Module, eps: float) -> None:
    """What every batch norm of a backbone adds to its variance."""
    for module in backbone.modules():
        if isinstance(module, (FrozenBatchNorm, nn.BatchNorm2d)):
            module.eps = eps


def _check(config: ModelConfig) -> None:
    """Refuses what was not validated because it was filled in later, and what only a recipe may leave
    open.
    """
    validate(ModelConfig, config.model_dump(), "model")
    if not config.classes:
        raise UserError("model.classes is empty: name the classes, or train on data that does")
    if config.keypoint_head and not config.keypoints:
        raise UserError(
            "model.keypoint_head needs keypoints: the labels define none; set model.keypoint_head=null"
        )
