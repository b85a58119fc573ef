"""mmdetection's own settings of a detector, read and never run: the Python text that a training wrote into
its checkpoint (`meta.cfg`, `meta.config` before version 3) and into its work_dir.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from maskrcnn.errors import UserError, one_line
from maskrcnn.safe_files import small_text

LONGEST = 1_000_000  # characters
FINEST_STRIDE = 4  # pixels
# where this network has one value, or a few; what is not said is mmdetection's default, which is one of them
FIXED: dict[str, tuple[object, ...]] = {
    "type": ("MaskRCNN", "FasterRCNN"),
    "backbone.dilations": ([1, 1, 1, 1],),
    "backbone.style": ("pytorch", "caffe"),
    "neck.type": ("FPN",),
    "neck.num_outs": (5,),
    "neck.start_level": (0,),
    "neck.add_extra_convs": (False,),
    "neck.upsample_cfg.mode": ("nearest",),
    # of the same tensors as others, which another convolution, such as ConvWS, takes otherwise
    "backbone.conv_cfg.type": ("Conv2d", "Conv"),
    "neck.conv_cfg.type": ("Conv2d", "Conv"),
    "roi_head.bbox_head.conv_cfg.type": ("Conv2d", "Conv"),
    "roi_head.mask_head.conv_cfg.type": ("Conv2d", "Conv"),
    "rpn_head.type": ("RPNHead",),
    "rpn_head.anchor_generator.type": ("AnchorGenerator",),
    "rpn_head.anchor_generator.strides": ([4, 8, 16, 32, 64],),
    "rpn_head.anchor_generator.center_offset": (0,),
    "rpn_head.anchor_generator.base_sizes": (None,),
    "rpn_head.anchor_generator.octave_base_scale": (None,),
    "rpn_head.bbox_coder.type": ("DeltaXYWHBBoxCoder",),
    "rpn_head.bbox_coder.target_means": ([0, 0, 0, 0],),
    "rpn_head.bbox_coder.target_stds": ([1, 1, 1, 1],),
    "rpn_head.bbox_coder.clip_border": (True,),
    "rpn_head.bbox_coder.add_ctr_clamp": (False,),
    "rpn_head.loss_cls.use_sigmoid": (True,),
    "roi_head.type": ("StandardRoIHead",),
    "roi_head.bbox_roi_extractor.type": ("SingleRoIExtractor",),
    "roi_head.bbox_roi_extractor.featmap_strides": ([4, 8, 16, 32],),
    "roi_head.bbox_roi_extractor.roi_layer.type": ("RoIAlign", "RoIPool"),
    "roi_head.bbox_roi_extractor.roi_layer.pool_mode": ("avg",),
    "roi_head.bbox_head.bbox_coder.type": ("DeltaXYWHBBoxCoder",),
    "roi_head.bbox_head.bbox_coder.target_means": ([0, 0, 0, 0],),
    "roi_head.bbox_head.bbox_coder.clip_border": (True,),
    "roi_head.bbox_head.bbox_coder.add_ctr_clamp": (False,),
    "roi_head.bbox_head.loss_cls.type": ("CrossEntropyLoss",),
    "roi_head.bbox_head.loss_cls.use_sigmoid": (False,),
    "roi_head.mask_head.type": ("FCNMaskHead",),
    "test_cfg.rpn.nms.type": ("nms",),
    "test_cfg.rpn.nms_across_levels": (False,),
    "test_cfg.rcnn.nms.type": ("nms",),
    "test_cfg.rcnn.nms.class_agnostic": (False,),
}
POOLER, MASK_POOLER = "roi_head.bbox_roi_extractor.", "roi_head.mask_roi_extractor."
# of which the mask head has what the box head has, and mmdetection's defaults
SHARED: dict[str, object] = {
    "type": "SingleRoIExtractor",
    "featmap_strides": [4, 8, 16, 32],
    "finest_scale": 56,
    "roi_layer.type": "RoIAlign",
    "roi_layer.aligned": True,
    "roi_layer.sampling_ratio": 0,
    "roi_layer.sample_num": 0,
    "roi_layer.pool_mode": "avg",
}
# our setting, and theirs: the name of version 3 and, where it was another, of version 2
TAKEN: tuple[tuple[str, ...], ...] = (
    ("rpn.ratios", "rpn_head.anchor_generator.ratios", "rpn_head.anchor_ratios"),
    ("rpn.positive_iou", "train_cfg.rpn.assigner.pos_iou_thr"),
    ("rpn.negative_iou", "train_cfg.rpn.assigner.neg_iou_thr"),
    ("rpn.low_quality_min_iou", "train_cfg.rpn.assigner.min_pos_iou"),
    ("rpn.samples", "train_cfg.rpn.sampler.num"),
    ("rpn.positive_fraction", "train_cfg.rpn.sampler.pos_fraction"),
    ("rpn.pre_nms_train", "train_cfg.rpn_proposal.nms_pre"),
    ("rpn.post_nms_train", "train_cfg.rpn_proposal.max_per_img", "train_cfg.rpn_proposal.max_num"),
    ("rpn.pre_nms_test", "test_cfg.rpn.nms_pre"),
    ("rpn.post_nms_test", "test_cfg.rpn.max_per_img", "test_cfg.rpn.max_num"),
    ("rpn.nms_iou", "test_cfg.rpn.nms.iou_threshold", "test_cfg.rpn.nms_thr"),
    ("rpn.min_size", "test_cfg.rpn.min_bbox_size"),
    ("roi.sampling_ratio", POOLER + "roi_layer.sampling_ratio", POOLER + "roi_layer.sample_num"),
    ("roi.aligned", POOLER + "roi_layer.aligned"),
    ("roi.samples", "train_cfg.rcnn.sampler.num"),
    ("roi.positive_fraction", "train_cfg.rcnn.sampler.pos_fraction"),
    ("roi.positive_iou", "train_cfg.rcnn.assigner.pos_iou_thr"),
    ("roi.add_ground_truth", "train_cfg.rcnn.sampler.add_gt_as_proposals"),
    ("box_head.size", POOLER + "roi_layer.output_size", POOLER + "roi_layer.out_size"),
    ("mask_head.size", MASK_POOLER + "roi_layer.output_size", MASK_POOLER + "roi_layer.out_size"),
    ("test.score", "test_cfg.rcnn.score_thr"),
    ("test.nms_iou", "test_cfg.rcnn.nms.iou_threshold", "test_cfg.rcnn.nms.iou_thr"),
    ("test.detections", "test_cfg.rcnn.max_per_img"),
    ("test.mask_threshold", "test_cfg.rcnn.mask_thr_binary"),
)


def settings_inside(extra: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    """The settings that a checkpoint holds beside its tensors; None: it holds none.

    Raises:
        UserError: they are not readable.
    """
    meta = extra.get("meta")
    text = meta.get("cfg") or meta.get("config") if isinstance(meta, Mapping) else None
    return parse_settings(text, where) if isinstance(text, str) else None


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a file that mmdetection wrote into a work_dir.

    Raises:
        UserError: not readable, or one that is based on others.
    """
    settings = parse_settings(small_text(path, "Python"), str(path))
    if "_base_" in settings or "model" not in settings:
        lacks = "is based on other files" if "_base_" in settings else "has no model"
        raise UserError(f"{path}: {lacks}; give the .py that mmdetection wrote into work_dir, which has all")
    return settings


def parse_settings(text: str, where: str) -> dict[str, Any]:
    """The top-level assignments of plain values, lists and dicts; any other expression stays its own text.

    Raises:
        UserError: no Python, longer than `LONGEST`, or nested too deep.
    """
    try:
        if len(text) > LONGEST:
            raise ValueError(f"{len(text)} characters")
        return {
            target.id: _value(statement.value)
            for statement in ast.parse(text).body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"{where}: its settings are not readable as Python ({one_line(error):.100}); give --config with "
            "the .py that mmdetection wrote into work_dir, or the name of a published checkpoint"
        ) from None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, int) and abs(node.value) >= 2**63:
            raise ValueError("a number of too many digits")
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return dict(_entry(str(_value(key)), value) for key, value in pairs if key is not None)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        given = [*node.args, *(word.value for word in node.keywords if word.arg is None)]
        named = [_entry(word.arg, word.value) for word in node.keywords if word.arg is not None]
        inner = [_value(argument) for argument in given]
        return {key: value for part in (*inner, dict(named)) for key, value in dict(part).items()}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand)
        return -number if type(number) in (int, float) else ast.unparse(node)
    return ast.unparse(node)


def _entry(key: str, node: ast.expr) -> tuple[str, Any]:
    value = _value(node)
    return key, value.rpartition(".")[2] if key == "type" and isinstance(value, str) else value  # no module


def style_of(settings: Mapping[str, Any]) -> Any:
    """Of a ResNet, as mmdetection's `style`."""
    return _at(settings, "model.backbone.style") or "pytorch"


def as_ours(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What they say of our settings, by names with dots, as `rpn.nms_iou`.

    Raises:
        UserError: one changes what is found, and this network has no such.
    """
    model = settings.get("model")
    model = dict(model) if isinstance(model, Mapping) else {}
    for part in ("train_cfg", "test_cfg"):  # beside the model in the first of version 2
        if not model.get(part):
            model[part] = settings.get(part)
    _refuse_others(model, where)
    ours: dict[str, Any] = {}
    for key, *theirs in TAKEN:
        said = [value for name in theirs if (value := _at(model, name)) is not None]
        if said:
            ours[key] = said[0]
    if _at(model, POOLER + "roi_layer.type") == "RoIPool":
        ours["roi.op"] = "pool"
    if scale := _at(model, POOLER + "finest_scale"):
        ours["roi.canonical_size"] = FINEST_STRIDE * _number(scale, POOLER + "finest_scale", where)
    return (
        ours | _anchors(model, where) | _deviations(model, where) | _losses(model) | _input(settings, where)
    )


def _refuse_others(model: Mapping[str, Any], where: str) -> None:
    wrong = [(name, value, only[0]) for name, only in FIXED.items()
             if (value := _at(model, name)) is not None and value not in only]  # fmt: skip
    if _at(model, MASK_POOLER[:-1]) is not None:
        for name, default in SHARED.items():
            box, mask = (_at(model, pooler + name) for pooler in (POOLER, MASK_POOLER))
            box, mask = default if box is None else box, default if mask is None else mask
            wrong += [(MASK_POOLER + name, mask, box)] if box != mask else []
    for name, value, only in wrong:
        raise UserError(
            f"{where}: model.{name}={value!r:.60}: this network has {only!r:.60} alone; train it again with "
            "that"
        )


def _anchors(model: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Sides by level: each stride times the one scale."""
    name = "rpn_head.anchor_generator.scales"
    scales = _at(model, name) or _at(model, "rpn_head.anchor_scales")
    if scales is None:
        return {}
    if not isinstance(scales, list) or len(scales) != 1:
        raise UserError(f"{where}: model.{name}={scales!r:.60}: this network takes one scale; train again")
    scale = _number(scales[0], name, where)
    return {"rpn.sizes": [[FINEST_STRIDE * 2**level * scale] for level in range(5)]}


def _deviations(model: Mapping[str, Any], where: str) -> dict[str, Any]:
    name = "roi_head.bbox_head.bbox_coder.target_stds"
    deviations = _at(model, name) or _at(model, "roi_head.bbox_head.target_stds")
    if not isinstance(deviations, list):
        return {}
    return {"box_head.box_weights": [1 / _number(value, name, where) for value in deviations]}


def _losses(model: Mapping[str, Any]) -> dict[str, Any]:
    betas = {}
    for ours, theirs in (("rpn", "rpn_head"), ("box_head", "roi_head.bbox_head")):
        loss = _at(model, theirs + ".loss_bbox")
        if isinstance(loss, Mapping) and str(loss.get("type")).endswith("SmoothL1Loss"):
            betas[ours + ".smooth_l1_beta"] = loss.get("beta", 1.0)
    return betas


def _input(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Order, normalisation, padding and sides of a test image."""
    steps = {step["type"]: step for step in _steps(_test_pipeline(settings))}
    whole = _at(settings, "model.data_preprocessor") or _at(settings, "data_preprocessor")
    third = isinstance(whole, Mapping)  # version 3; version 2 has steps of its own for the same
    norm = whole if third else steps.get("Normalize")
    ours = _sides(steps, where, third)
    if norm is not None:
        rgb = norm.get("bgr_to_rgb", False) if third else norm.get("to_rgb", True)
        padding = norm.get("pad_size_divisor") or steps.get("Pad", {}).get("size_divisor")
        ours |= {"input.order": "rgb" if rgb else "bgr", "input.divisor": padding or 1}
        ours |= {"input.mean": norm.get("mean") or [0.0] * 3, "input.std": norm.get("std") or [1.0] * 3}
    return ours


def _sides(steps: Mapping[str, Mapping[str, Any]], where: str, third: bool) -> dict[str, Any]:
    """The two sides that a test image is resized to."""
    resize = steps.get("Resize")
    if resize is None:
        return {}
    scale = resize.get("scale") or resize.get("img_scale") or _at(steps, "MultiScaleFlipAug.img_scale")
    if isinstance(scale, list) and len(scale) == 1:
        scale = scale[0]
    if not resize.get("keep_ratio", not third):
        raise UserError(
            f"{where}: its test images are resized to {scale} with keep_ratio=False, and this network keeps "
            "the ratio; where all images have that of the scale, say keep_ratio=True in the .py that "
            "mmdetection wrote into work_dir, and give that with --config"
        )
    if not isinstance(scale, list) or [type(side) for side in scale] != [int, int]:
        raise UserError(f"{where}: the scale of its test images is {scale!r:.60}; two numbers are expected")
    return {"input.short_side": min(scale), "input.long_side": max(scale)}


def _test_pipeline(settings: Mapping[str, Any]) -> Any:
    data = _at(settings, "test_dataloader.dataset") or _at(settings, "data.test")
    while isinstance(data, Mapping) and "pipeline" not in data:  # a data set around another
        data = data.get("dataset")
    return data["pipeline"] if isinstance(data, Mapping) else settings.get("test_pipeline")


def _steps(pipeline: Any) -> Iterator[dict[str, Any]]:
    for step in pipeline if isinstance(pipeline, list) else ():
        if isinstance(step, dict) and isinstance(step.get("type"), str):
            yield step
            yield from _steps(step.get("transforms"))


def _at(settings: Any, name: str) -> Any:
    """What stands at a name with dots; None where there is nothing."""
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def _number(value: Any, name: str, where: str) -> float:
    if type(value) not in (int, float) or not 1e-6 < value < 1e6:
        raise UserError(f"{where}: model.{name} holds {value!r:.60}, where a positive number is expected")
    return float(value)
