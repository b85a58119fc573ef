"""Our settings as a yaml of detectron2's: the way back of `detectron2.config_of`."""

from __future__ import annotations

from typing import Any

from maskrcnn.config.model import ModelConfig
from maskrcnn.model.backbone.resnet import RESNETS
from maskrcnn.weights.detectron2 import NORMS, POOLERS

_NORM_NAMES = {ours: theirs for theirs, ours in NORMS.items() if theirs != "naiveSyncBN"}


def yaml_of(config: ModelConfig) -> dict[str, Any]:
    """Every setting of detectron2's that `config` decides, over the base file of its kind.

    Raises:
        UserError: a network that detectron2 does not have.
    """
    kind = config.neck.kind
    base = {"fpn": "Base-RCNN-FPN.yaml", "c4": "Base-RCNN-C4.yaml", "dc5": "Base-RCNN-DilatedC5.yaml"}[kind]
    depth, groups, width = RESNETS[config.backbone.kind]
    model: dict[str, Any] = {
        "META_ARCHITECTURE": "GeneralizedRCNN" if config.box_head else "ProposalNetwork",
        "MASK_ON": config.mask_head is not None,
        "KEYPOINT_ON": config.keypoint_head is not None,
        "PIXEL_MEAN": config.input.mean,
        "PIXEL_STD": config.input.std,
        "BACKBONE": {"FREEZE_AT": config.backbone.freeze},
        "RESNETS": {
            "DEPTH": depth,
            "NUM_GROUPS": groups,
            "WIDTH_PER_GROUP": width,
            "NORM": _NORM_NAMES[config.backbone.norm],
            "STRIDE_IN_1X1": config.backbone.stride_in_1x1,
        },
        "FPN": {"OUT_CHANNELS": config.neck.channels, "NORM": _NORM_NAMES[config.neck.norm]},
        "PROPOSAL_GENERATOR": {"MIN_SIZE": int(config.rpn.min_size)},
        "ANCHOR_GENERATOR": {"SIZES": config.rpn.sizes, "ASPECT_RATIOS": [config.rpn.ratios]},
        "RPN": _rpn(config),
        "ROI_HEADS": {
            "NUM_CLASSES": len(config.classes),
            "IOU_THRESHOLDS": [config.roi.positive_iou],
            "BATCH_SIZE_PER_IMAGE": config.roi.samples,
            "POSITIVE_FRACTION": config.roi.positive_fraction,
            "PROPOSAL_APPEND_GT": config.roi.add_ground_truth,
            "SCORE_THRESH_TEST": config.test.score,
            "NMS_THRESH_TEST": config.test.nms_iou,
        },
    }
    pooler = {
        "POOLER_TYPE": next(
            (k for k, v in POOLERS.items() if v == (config.roi.op, config.roi.aligned)), "ROIPool"
        ),
        "POOLER_SAMPLING_RATIO": config.roi.sampling_ratio,
    }
    if config.box_head:
        head = config.box_head
        model["ROI_BOX_HEAD"] = pooler | {
            "POOLER_RESOLUTION": head.size,
            "NUM_CONV": head.convs,
            "CONV_DIM": head.conv_channels,
            "NORM": _NORM_NAMES[head.norm],
            "NUM_FC": head.fcs,
            "FC_DIM": head.fc_channels,
            "CLS_AGNOSTIC_BBOX_REG": head.class_agnostic,
            "BBOX_REG_WEIGHTS": list(head.box_weights),
            "SMOOTH_L1_BETA": head.smooth_l1_beta,
        }
        if config.neck.kind == "c4":
            del model["ROI_BOX_HEAD"]["NUM_CONV"], model["ROI_BOX_HEAD"]["NUM_FC"]
    if config.mask_head:
        masks = config.mask_head
        model["ROI_MASK_HEAD"] = pooler | {
            "POOLER_RESOLUTION": masks.size,
            "NUM_CONV": masks.convs,
            "CONV_DIM": masks.channels,
            "NORM": _NORM_NAMES[masks.norm],
            "CLS_AGNOSTIC_MASK": masks.class_agnostic,
        }
    if config.keypoint_head and config.keypoints:
        points = config.keypoint_head
        model["ROI_KEYPOINT_HEAD"] = pooler | {
            "POOLER_RESOLUTION": points.size,
            "CONV_DIMS": [points.channels] * points.convs,
            "NUM_KEYPOINTS": len(config.keypoints.names),
            "LOSS_WEIGHT": points.loss_weight,
        }
    inputs = {
        "FORMAT": config.input.order.upper(),
        "MIN_SIZE_TEST": config.input.short_side,
        "MAX_SIZE_TEST": config.input.long_side,
    }
    test = {"DETECTIONS_PER_IMAGE": config.test.detections}
    return {"_BASE_": base, "MODEL": model, "INPUT": inputs, "TEST": test}


def _rpn(config: ModelConfig) -> dict[str, Any]:
    rpn = config.rpn
    return {
        "CONV_DIMS": [rpn.channels or -1] * rpn.convs,
        "IOU_THRESHOLDS": [rpn.negative_iou, rpn.positive_iou],
        "BATCH_SIZE_PER_IMAGE": rpn.samples,
        "POSITIVE_FRACTION": rpn.positive_fraction,
        "SMOOTH_L1_BETA": rpn.smooth_l1_beta,
        "NMS_THRESH": rpn.nms_iou,
        "PRE_NMS_TOPK_TRAIN": rpn.pre_nms_train,
        "PRE_NMS_TOPK_TEST": rpn.pre_nms_test,
        "POST_NMS_TOPK_TRAIN": rpn.post_nms_train,
        "POST_NMS_TOPK_TEST": rpn.post_nms_test,
    }
