"""torchvision's detectors: what its tensors are called, and its conventions as settings of ours
(docs/weights.md).

Background is its first class, ours the last. `state` is always its state dict, under the names of its current
version.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from maskrcnn.config.keypoints import coco_keypoints
from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import validate
from maskrcnn.errors import UserError
from maskrcnn.weights.class_names import classes_of
from maskrcnn.weights.conventions import AS_FOUND
from maskrcnn.weights.rename import Rules, backbone_kind, count_names, rename

# names of 2019, as in the files that are published for its first version
OLD_NAMES: Rules = [
    (r"backbone\.fpn\.(inner_blocks|layer_blocks)\.(\d)\.(weight|bias)", r"backbone.fpn.\1.\2.0.\3"),
    (r"rpn\.head\.conv\.(weight|bias)", r"rpn.head.conv.0.0.\1"),
    (r"roi_heads\.mask_head\.mask_fcn(\d)\.", r"roi_heads.mask_head.<\1>.0."),
]
BACKBONE: Rules = [
    (r"stem\.conv\.", "conv1."),
    (r"stem\.norm\.", "bn1."),
    (r"stages\.(\d)\.(\d+)\.conv(\d)\.conv\.", r"layer{\1}.\2.conv\3."),
    (r"stages\.(\d)\.(\d+)\.conv(\d)\.norm\.", r"layer{\1}.\2.bn\3."),
    (r"stages\.(\d)\.(\d+)\.shortcut\.conv\.", r"layer{\1}.\2.downsample.0."),
    (r"stages\.(\d)\.(\d+)\.shortcut\.norm\.", r"layer{\1}.\2.downsample.1."),
]
RULES: Rules = [
    *[(r"backbone\." + ours, "backbone.body." + theirs) for ours, theirs in BACKBONE],
    (r"neck\.lateral\.(\d)\.conv\.", r"backbone.fpn.inner_blocks.\1.0."),
    (r"neck\.lateral\.(\d)\.norm\.", r"backbone.fpn.inner_blocks.\1.1."),
    (r"neck\.output\.(\d)\.conv\.", r"backbone.fpn.layer_blocks.\1.0."),
    (r"neck\.output\.(\d)\.norm\.", r"backbone.fpn.layer_blocks.\1.1."),
    (r"rpn\.convs\.(\d)\.", r"rpn.head.conv.\1.0."),
    (r"rpn\.objectness\.", "rpn.head.cls_logits."),
    (r"rpn\.deltas\.", "rpn.head.bbox_pred."),
    (r"box_head\.convs\.(\d)\.conv\.", r"roi_heads.box_head.\1.0."),
    (r"box_head\.convs\.(\d)\.norm\.", r"roi_heads.box_head.\1.1."),
    (r"box_head\.score\.", "roi_heads.box_predictor.cls_score."),
    (r"box_head\.deltas\.", "roi_heads.box_predictor.bbox_pred."),
    (r"mask_head\.convs\.(\d)\.conv\.", r"roi_heads.mask_head.\1.0."),
    (r"mask_head\.convs\.(\d)\.norm\.", r"roi_heads.mask_head.\1.1."),
    (r"mask_head\.deconv\.", "roi_heads.mask_predictor.conv5_mask."),
    (r"mask_head\.predict\.", "roi_heads.mask_predictor.mask_fcn_logits."),
    (r"keypoint_head\.deconv\.", "roi_heads.keypoint_predictor.kps_score_lowres."),
]


def their_name(name: str, config: ModelConfig) -> str:
    """torchvision's name of our tensor `name`."""
    head, _, leaf = name.rpartition(".")
    if head == "box_head.fcs.0" and config.box_head and config.box_head.convs:
        # after the convolutions and a flattening
        return f"roi_heads.box_head.{config.box_head.convs + 1}.{leaf}"
    if head.startswith("box_head.fcs."):
        return f"roi_heads.box_head.fc{6 + int(head[-1])}.{leaf}"
    if head.startswith("keypoint_head.convs."):
        return f"roi_heads.keypoint_head.{2 * int(head.split('.')[2])}.{leaf}"  # an activation after each
    return rename(name, RULES)


def modern_name(name: str) -> str:
    """The present name of a tensor whose name may be of 2019."""
    return rename(name, OLD_NAMES, default=name)


def config_of(state: Mapping[str, Tensor], *, data: str = "COCO", eps: float = 1e-5) -> ModelConfig:
    """Our settings of the detector that `state` belongs to: version 1 or 2, with masks, keypoints or neither.

    Args:
        eps: of the backbone's batch norms; 0 for the files published for version 1.

    Raises:
        UserError: not a ResNet-FPN detector of torchvision's, or one larger than any that we build.
    """
    try:
        count = state["roi_heads.box_predictor.cls_score.weight"].shape[0] - 1
        width = state["backbone.body.layer1.0.conv2.weight"].shape
        channels = state["backbone.fpn.inner_blocks.0.0.weight"].shape[0]
    except KeyError as error:
        raise UserError(f"not a ResNet-FPN detector of torchvision's: it has no {error}") from None
    second = "roi_heads.box_head.0.0.weight" in state
    masks = "roi_heads.mask_predictor.mask_fcn_logits.weight" in state
    points = "roi_heads.keypoint_predictor.kps_score_lowres.weight" in state
    names, ids = classes_of(data, count, points)
    depth = 101 if "backbone.body.layer3.22.conv1.weight" in state else 50
    norm = "batch" if second else "none"
    beta = 1 / 9
    return validate(
        ModelConfig,
        {
            "classes": names,
            "class_ids": ids,
            "keypoints": coco_keypoints() if points else None,
            "backbone": {"kind": backbone_kind(depth, width[1], width[0]), "norm_eps": eps},
            "neck": {"channels": channels, "norm": norm},
            "rpn": {
                "convs": count_names(state, r"rpn\.head\.conv\.\d\.0\.weight"),
                "round_anchors": True,
                "strides_of_image": True,
                "ignore_iou": None,
                "min_size": 1e-3,
                "smooth_l1_beta": beta,
                "post_nms_train": 2000,
            },
            "roi": {"aligned": False, "ignore_iou": None},
            "box_head": {
                "convs": count_names(state, r"roi_heads\.box_head\.\d\.0\.weight"),
                "fcs": 1 if second else 2,
                "norm": norm,
                "smooth_l1_beta": beta,
            },
            "mask_head": (
                {
                    "convs": count_names(state, r"roi_heads\.mask_head\.\d\.0\.weight"),
                    "norm": norm,
                    "target_sampling": 0,
                    "target_aligned": False,
                    "target_binary": False,
                }
                if masks
                else None
            ),
            "keypoint_head": {"decode": "resize"} if points else None,
            "test": {
                "min_size": 1e-2,
                "candidates": 2000,
                **AS_FOUND,
                "paste": "integer_boxes" if masks else "continuous",
            },
        },
        "the converted settings",
    )
