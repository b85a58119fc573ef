"""mmdetection's settings inside a checkpoint: read as they are written there, never run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from maskrcnn.cli.main import main
from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.weights.convert import convert_file
from maskrcnn.weights.detectron2 import config_of as detectron2_config
from maskrcnn.weights.detectron2_yaml import resolve
from maskrcnn.weights.foreign import LIBRARIES, foreign_state
from maskrcnn.weights.mmdet import config_of
from maskrcnn.weights.mmdet_settings import as_ours, style_of
from maskrcnn.weights.mmdet_text import parse_settings
from maskrcnn.weights.published import find_published

DETECTRON2 = "detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
MODEL_3 = """
    type='MaskRCNN',
    backbone=dict(depth=50, style='caffe', type='ResNet'),
    data_preprocessor=dict(
        bgr_to_rgb=False, mean=[1.0, 2.0, 3.0], pad_size_divisor=64, std=[255.0, 255.0, 255.0]),
    neck=dict(num_outs=5, type='FPN'),
    roi_head=dict(
        bbox_head=dict(
            bbox_coder=dict(
                target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.05, 0.05, 0.1, 0.1],
                type='DeltaXYWHBBoxCoder'),
            loss_bbox=dict(beta=0.5, type='SmoothL1Loss')),
        bbox_roi_extractor=dict(
            featmap_strides=[4, 8, 16, 32], finest_scale=112,
            roi_layer=dict(output_size=7, sampling_ratio=2, type='mmcv.ops.RoIPool'), type='SingleRoIExtractor'),
        mask_roi_extractor=dict(
            featmap_strides=[4, 8, 16, 32], finest_scale=112,
            roi_layer=dict(output_size=14, sampling_ratio=2, type='mmcv.ops.RoIPool'),
            type='SingleRoIExtractor')),
    rpn_head=dict(
        anchor_generator=dict(
            ratios=[1.0, 2.0, 4.0], scales=[2], strides=[4, 8, 16, 32, 64], type='AnchorGenerator')),
    test_cfg=dict(
        rcnn=dict(mask_thr_binary=0.4, max_per_img=500, nms=dict(iou_threshold=0.2, type='nms'),
                  score_thr=0.3),
        rpn=dict(max_per_img=700, min_bbox_size=3, nms=dict(iou_threshold=0.6, type='nms'), nms_pre=800)),
    train_cfg=dict(
        rcnn=dict(sampler=dict(add_gt_as_proposals=True, num=64, pos_fraction=0.5)),
        rpn=dict(assigner=dict(min_pos_iou=0.25, neg_iou_thr=0.2, pos_iou_thr=0.6)))
"""
VERSION_3 = f"""
auto_scale_lr = dict(base_batch_size=16)
model = dict({MODEL_3})
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(backend_args=None, type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(900, 600), type='Resize'),
        ],
        type='CocoDataset'))
"""
VERSION_2 = """
model = dict(
    type='MaskRCNN',
    pretrained='torchvision://resnet50',
    backbone=dict(type='ResNet', depth=50, style='pytorch'),
    rpn_head=dict(anchor_scales=[4], anchor_ratios=[0.5, 1.0, 2.0], anchor_strides=[4, 8, 16, 32, 64]),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(type='RoIAlign', out_size=7, sample_num=2)),
        bbox_head=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        mask_roi_extractor=dict(roi_layer=dict(type='RoIAlign', out_size=14, sample_num=2))))
train_cfg = dict(rpn_proposal=dict(nms_pre=1500, max_num=1400))
test_cfg = dict(
    rpn=dict(nms_pre=1000, max_num=900, nms_thr=0.7, min_bbox_size=0),
    rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_thr=0.45), max_per_img=100))
img_norm_cfg = dict(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], to_rgb=True)
data = dict(
    test=dict(
        type='RepeatDataset',
        dataset=dict(
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(
                    type='MultiScaleFlipAug',
                    img_scale=[(1000, 500)],
                    flip=False,
                    transforms=[
                        dict(type='Resize', keep_ratio=True),
                        dict(type='Normalize', mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], to_rgb=True),
                        dict(type='Pad', size_divisor=32),
                    ])
            ])))
"""


def ours(text: str) -> dict[str, object]:
    return as_ours(parse_settings(text, "x.pth"), "x.pth")


def tensors() -> dict[str, torch.Tensor]:
    """mmdetection's of a Mask R-CNN with a ResNet-50, as its training begins."""
    return foreign_state(
        build(detectron2_config(resolve(find_published(DETECTRON2).config))), LIBRARIES["mmdet"]
    )


def test_version_3_says_it_all() -> None:
    assert ours(VERSION_3) == {
        "input.order": "bgr", "input.mean": [1, 2, 3], "input.std": [255, 255, 255], "input.divisor": 64,
        "input.short_side": 600, "input.long_side": 900,
        "rpn.ratios": [1, 2, 4], "rpn.sizes": [[8], [16], [32], [64], [128]],
        "rpn.positive_iou": 0.6, "rpn.negative_iou": 0.2, "rpn.low_quality_min_iou": 0.25,
        "rpn.pre_nms_test": 800, "rpn.post_nms_test": 700, "rpn.nms_iou": 0.6, "rpn.min_size": 3,
        "roi.op": "pool", "roi.sampling_ratio": 2, "roi.canonical_size": 448,
        "roi.samples": 64, "roi.positive_fraction": 0.5, "roi.add_ground_truth": True,
        "box_head.size": 7, "box_head.box_weights": [20, 20, 10, 10], "box_head.smooth_l1_beta": 0.5,
        "mask_head.size": 14,
        "test.score": 0.3, "test.nms_iou": 0.2, "test.detections": 500, "test.mask_threshold": 0.4,
    }  # fmt: skip
    assert style_of(parse_settings(VERSION_3, "x.pth")) == "caffe"


def test_version_2_has_other_names() -> None:
    assert ours(VERSION_2) == {
        "input.order": "rgb", "input.mean": [10, 20, 30], "input.std": [1, 2, 3], "input.divisor": 32,
        "input.short_side": 500, "input.long_side": 1000,
        "rpn.ratios": [0.5, 1, 2], "rpn.sizes": [[16], [32], [64], [128], [256]],
        "rpn.pre_nms_train": 1500, "rpn.post_nms_train": 1400,
        "rpn.pre_nms_test": 1000, "rpn.post_nms_test": 900, "rpn.nms_iou": 0.7, "rpn.min_size": 0,
        "roi.sampling_ratio": 2,
        "box_head.size": 7, "box_head.box_weights": [10, 10, 5, 5], "mask_head.size": 14,
        "test.score": 0.05, "test.nms_iou": 0.45, "test.detections": 100,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        ("type='MaskRCNN'", "type='MaskScoringRCNN'", "model.type='MaskScoringRCNN': .* 'MaskRCNN' alone"),
        ("scales=[2]", "scales=[2, 4]", r"anchor_generator.scales=\[2, 4\]: this network takes one"),
        ("scales=[2]", "scales=['a']", "scales holds 'a', where a positive number is expected"),
        ("strides=[4, 8, 16, 32, 64]", "strides=[8, 16, 32, 64, 128]", r"strides=\[8, 16, 32, 64, 128\]"),
        ("iou_threshold=0.2, type='nms'", "iou_threshold=0.2, type='soft_nms'", "rcnn.nms.type='soft_nms'"),
        ("target_means=[0.0, 0.0,", "target_means=[0.1, 0.0,", "target_means"),
        ("output_size=14, sampling_ratio=2", "output_size=14, sampling_ratio=0",
         "mask_roi_extractor.roi_layer.sampling_ratio=0: this network has 2 alone"),
        ("output_size=14, sampling_ratio=2", "output_size=14",
         "mask_roi_extractor.roi_layer.sampling_ratio=0: this network has 2 alone"),
        ("num_outs=5", "num_outs=5, conv_cfg=dict(type='ConvWS')", "neck.conv_cfg.type='ConvWS'"),
        ("keep_ratio=True", "keep_ratio=False", "keep_ratio=False, .* give it with --config"),
        ("scale=(900, 600)", "scale=[(900, 600), (9, 6)]", "two numbers are expected"),
        ("type='Resize'),", "type='Resize'), dict(type='Normalize', mean=[1, 2, 3]),", "Normalize and a data_pre"),
        ("type='Resize'),", "type='Resize'), dict(type='RandomFlip', prob=1.0),", "flipped at random"),
        ("type='Resize'),", "type='Resize'), dict(type='Pad', pad_val=dict(img=(114, 9, 9))),", "another value"),
        ("pad_size_divisor=64", "pad_size_divisor=64, pad_value=7", "another value than 0"),
        ("style='caffe'", "style='caffe', act_cfg=dict(type='ReLU')", "backbone.act_cfg.type='ReLU'"),
        ("scale=(900, 600)", "scale=size()", r"pipeline.1.scale=size\(\), which is no plain value"),
        ("pipeline=[", "ann_file=root + 'a.json', pipeline=make() or [", "go through pipeline=make"),
        ("scale=(900, 600), type='Resize'", "type='FixScaleResize'", "go through FixScaleResize, which"),
        ("            dict(keep_ratio=True, scale=(900, 600), type='Resize'),\n", "", "are not resized"),
        ("type='LoadImageFromFile'", "type='LoadImageFromFile', color_type='grayscale'", "in colour"),
        ("type='Resize'),", "type='Resize'), dict(type='Pad', size=(9, 9)),", "padded to one size"),
        ("type='Resize'),", "type='Resize'), dict(type='Resize', scale=2),", "go through Resize 2 times"),
        ("pad_size_divisor=64", "pad_size_divisor=1", "padded to a multiple of 1, and here of 32"),
        ("bgr_to_rgb=False", "bgr_to_rgb='False'", "True or False is expected"),
        ("mean=[1.0, 2.0, 3.0]", "mean=['1', 2, 3]", "a mean of .* numbers are expected"),
        ("loss_bbox=", "cls_predictor_cfg=dict(type='NormedLinear'), loss_bbox=", "'Linear' alone"),
        ("style='caffe'", "style='caffe', strides=(1, 2, 2, 1)", r"backbone.strides=\[1, 2, 2, 1\]"),
        ("num_outs=5", "num_outs=5, act_cfg=dict(type='ReLU')", "neck.act_cfg="),
        ("num_outs=5", "num_outs=5, norm_cfg=dict(type='GN', num_groups=16)", "num_groups=16"),
        ("iou_threshold=0.2", "iou_threshold=0.2, offset=1", "nms.offset=1"),
        ("nms_pre=800", "nms_pre=800, nms_post=100", "nms_post holds 100"),
        ("score_thr=0.3", "score_thr=True", "score_thr holds True, where a number"),
        ("score_thr=0.3", "score_thr=level", "model.test_cfg.rcnn.score_thr=level"),
        ("max_per_img=500", "max_per_img=-1", "rcnn.max_per_img holds -1"),
        ("max_per_img=500", "max_per_img='many'", "rcnn.max_per_img holds 'many'"),
        ("target_stds=[0.05, 0.05, 0.1, 0.1]", "target_stds=[]", "four numbers"),
        ("scales=[2]", "scales=[]", r"scales=\[\]: this network takes one"),
        ("finest_scale=112,\n            roi_layer=dict(output_size=7", "finest_scale=0,\n            roi_layer=dict(output_size=7",
         "finest_scale"),
        ("auto_scale_lr = ", "model['style'] = 'caffe'\nauto_scale_lr = ", "line 2 is no plain assignment"),
        ("auto_scale_lr = ", "_base_ = './a.py'\nauto_scale_lr = ", "_base_ names other files.* give --config"),
    ],
)  # fmt: skip
def test_what_this_network_has_not_is_refused(was: str, now: str, words: str) -> None:
    assert was in VERSION_3
    with pytest.raises(UserError, match=words):
        ours(VERSION_3.replace(was, now))


@pytest.mark.parametrize(
    "text",
    [
        "model = dict(",
        "x" * 1_000_001,
        "a = " + "[" * 5000 + "]" * 5000,
        "a = 1\0",
        "a = {1: 2, **b}\nb =",
        "a = dict(5)",
        "a = {**b}",
        "a = 0x" + "f" * 9000,
        "a = 1 / 0",
        "a = [1] * 3\nmodel = dict(b=a)",
        "a = [0]\n" + "a = [a, a]\n" * 40,
        "model.update(a=5)",
        '{"model": 5}',
        "with read_base():\n    a = 5",
    ],
    ids="cut long deep null end no-dict unpacked digits zero times laughs update json base".split(),
)
def test_an_unreadable_text_is_one_line(text: str) -> None:
    with pytest.raises(
        UserError, match="x.pth: its settings are not readable as plain Python .* give --config"
    ):
        parse_settings(text, "x.pth")


def test_nothing_of_it_is_run(tmp_path: Path) -> None:
    there = tmp_path / "there"
    text = f"import os\na = open({str(there)!r}, 'w')\nb = dict(c=-1, **{{'0': -x}})"
    assert parse_settings(text, "x.pth") == {"a": f"open({str(there)!r}, 'w')", "b": {"0": "-x", "c": -1}}
    assert not there.exists()
    assert parse_settings("d = dict({'0': 1, 'type': 'a.b.C'}, e=(1, None))", "x.pth") == {
        "d": {"0": 1, "type": "C", "e": [1, None]}
    }


def test_earlier_names_stand_for_their_values() -> None:
    """As in a file that somebody wrote by hand."""
    text = """
norm: dict = dict(mean=[1, 2, 3])
beta = 1.0 / 9.0
model = dict(data_preprocessor=dict(bgr_to_rgb=True, **norm), b={**norm, 'c': beta * 2})
"""
    assert parse_settings(text, "x.py")["model"] == {
        "data_preprocessor": {"bgr_to_rgb": True, "mean": [1, 2, 3]},
        "b": {"mean": [1, 2, 3], "c": 2 / 9},
    }


@pytest.mark.parametrize(
    ("was", "now", "changed"),
    [
        ("bgr_to_rgb=False", "bgr_to_rgb=False, rgb_to_bgr=True", {"input.order": "rgb"}),
        ("backend_args=None", "channel_order='rgb'", {"input.order": "rgb"}),
        ("type='Resize'),", "type='Resize'), dict(size_divisor=192, type='Pad'),", {"input.divisor": 192}),
        ("style='caffe'", "style='caffe', norm_cfg=dict(eps=0.01)", {"backbone.norm_eps": 0.01}),
        ("strides=[4, 8, 16, 32, 64]", "strides=[(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)]", {}),
        ("output_size=14", "output_size=(14, 14)", {}),
        ("min_bbox_size=3", "min_bbox_size=-1", {"rpn.min_size": 0}),
        ("mask_roi_extractor=", "other=", {"mask_head.size": 7}),
        ("test_dataloader = ", "val_dataloader = ", {}),
        ("pipeline=[", "datasets=[dict(dataset=dict(pipeline=[", {}),
    ],
)  # fmt: skip
def test_what_says_the_same_otherwise_is_taken(was: str, now: str, changed: dict[str, object]) -> None:
    assert was in VERSION_3
    text = VERSION_3.replace(was, now)
    text = text.replace("        ],\n", "        ]))],\n") if "datasets" in now else text
    assert ours(text) == ours(VERSION_3) | changed


def test_version_2_is_normalised_and_resized_as_its_steps_say() -> None:
    raw = VERSION_2.replace(
        "dict(type='Normalize', mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], to_rgb=True),", ""
    )
    assert raw != VERSION_2
    assert ours(raw) == ours(VERSION_2) | {
        "input.order": "bgr", "input.mean": [0.0, 0.0, 0.0], "input.std": [1.0, 1.0, 1.0],
    }  # fmt: skip
    inner = VERSION_2.replace("type='Resize', keep", "type='Resize', img_scale=(9, 6), keep")
    assert ours(inner) == ours(VERSION_2), "the scale of MultiScaleFlipAug comes first"
    with pytest.raises(UserError, match="are flipped as well"):
        ours(VERSION_2.replace("flip=False", "flip=True"))


def test_a_checkpoint_with_settings_needs_no_style(tmp_path: Path) -> None:
    path, settings = tmp_path / "epoch_12.pth", tmp_path / "mask.py"
    state = tensors()
    torch.save({"state_dict": state, "meta": {"cfg": VERSION_3.replace("2.0, 4.0]", "3.0, 4.0]")}}, path)
    found = convert_file(path).config
    assert found.backbone.stride_in_1x1 and found.input.order == "bgr" and found.rpn.ratios == [1, 3, 4]
    assert found == config_of(state, style="caffe", said=ours(VERSION_3.replace("2.0, 4.0]", "3.0, 4.0]")))
    assert convert_file(path, style="caffe").config == found and found.test.candidates == 2000
    assert config_of(state, said={"test.score": 0.0001}).test.candidates == 10_000, "LVIS"
    with pytest.raises(UserError, match=r"--style pytorch: the settings of .*epoch_12.pth say caffe; leave"):
        convert_file(path, style="pytorch")
    settings.write_text(VERSION_3)
    given = convert_file(path, settings).config
    assert given.rpn.ratios == [1, 2, 4]
    settings.write_text("_base_ = './other.py'\n" + VERSION_3)
    with pytest.raises(UserError, match=r"mask.py: .*_base_ names other files.*; give --config"):
        convert_file(path, settings)
    settings.write_text("a = 1")
    with pytest.raises(UserError, match=r"mask.py: has no model"):
        convert_file(path, settings)


def test_a_detector_of_boxes_has_no_mask_head_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {name: tensor for name, tensor in tensors().items() if "mask_head" not in name}
    text = VERSION_3.replace("'MaskRCNN'", "'FasterRCNN'")
    torch.save({"state_dict": state, "meta": {"cfg": text}}, tmp_path / "x.pth")
    assert main(["convert", "weights", str(tmp_path / "x.pth"), "--out", str(tmp_path / "ours")]) == 0
    assert "resnet50-fpn, 80 classes, boxes:" in capsys.readouterr().out
    torch.save({"state_dict": state, "meta": {"cfg": text.replace("500", "'many'")}}, tmp_path / "x.pth")
    assert main(["convert", "weights", str(tmp_path / "x.pth"), "--out", str(tmp_path / "b")]) == 2
    assert "max_per_img holds 'many'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"neck": {"channels": 64, "norm": "batch"}, "rpn": {"convs": 2, "channels": 32}},
        {"neck": {"channels": 64, "norm": "group"}, "backbone": {"kind": "resnet50", "norm": "group"}},
        {"box_head": {"convs": 2, "conv_channels": 32, "fcs": 1, "fc_channels": 48, "norm": "batch"},
         "mask_head": {"convs": 2, "channels": 32, "norm": "batch"}},
        {"box_head": {"convs": 1, "fcs": 1, "norm": "group"}, "mask_head": {"norm": "group"}},
    ],
)  # fmt: skip
def test_the_tensors_tell_widths_and_norms(changes: dict[str, object], tmp_path: Path) -> None:
    names = [str(number) for number in range(80)]
    settings = {"classes": names, "backbone": {"kind": "resnet50"}, "neck": {"channels": 64}, **changes}
    model = build(ModelConfig.model_validate(settings))
    state = foreign_state(model, LIBRARIES["mmdet"])
    torch.save({"state_dict": state, "meta": {"CLASSES": names}}, tmp_path / "x.pth")
    found = convert_file(tmp_path / "x.pth", style="pytorch")
    own, theirs = model.state_dict(), found.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)
    for section, said in changes.items():
        dumped = getattr(found.config, section).model_dump()
        assert {key: dumped[key] for key in said} == said
