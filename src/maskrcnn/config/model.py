"""The network's settings (`ModelConfig`), saved with its weights.

The defaults are the paper's FPN settings (He et al. 2017, section 3.1) with the conventions of docs/architecture.md: RGB,
continuous coordinates, `aligned=True`, background last. Fields marked *convention* exist because published checkpoints
were trained with other choices.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from maskrcnn.config.section import Fraction, Positive, Section

Norm = Literal["none", "frozen", "batch", "sync", "group"]


class KeypointSchema(Section):
    """What the keypoints of a person (or a cell, or a tool) are; it travels from the labels into the checkpoint."""

    names: list[str]
    flip: list[int]  # the index each keypoint takes when the image is mirrored
    skeleton: list[tuple[int, int]] = []  # pairs of 0-based indices joined by a line
    sigmas: list[float]  # per-keypoint tolerance of OKS

    @model_validator(mode="after")
    def _consistent(self) -> KeypointSchema:
        count = len(self.names)
        if sorted(self.flip) != list(range(count)):
            raise ValueError(f"flip must be a permutation of 0..{count - 1}")
        if len(self.sigmas) != count:
            raise ValueError(f"{count} keypoint names but {len(self.sigmas)} sigmas")
        if any(not 0 <= end < count for pair in self.skeleton for end in pair):
            raise ValueError(f"skeleton names a keypoint outside 0..{count - 1}")
        return self


class InputConfig(Section):
    """How an image becomes the network's input. Mean and deviation are on the 0 to 255 scale."""

    channels: Positive = 3
    # samples of more than 8 bits: the values that become 0 and 255; in training null is filled in from the data
    value_range: tuple[float, float] | None = None
    order: Literal["rgb", "bgr"] = "rgb"  # convention
    mean: list[float] = [123.675, 116.28, 103.53]
    std: list[float] = [58.395, 57.12, 57.375]
    divisor: Positive = 32  # height and width are padded to a multiple of this
    short_side: Positive = 800  # at test time
    long_side: Positive = 1333

    @model_validator(mode="after")
    def _ascending(self) -> InputConfig:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range {list(self.value_range)}: write [lowest, highest]")
        return self


class BackboneConfig(Section):
    kind: Literal[
        "resnet50",
        "resnet101",
        "resnext50_32x4d",
        "resnext101_32x4d",
        "resnext101_32x8d",
        "resnext101_64x4d",
        "mobilenetv2",
    ] = "resnet50"
    norm: Norm = "frozen"
    norm_eps: float = Field(1e-5, ge=0)  # convention: torchvision's first detectors were published with 0
    freeze: int = Field(2, ge=0, le=5)  # so many stages, the stem first, keep their weights
    stride_in_1x1: bool = False  # convention: MSRA's ResNets stride in the first 1x1 of a bottleneck


class NeckConfig(Section):
    kind: Literal["fpn", "c4", "dc5"] = "fpn"
    channels: Positive = 256
    norm: Norm = "none"


class RpnConfig(Section):
    """Region proposal network (Ren et al. 2015; on a pyramid, Lin et al. 2017)."""

    convs: Positive = 1
    channels: Positive | None = None  # of the head's convolutions; None: as many as it is given
    sizes: list[list[float]] = [[32], [64], [128], [256], [512]]  # anchor side per level, pixels
    ratios: list[float] = [0.5, 1.0, 2.0]  # height / width
    round_anchors: bool = False  # convention: torchvision
    positive_iou: Fraction = 0.7
    negative_iou: Fraction = 0.3
    low_quality_overrides: bool = False  # convention: mmdetection gives such an anchor to the box that wanted it
    low_quality_min_iou: Fraction = 0.0  # convention: mmdetection 0.3
    ignore_iou: Fraction | None = 0.5  # anchors this far inside a crowd region are not background; None: never
    samples: Positive = 256
    positive_fraction: Fraction = 0.5
    pre_nms_train: Positive = 2000  # per level
    post_nms_train: Positive = 1000
    pre_nms_test: Positive = 1000
    post_nms_test: Positive = 1000
    nms_iou: Fraction = 0.7
    min_size: float = Field(0.0, ge=0)
    smooth_l1_beta: float = Field(0.0, ge=0)  # 0 is L1; torchvision 1/9
    normaliser: Literal["sampled", "samples"] = "sampled"  # divide by how many were, or could have been, sampled


class RoiConfig(Section):
    """How features are pooled for a RoI, and which RoIs are trained on."""

    op: Literal["align", "pool"] = "align"
    aligned: bool = True  # convention: half-pixel shift
    sampling_ratio: int = Field(2, ge=0)  # 0: adaptive, as many points as the bin has pixels
    reduce: Literal["average", "max"] = "average"
    canonical_size: float = 224.0  # a RoI of this side pools from the canonical level (FPN, equation 1)
    canonical_level: int = 4
    samples: Positive = 512
    positive_fraction: Fraction = 0.25
    positive_iou: Fraction = 0.5
    ignore_iou: Fraction | None = 0.5
    add_ground_truth: bool = True


class BoxHeadConfig(Section):
    kind: Literal["fc", "res5"] = "fc"  # res5: the trunk's fifth stage, the paper's C4 head
    size: Positive = 7  # pooled bins per side
    convs: int = Field(0, ge=0)
    conv_channels: Positive = 256
    norm: Norm = "none"
    fcs: int = Field(2, ge=0)
    fc_channels: Positive = 1024
    class_agnostic: bool = False
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    smooth_l1_beta: float = Field(0.0, ge=0)


class MaskHeadConfig(Section):
    size: Positive = 14  # pooled bins per side; the mask is twice that
    convs: int = Field(4, ge=0)
    channels: Positive = 256
    norm: Norm = "none"
    class_agnostic: bool = False
    target_sampling: int = Field(2, ge=0)  # sampling ratio of the RoIAlign that cuts the target; 0: adaptive
    target_aligned: bool = True  # convention
    target_binary: bool = True  # convention: torchvision trains on the fractional average
    loss_weight: float = Field(1.0, ge=0)


class KeypointHeadConfig(Section):
    size: Positive = 14  # pooled bins per side; the heatmap is four times that
    convs: Positive = 8
    channels: Positive = 512
    # oks: where the expected OKS is largest; subpixel: the likeliest cell, and a parabola through it and its neighbours;
    # resize: the likeliest pixel after a bicubic resize to the box's own pixels, as the peers do
    decode: Literal["oks", "subpixel", "resize"] = "oks"
    loss_weight: float = Field(1.0, ge=0)


class TestConfig(Section):
    __test__ = False  # not a test class, whatever pytest thinks of the name

    score: Fraction = 0.05
    nms_iou: Fraction = 0.5
    detections: Positive = 100
    candidates: Positive = 1000  # highest-scoring (RoI, class) pairs that enter NMS
    min_size: float = Field(0.0, ge=0)
    mask_threshold: Fraction = 0.5


class ModelConfig(Section):
    """The network. A class is a name; its place in `classes` is the network's business."""

    classes: list[str] = []
    class_ids: list[int] = []  # the ids of the user's file beside `classes`; they come back in what is written
    keypoints: KeypointSchema | None = None
    input: InputConfig = InputConfig()
    backbone: BackboneConfig = BackboneConfig()
    neck: NeckConfig = NeckConfig()
    rpn: RpnConfig = RpnConfig()
    roi: RoiConfig = RoiConfig()
    box_head: BoxHeadConfig | None = BoxHeadConfig()  # None: region proposals alone
    mask_head: MaskHeadConfig | None = MaskHeadConfig()
    keypoint_head: KeypointHeadConfig | None = None
    test: TestConfig = TestConfig()
