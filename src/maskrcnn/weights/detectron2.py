"""detectron2's ResNet detectors: what its tensors are called, and its yaml settings as settings of ours
(docs/weights.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskrcnn.config.keypoints import coco_keypoints
from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import validate
from maskrcnn.errors import UserError
from maskrcnn.weights import vitdet
from maskrcnn.weights.class_names import classes_of
from maskrcnn.weights.conventions import AS_FOUND
from maskrcnn.weights.detectron2_yaml import zoo_bases
from maskrcnn.weights.rename import Rules, backbone_kind, rename

_BLOCK: Rules = [
    (r"conv(\d)\.conv\.", r"conv\1."),
    (r"conv(\d)\.norm\.", r"conv\1.norm."),
    (r"shortcut\.conv\.", "shortcut."),
    (r"shortcut\.norm\.", "shortcut.norm."),
]
BACKBONE: Rules = [
    (r"stem\.conv\.", "stem.conv1."),
    (r"stem\.norm\.", "stem.conv1.norm."),
    *[(r"stages\.0\.(\d+)\." + ours, r"res2.\1." + theirs.replace("\\1", "\\2")) for ours, theirs in _BLOCK],
    *[(r"stages\.1\.(\d+)\." + ours, r"res3.\1." + theirs.replace("\\1", "\\2")) for ours, theirs in _BLOCK],
    *[(r"stages\.2\.(\d+)\." + ours, r"res4.\1." + theirs.replace("\\1", "\\2")) for ours, theirs in _BLOCK],
    *[(r"stages\.3\.(\d+)\." + ours, r"res5.\1." + theirs.replace("\\1", "\\2")) for ours, theirs in _BLOCK],
]
HEADS: Rules = [
    *[(r"neck\.lateral\." + f"{i}" + r"\.conv\.", f"backbone.fpn_lateral{i + 2}.") for i in range(4)],
    *[(r"neck\.lateral\." + f"{i}" + r"\.norm\.", f"backbone.fpn_lateral{i + 2}.norm.") for i in range(4)],
    *[(r"neck\.output\." + f"{i}" + r"\.conv\.", f"backbone.fpn_output{i + 2}.") for i in range(4)],
    *[(r"neck\.output\." + f"{i}" + r"\.norm\.", f"backbone.fpn_output{i + 2}.norm.") for i in range(4)],
    (r"rpn\.objectness\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"rpn\.deltas\.", "proposal_generator.rpn_head.anchor_deltas."),
    *[
        (r"box_head\.stage\.(\d+)\." + ours, r"roi_heads.res5.\1." + t.replace("\\1", "\\2"))
        for ours, t in _BLOCK
    ],
    (r"box_head\.convs\.(\d)\.conv\.", r"roi_heads.box_head.conv{\1}."),
    (r"box_head\.convs\.(\d)\.norm\.", r"roi_heads.box_head.conv{\1}.norm."),
    (r"box_head\.fcs\.(\d)\.", r"roi_heads.box_head.fc{\1}."),
    (r"box_head\.score\.", "roi_heads.box_predictor.cls_score."),
    (r"box_head\.deltas\.", "roi_heads.box_predictor.bbox_pred."),
    (r"mask_head\.convs\.(\d)\.conv\.", r"roi_heads.mask_head.mask_fcn{\1}."),
    (r"mask_head\.convs\.(\d)\.norm\.", r"roi_heads.mask_head.mask_fcn{\1}.norm."),
    (r"mask_head\.deconv\.", "roi_heads.mask_head.deconv."),
    (r"mask_head\.predict\.", "roi_heads.mask_head.predictor."),
    (r"keypoint_head\.convs\.(\d+)\.conv\.", r"roi_heads.keypoint_head.conv_fcn{\1}."),
    (r"keypoint_head\.deconv\.", "roi_heads.keypoint_head.score_lowres."),
]
NORMS = {
    "": "none",
    "FrozenBN": "frozen",
    "BN": "batch",
    "SyncBN": "sync",
    "naiveSyncBN": "sync",
    "GN": "group",
}
MOST_CLASSES = 100_000
# of which this network has detectron2's default alone, or what the box head's RoIs have
UNREAD = (
    *(
        "PROPOSAL_GENERATOR.NAME",
        "ANCHOR_GENERATOR.NAME",
        "FPN.FUSE_TYPE",
        "RPN.HEAD_NAME",
        "RPN.BOUNDARY_THRESH",
    ),
    *("RPN.BBOX_REG_LOSS_TYPE", "RPN.BBOX_REG_LOSS_WEIGHT", "RPN.BBOX_REG_WEIGHTS", "RPN.LOSS_WEIGHT"),
    *("RPN.IOU_LABELS", "ROI_HEADS.IOU_LABELS", "ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE"),
    *("ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT", "ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", "ROI_BOX_HEAD.USE_SIGMOID_CE"),
    "ROI_BOX_HEAD.USE_FED_LOSS",
    "ROI_KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS",
)
POOLERS = {"ROIAlignV2": ("align", True), "ROIAlign": ("align", False), "ROIPool": ("pool", False)}


def their_name(name: str, config: ModelConfig) -> str:
    """detectron2's name of our tensor `name`."""
    if config.neck.kind == "simple_pyramid" and name.startswith(("backbone.", "neck.")):
        return vitdet.their_name(name, config)
    backbone = "backbone.bottom_up." if config.neck.kind == "fpn" else "backbone."
    if name.startswith("backbone."):
        return backbone + rename(name.removeprefix("backbone."), BACKBONE)
    if name.startswith("rpn.convs."):
        _, _, number, leaf = name.split(".")
        several = f"conv{number}." if config.rpn.convs > 1 else ""
        return f"proposal_generator.rpn_head.conv.{several}{leaf}"
    return rename(name, HEADS)


def config_of(settings: Mapping[str, Any], *, data: str = "COCO") -> ModelConfig:
    """Our settings of a detector, from its settings in detectron2's yaml form, bases and defaults included.

    Args:
        settings: as `maskrcnn.weights.detectron2_yaml.resolve` makes them.

    Raises:
        UserError: a network that we do not have.
    """
    model = settings["MODEL"]
    resnet, heads, box, masks = (model[k] for k in ("RESNETS", "ROI_HEADS", "ROI_BOX_HEAD", "ROI_MASK_HEAD"))
    _refuse_others(model)
    neck = "fpn" if "fpn" in model["BACKBONE"]["NAME"] else "dc5" if resnet["RES5_DILATION"] == 2 else "c4"
    alone = model["META_ARCHITECTURE"] == "ProposalNetwork"
    names, ids = (["object"], [1]) if alone else classes_of(data, heads["NUM_CLASSES"], model["KEYPOINT_ON"])
    op, aligned = POOLERS[box["POOLER_TYPE"]]
    return validate(
        ModelConfig,
        {
            "classes": names,
            "class_ids": ids,
            "keypoints": coco_keypoints() if model["KEYPOINT_ON"] else None,
            "input": {
                "order": settings["INPUT"]["FORMAT"].lower(),
                "mean": model["PIXEL_MEAN"],
                "std": model["PIXEL_STD"],
                "divisor": 32 if neck == "fpn" else 1,
                "short_side": settings["INPUT"]["MIN_SIZE_TEST"],
                "long_side": settings["INPUT"]["MAX_SIZE_TEST"],
            },
            "backbone": {
                "kind": backbone_kind(resnet["DEPTH"], resnet["WIDTH_PER_GROUP"], _width(resnet)),
                "norm": NORMS[resnet["NORM"]],
                "freeze": model["BACKBONE"]["FREEZE_AT"],
                "stride_in_1x1": resnet["STRIDE_IN_1X1"],
            },
            "neck": {
                "kind": neck,
                "channels": model["FPN"]["OUT_CHANNELS"],
                "norm": NORMS[model["FPN"]["NORM"]],
            },
            "rpn": _rpn(model, neck),
            "roi": {
                "op": op,
                "aligned": aligned,
                "sampling_ratio": box["POOLER_SAMPLING_RATIO"],
                "samples": heads["BATCH_SIZE_PER_IMAGE"],
                "positive_fraction": heads["POSITIVE_FRACTION"],
                "positive_iou": heads["IOU_THRESHOLDS"][0],
                "ignore_iou": None,
                "add_ground_truth": heads["PROPOSAL_APPEND_GT"],
            },
            "box_head": None if alone else _box_head(box, heads["NAME"] == "Res5ROIHeads"),
            "mask_head": _mask_head(masks) if model["MASK_ON"] else None,
            "keypoint_head": _keypoint_head(model["ROI_KEYPOINT_HEAD"]) if model["KEYPOINT_ON"] else None,
            "test": {
                "score": heads["SCORE_THRESH_TEST"],
                "nms_iou": heads["NMS_THRESH_TEST"],
                **AS_FOUND,
                "detections": (
                    model["RPN"]["POST_NMS_TOPK_TEST"] if alone else settings["TEST"]["DETECTIONS_PER_IMAGE"]
                ),
                # detectron2 sends every pair above the threshold into NMS; a low threshold lets more of them
                # matter
                "candidates": 2000 if heads["SCORE_THRESH_TEST"] >= 0.01 else 10000,
            },
        },
        "the converted settings",
    )


def _rpn(model: Mapping[str, Any], neck: str) -> dict[str, Any]:
    rpn, anchors = model["RPN"], model["ANCHOR_GENERATOR"]
    sizes = anchors["SIZES"]
    if neck == "fpn" and len(sizes) == 1:
        sizes = sizes * 5
    if anchors["OFFSET"] != 0:
        raise UserError(f"MODEL.ANCHOR_GENERATOR.OFFSET={anchors['OFFSET']}: only 0 is supported")
    return {
        "convs": len(rpn["CONV_DIMS"]),
        "channels": rpn["CONV_DIMS"][0] if rpn["CONV_DIMS"][0] > 0 else None,
        "min_size": model["PROPOSAL_GENERATOR"]["MIN_SIZE"],
        "sizes": sizes,
        "ratios": anchors["ASPECT_RATIOS"][0],
        "positive_iou": rpn["IOU_THRESHOLDS"][1],
        "negative_iou": rpn["IOU_THRESHOLDS"][0],
        "ignore_iou": None,
        "samples": rpn["BATCH_SIZE_PER_IMAGE"],
        "positive_fraction": rpn["POSITIVE_FRACTION"],
        "pre_nms_train": rpn["PRE_NMS_TOPK_TRAIN"],
        "post_nms_train": rpn["POST_NMS_TOPK_TRAIN"],
        "pre_nms_test": rpn["PRE_NMS_TOPK_TEST"],
        "post_nms_test": rpn["POST_NMS_TOPK_TEST"],
        "nms_iou": rpn["NMS_THRESH"],
        "smooth_l1_beta": rpn["SMOOTH_L1_BETA"],
        "normaliser": "samples",
    }


def _box_head(box: Mapping[str, Any], c4: bool) -> dict[str, Any]:
    return {
        "size": box["POOLER_RESOLUTION"],
        "convs": 0 if c4 else box["NUM_CONV"],
        "conv_channels": box["CONV_DIM"],
        "norm": NORMS[box["NORM"]],
        "fcs": 0 if c4 else box["NUM_FC"],
        "fc_channels": box["FC_DIM"],
        "class_agnostic": box["CLS_AGNOSTIC_BBOX_REG"],
        "box_weights": box["BBOX_REG_WEIGHTS"],
        "smooth_l1_beta": box["SMOOTH_L1_BETA"],
    }


def _mask_head(head: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "size": head["POOLER_RESOLUTION"],
        "convs": head["NUM_CONV"],
        "channels": head["CONV_DIM"],
        "norm": NORMS[head["NORM"]],
        "class_agnostic": head["CLS_AGNOSTIC_MASK"],
        "target_sampling": 0,
    }


def _keypoint_head(head: Mapping[str, Any]) -> dict[str, Any]:
    dims = head["CONV_DIMS"]
    return {
        "size": head["POOLER_RESOLUTION"],
        "convs": len(dims),
        "channels": dims[0],
        "decode": "resize",
        "loss_weight": head["LOSS_WEIGHT"],
    }


def _width(resnet: Mapping[str, Any]) -> int:
    return int(resnet["NUM_GROUPS"] * resnet["WIDTH_PER_GROUP"])


def _value(model: Mapping[str, Any], name: str) -> Any:
    """What stands at a name with dots; None where there is nothing."""
    for part in name.split("."):
        model = model.get(part) if isinstance(model, Mapping) else None  # type: ignore[assignment]
    return model


def _refuse_unread(model: Mapping[str, Any]) -> None:
    """Settings that change what is found or learned, of which this network has one value only."""
    known = zoo_bases()["defaults"]["MODEL"]
    fixed = [(name, _value(known, name) or False) for name in UNREAD]
    for head in ("ROI_MASK_HEAD", "ROI_KEYPOINT_HEAD"):
        own = head == "ROI_KEYPOINT_HEAD" or model["ROI_HEADS"]["NAME"] != "Res5ROIHeads"  # a pooler
        if own and model["MASK_ON" if head == "ROI_MASK_HEAD" else "KEYPOINT_ON"]:
            for key in ("POOLER_TYPE", "POOLER_SAMPLING_RATIO"):
                fixed.append((f"{head}.{key}", model["ROI_BOX_HEAD"][key]))
    for name in ("ANCHOR_GENERATOR.ASPECT_RATIOS", "RPN.CONV_DIMS"):  # the first stands for all
        fixed.append((name, _value(model, name)[:1] * len(_value(model, name))))
    if "fpn" in model["BACKBONE"]["NAME"]:
        fixed.append(("RPN.IN_FEATURES", ["p2", "p3", "p4", "p5", "p6"]))
        if model["META_ARCHITECTURE"] != "ProposalNetwork":
            fixed.append(("ROI_HEADS.IN_FEATURES", ["p2", "p3", "p4", "p5"]))
    for name, only in fixed:
        value = _value(model, name)
        if value not in (None, only):
            raise UserError(f"MODEL.{name}={value}: this network has {only} alone; train it again with that")


def _refuse_others(model: Mapping[str, Any]) -> None:
    """What a yaml of detectron2's can ask for and this network is not."""
    _refuse_unread(model)
    norms = {name: model[name]["NORM"] for name in ("RESNETS", "FPN", "ROI_BOX_HEAD", "ROI_MASK_HEAD")}
    heads, meta = model["ROI_HEADS"]["NAME"], model["META_ARCHITECTURE"]
    wrong = [
        (meta not in ("GeneralizedRCNN", "ProposalNetwork"), f"META_ARCHITECTURE={meta}"),
        ("resnet" not in model["BACKBONE"]["NAME"], f"BACKBONE.NAME={model['BACKBONE']['NAME']}"),
        (heads not in ("StandardROIHeads", "Res5ROIHeads"), f"ROI_HEADS.NAME={heads}"),
        (any(model["RESNETS"].get("DEFORM_ON_PER_STAGE", [])), "RESNETS.DEFORM_ON_PER_STAGE"),
        (
            model["ROI_BOX_HEAD"]["POOLER_TYPE"] not in POOLERS,
            f"POOLER_TYPE={model['ROI_BOX_HEAD']['POOLER_TYPE']}",
        ),
    ]
    wrong += [
        (not 0 < model["ROI_HEADS"]["NUM_CLASSES"] <= MOST_CLASSES, "ROI_HEADS.NUM_CLASSES"),
        (model["RESNETS"]["WIDTH_PER_GROUP"] < 1, "RESNETS.WIDTH_PER_GROUP"),
        (len(model["RPN"]["IOU_THRESHOLDS"]) != 2, "RPN.IOU_THRESHOLDS"),
    ]
    wrong += [(norm not in NORMS, f"{name}.NORM={norm}") for name, norm in norms.items()]
    for bad, what in wrong:
        if bad:
            raise UserError(
                f"MODEL.{what}: this network has none like it; only Faster, Mask and Keypoint R-CNN do "
                "convert"
            )
