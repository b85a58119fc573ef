"""torchvision's detection models (`maskrcnn_resnet50_fpn` and its two relatives, version 1) under our names.

Its conventions, as settings of ours: field-notes C8 and docs/architecture.md. Background is its first class, ours the last;
it flattens pooled features channel first, we flatten them channel last.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from maskrcnn.config import KeypointSchema, ModelConfig
from maskrcnn.errors import UserError

_RULES = [
    (r"backbone\.body\.conv1\.", r"backbone.stem.conv."),
    (r"backbone\.body\.bn1\.", r"backbone.stem.norm."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.conv(\d)\.", r"backbone.stages.<\1>.\2.conv\3.conv."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.bn(\d)\.", r"backbone.stages.<\1>.\2.conv\3.norm."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.downsample\.0\.", r"backbone.stages.<\1>.\2.shortcut.conv."),
    (r"backbone\.body\.layer(\d)\.(\d+)\.downsample\.1\.", r"backbone.stages.<\1>.\2.shortcut.norm."),
    (r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?\.", r"neck.lateral.\1.conv."),
    (r"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?\.", r"neck.output.\1.conv."),
    (r"rpn\.head\.conv(?:\.0\.0)?\.", r"rpn.convs.0."),
    (r"rpn\.head\.cls_logits\.", r"rpn.objectness."),
    (r"rpn\.head\.bbox_pred\.", r"rpn.deltas."),
    (r"roi_heads\.box_head\.fc6\.", r"box_head.fcs.0."),
    (r"roi_heads\.box_head\.fc7\.", r"box_head.fcs.1."),
    (r"roi_heads\.box_predictor\.cls_score\.", r"box_head.score."),
    (r"roi_heads\.box_predictor\.bbox_pred\.", r"box_head.deltas."),
    (r"roi_heads\.mask_head\.(\d)\.0\.", r"mask_head.convs.\1.conv."),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.", r"mask_head.convs.<\1>.conv."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", r"mask_head.deconv."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", r"mask_head.predict."),
    (r"roi_heads\.keypoint_head\.(\d+)\.", r"keypoint_head.convs.{\1}.conv."),
    (r"roi_heads\.keypoint_predictor\.kps_score_lowres\.", r"keypoint_head.deconv."),
]


def torchvision_config(classes: list[str], keypoints: KeypointSchema | None = None) -> ModelConfig:
    """torchvision's settings of `maskrcnn_resnet50_fpn`, or of `keypointrcnn_resnet50_fpn` where `keypoints` are given."""
    beta = 1 / 9
    rpn = {"round_anchors": True, "ignore_iou": None, "min_size": 1e-3, "smooth_l1_beta": beta, "post_nms_train": 2000}
    masks = {"target_sampling": 0, "target_aligned": False, "target_binary": False}
    return ModelConfig.model_validate(
        {
            "classes": classes,
            "keypoints": keypoints,
            "rpn": rpn,
            "roi": {"aligned": False, "ignore_iou": None},
            "box_head": {"smooth_l1_beta": beta},
            "mask_head": None if keypoints else masks,
            "keypoint_head": {"decode": "resize"} if keypoints else None,
            "test": {"min_size": 1e-2, "candidates": 2000},
        }
    )


def from_torchvision(state: dict[str, Tensor], channels: int = 256, size: int = 7) -> dict[str, Tensor]:
    """A state dict of ours from one of torchvision's.

    Args:
        channels, size: of the pooled features that the first fully connected layer reads.

    Raises:
        UserError: a tensor that no rule knows.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        key = our_name(name)
        if key == "box_head.fcs.0.weight":
            tensor = tensor.view(-1, channels, size, size).permute(0, 2, 3, 1).flatten(1)
        elif key.startswith("box_head.score."):
            tensor = torch.cat([tensor[1:], tensor[:1]])
        elif key.startswith("box_head.deltas."):
            tensor = tensor[4:]
        elif key.startswith("mask_head.predict."):
            tensor = tensor[1:]
        ours[key] = tensor.contiguous()
    return ours


def our_name(name: str) -> str:
    """Our name of one of torchvision's tensors.

    Raises:
        UserError: no rule knows it.
    """
    for pattern, replacement in _RULES:
        key, count = re.subn("^" + pattern, replacement, name)
        if count:
            # <n> counts from 1 there, {n} counts a layer and its activation
            key = re.sub(r"<(\d+)>", lambda m: str(int(m[1]) - 1), key)
            return re.sub(r"\{(\d+)\}", lambda m: str(int(m[1]) // 2), key)
    raise UserError(f"torchvision checkpoint: no place for the tensor {name}")
