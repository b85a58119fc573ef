"""mmdetection's own settings of a detector as settings of ours, taken or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskrcnn.errors import UserError
from maskrcnn.weights.mmdet_input import input_of
from maskrcnn.weights.mmdet_text import at, is_number

FINEST_STRIDE = 4  # pixels
FLAGS = {"roi.aligned", "roi.add_ground_truth"}
# where this network has one value, or a few; what is not said is mmdetection's default, which is one of them
FIXED: dict[str, tuple[object, ...]] = {
    "type": ("MaskRCNN", "FasterRCNN"),
    "backbone.dilations": ([1, 1, 1, 1],),
    "backbone.strides": ([1, 2, 2, 2], [4, 2, 2, 2]),  # of a ResNet, of a Swin
    "backbone.out_indices": ([0, 1, 2, 3],),
    "backbone.style": ("pytorch", "caffe"),
    "backbone.act_cfg.type": ("GELU",),
    "backbone.qk_scale": (None,),
    "neck.type": ("FPN",),
    "neck.num_outs": (5,),
    "neck.start_level": (0,),
    "neck.add_extra_convs": (False,),
    "neck.upsample_cfg.mode": ("nearest",),
    "neck.act_cfg": (None,),
    "backbone.norm_cfg.num_groups": (32,),
    "neck.norm_cfg.num_groups": (32,),
    "roi_head.bbox_head.norm_cfg.num_groups": (32,),
    "roi_head.mask_head.norm_cfg.num_groups": (32,),
    "neck.norm_cfg.eps": (1e-5,),
    # of the same tensors as others, which another convolution, such as ConvWS, takes otherwise
    "backbone.conv_cfg.type": ("Conv2d", "Conv"),
    "neck.conv_cfg.type": ("Conv2d", "Conv"),
    "roi_head.bbox_head.conv_cfg.type": ("Conv2d", "Conv"),
    "roi_head.mask_head.conv_cfg.type": ("Conv2d", "Conv"),
    "roi_head.bbox_head.cls_predictor_cfg.type": ("Linear",),
    "roi_head.bbox_head.reg_predictor_cfg.type": ("Linear",),
    "roi_head.mask_head.predictor_cfg.type": ("Conv2d", "Conv"),
    "roi_head.bbox_head.norm_cfg.eps": (1e-5,),
    "roi_head.mask_head.norm_cfg.eps": (1e-5,),
    "rpn_head.type": ("RPNHead",),
    "rpn_head.anchor_generator.type": ("AnchorGenerator",),
    "rpn_head.anchor_generator.strides": ([4, 8, 16, 32, 64],),
    "rpn_head.anchor_strides": ([4, 8, 16, 32, 64],),
    "rpn_head.anchor_base_sizes": (None,),
    "rpn_head.target_means": ([0, 0, 0, 0],),
    "rpn_head.target_stds": ([1, 1, 1, 1],),
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
    "roi_head.bbox_head.target_means": ([0, 0, 0, 0],),
    "roi_head.bbox_head.bbox_coder.clip_border": (True,),
    "roi_head.bbox_head.bbox_coder.add_ctr_clamp": (False,),
    "roi_head.bbox_head.loss_cls.type": ("CrossEntropyLoss",),
    "roi_head.bbox_head.loss_cls.use_sigmoid": (False,),
    "roi_head.mask_head.type": ("FCNMaskHead",),
    "test_cfg.rpn.nms.type": ("nms",),
    "test_cfg.rpn.nms_across_levels": (False,),
    "test_cfg.rcnn.nms.type": ("nms",),
    "test_cfg.rcnn.nms.class_agnostic": (False,),
    "test_cfg.rcnn.nms.offset": (0,),
    "test_cfg.rcnn.nms.max_num": (-1,),
    "test_cfg.rcnn.nms.score_threshold": (0,),
    "test_cfg.rpn.nms.offset": (0,),
    "test_cfg.rpn.nms.max_num": (-1,),
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
    ("backbone.norm_eps", "backbone.norm_cfg.eps"),
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


def style_of(settings: Mapping[str, Any]) -> Any:
    """Of a ResNet, as mmdetection's `style`."""
    return at(settings, "model.backbone.style") or "pytorch"


def as_ours(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What they say of our settings, by names with dots, as `rpn.nms_iou`.

    Raises:
        UserError: one changes what is found and this network has no such, or is not of its kind.
    """
    model = dict(settings["model"])
    for part in ("train_cfg", "test_cfg"):  # beside the model in the first of version 2
        if not model.get(part):
            model[part] = settings.get(part)
    _refuse_others(model, where)
    ours: dict[str, Any] = {}
    for key, *theirs in TAKEN:
        said = [(name, value) for name in theirs if (value := at(model, name)) is not None]
        if said:
            ours[key] = _taken(key, *said[0], where)
    if at(model, POOLER + "roi_layer.type") == "RoIPool":
        ours["roi.op"] = "pool"
    if at(model, MASK_POOLER[:-1]) is None and "box_head.size" in ours:  # one for both heads
        ours["mask_head.size"] = ours["box_head.size"]
    if (scale := at(model, POOLER + "finest_scale")) is not None:
        ours["roi.canonical_size"] = FINEST_STRIDE * _number(scale, POOLER + "finest_scale", where)
    first = at(model, "test_cfg.rpn.nms_post")
    if is_number(first) and first < ours.get("rpn.post_nms_test", 1000):
        raise _wrong(where, "test_cfg.rpn.nms_post", first, "no cap by level below that of all levels")
    return (
        ours | _anchors(model, where) | _deviations(model, where) | _losses(model) | input_of(settings, where)
    )


def _taken(key: str, name: str, value: Any, where: str) -> Any:
    """The value of one of `TAKEN`, checked to be of its kind."""
    if key in FLAGS:
        if not isinstance(value, bool):
            raise _wrong(where, name, value, "True or False")
        return value
    if key == "rpn.ratios":
        if not isinstance(value, list) or not value:
            raise _wrong(where, name, value, "numbers")
        return [_number(each, name, where) for each in value]
    if key.endswith(".size"):
        value = _single(value)
    if key == "rpn.min_size" and is_number(value):
        return max(0, value)  # -1: no box is too small
    if not is_number(value) or not 0 <= value < 1e6:
        raise _wrong(where, name, value, "a number")
    return value


def _single(value: Any) -> Any:
    """One number where a height and a width of the same are given, in lists of them too."""
    if isinstance(value, list):
        if len(value) == 2 and is_number(value[0]) and value[0] == value[1]:
            return value[0]
        return [_single(each) for each in value]
    return value


def _refuse_others(model: Mapping[str, Any], where: str) -> None:
    wrong = [(name, value, only[0]) for name, only in FIXED.items()
             if (value := _single(at(model, name))) is not None and value not in only]  # fmt: skip
    if at(model, MASK_POOLER[:-1]) is not None:
        for name, default in SHARED.items():
            box, mask = (_single(at(model, pooler + name)) for pooler in (POOLER, MASK_POOLER))
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
    scales = at(model, name)
    if scales is None:
        scales = at(model, "rpn_head.anchor_scales")
    if scales is None:
        return {}
    if not isinstance(scales, list) or len(scales) != 1:
        raise UserError(f"{where}: model.{name}={scales!r:.60}: this network takes one scale; train again")
    scale = _number(scales[0], name, where)
    return {"rpn.sizes": [[FINEST_STRIDE * 2**level * scale] for level in range(5)]}


def _deviations(model: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = ("roi_head.bbox_head.bbox_coder.target_stds", "roi_head.bbox_head.target_stds")
    for name in names:
        deviations = at(model, name)
        if deviations is None:
            continue
        if not isinstance(deviations, list) or len(deviations) != 4:
            raise _wrong(where, name, deviations, "four numbers")
        return {"box_head.box_weights": [1 / _number(value, name, where) for value in deviations]}
    return {}


def _losses(model: Mapping[str, Any]) -> dict[str, Any]:
    betas = {}
    for ours, theirs in (("rpn", "rpn_head"), ("box_head", "roi_head.bbox_head")):
        loss = at(model, theirs + ".loss_bbox")
        if isinstance(loss, Mapping) and str(loss.get("type")).endswith("SmoothL1Loss"):
            betas[ours + ".smooth_l1_beta"] = loss.get("beta", 1.0)
    return betas


def _number(value: Any, name: str, where: str) -> float:
    if not is_number(value) or not 1e-6 < value < 1e6:
        raise _wrong(where, name, value, "a positive number")
    return float(value)


def _wrong(where: str, name: str, value: Any, expected: str) -> UserError:
    return UserError(f"{where}: model.{name} holds {value!r:.60}, where {expected} is expected; change it")
