"""detectron2's ViTDet detectors (Li et al. 2022): what the tensors of backbone and pyramid are called, and
their settings, which no yaml says (docs/weights.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import validate
from maskrcnn.errors import UserError
from maskrcnn.model.backbone.vit import STAGES, VITS
from maskrcnn.weights.class_names import classes_of
from maskrcnn.weights.conventions import AS_FOUND
from maskrcnn.weights.rename import Rules, rename

LVIS = 1203  # classes
MARK = "backbone.net.pos_embed"  # a state dict with it is one of these
DROP_PATH = {"vit_b": 0.1, "vit_l": 0.4, "vit_h": 0.5}
SIDE = 1024  # pixels: images are scaled into a square of it and padded to it
RULES: Rules = [
    (r"backbone\.stem\.conv\.", "backbone.net.patch_embed.proj."),
    (r"backbone\.stem\.positions", MARK),
    *[(rf"neck\.levels\.{i}\.(\d)\.conv\.", rf"backbone.simfp_{i + 2}.\1.") for i in range(4)],
    *[(rf"neck\.levels\.{i}\.", f"backbone.simfp_{i + 2}.") for i in range(4)],
]
BLOCK: Rules = [
    (r"attention\.rows", "attn.rel_pos_h"),
    (r"attention\.columns", "attn.rel_pos_w"),
    (r"attention\.", "attn."),
    ("", ""),
]


def their_name(name: str, config: ModelConfig) -> str:
    """detectron2's name of our tensor `name` of the backbone or the neck."""
    block = re.match(r"backbone\.stages\.(\d)\.(\d+)\.", name)
    if block is None:
        return rename(name, RULES)
    number = int(block[1]) * (VITS[config.backbone.kind].depth // STAGES) + int(block[2])
    return f"backbone.net.blocks.{number}." + rename(name[block.end() :], BLOCK)


def config_of(state: Mapping[str, Tensor], *, data: str = "COCO") -> ModelConfig:
    """Our settings of the detector that `state` belongs to: projects/ViTDet/configs/COCO in detectron2.

    Raises:
        UserError: another network.
    """
    width = state[MARK].shape[-1]
    kind = next((kind for kind, size in VITS.items() if size.width == width), None)
    try:
        classes = state["roi_heads.box_predictor.cls_score.weight"].shape[0] - 1
        masks = state["roi_heads.mask_head.predictor.weight"].shape[0]
    except KeyError as error:
        raise UserError(f"not a Mask R-CNN of ViTDet's: it has no {error}") from None
    if kind is None or masks != classes:
        raise UserError(f"a ViT of {width} channels and masks of {masks} classes: there is none like it here")
    if classes == LVIS:
        raise UserError(
            f"{classes} classes, as of LVIS: on it ViTDet is trained with a sigmoid for each class, and this "
            "network has a softmax; the models of COCO do convert"
        )
    names, ids = classes_of(data, classes)
    convs = {"convs": 4, "norm": "layer"}
    return validate(
        ModelConfig,
        {
            "classes": names,
            "class_ids": ids,
            "input": {"divisor": SIDE, "short_side": SIDE, "long_side": SIDE},
            "backbone": {"kind": kind, "norm": "layer", "freeze": 0, "drop_path": DROP_PATH[kind]},
            "neck": {"kind": "simple_pyramid", "norm": "layer"},
            "rpn": {"convs": 2, "ignore_iou": None, "normaliser": "samples"},
            "roi": {"sampling_ratio": 0, "ignore_iou": None},
            "box_head": {**convs, "fcs": 1},
            "mask_head": {**convs, "target_sampling": 0},
            "test": {"candidates": 2000, **AS_FOUND},
        },
        "the converted settings",
    )
