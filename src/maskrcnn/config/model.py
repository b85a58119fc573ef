"""The network's settings (`ModelConfig`), saved with its weights.

The defaults are the paper's FPN settings (He et al. 2017, section 3.1) with the conventions of
docs/architecture.md: RGB, continuous coordinates, `aligned=True`, background last. Fields marked "Convention"
exist because published checkpoints were trained with other choices.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from maskrcnn.config.backbone import BackboneConfig, LayerNormKind, Norm, ResNetKind
from maskrcnn.config.migrate import migrate_model
from maskrcnn.config.section import Bins, Boxes, Fraction, Layers, Points, Section, Side, Weight, Width

PositiveFloat = Annotated[float, Field(ge=1e-6, le=1e6)]
Id = Annotated[int, Field(ge=-(2**63), lt=2**63)]
USUAL_SCORE = 0.5  # from which objects are kept where nothing says another


class KeypointSchema(Section):
    """What the keypoints of a person (or a cell, or a tool) are; it travels from the labels into the
    checkpoint.
    """

    names: list[str]
    """One for each keypoint."""
    flip: list[int]
    """The 0-based index that each keypoint takes when the image is mirrored."""
    skeleton: list[tuple[int, int]] = []
    """Pairs of 0-based indices that are joined by a line."""
    sigmas: list[PositiveFloat]
    """Tolerance of each keypoint in OKS, as a share of the object's size."""

    @model_validator(mode="after")
    def _consistent(self) -> KeypointSchema:
        count = len(self.names)
        if sorted(self.flip) != list(range(count)):
            raise ValueError(f"flip must be a permutation of 0..{count - 1}")
        if len(self.sigmas) != count:
            raise ValueError(f"sigmas has {len(self.sigmas)} values, names has {count}")
        if any(not 0 <= end < count for pair in self.skeleton for end in pair):
            raise ValueError(f"skeleton names a keypoint outside 0..{count - 1}")
        return self


class InputConfig(Section):
    """How an image becomes the network's input."""

    channels: int = Field(3, gt=0, le=1024)
    """Channels of an image."""
    value_range: tuple[float, float] | None = None
    """Samples of more than 8 bits: the values that become 0 and 255; in training null is filled in from
    the data."""
    order: Literal["rgb", "bgr"] = "rgb"
    """Convention: order of the channels."""
    mean: list[float] = [123.675, 116.28, 103.53]
    """Of each channel, on the scale of 0 to 255: it is subtracted."""
    std: list[float] = [58.395, 57.12, 57.375]
    """Deviation of each channel, on the scale of 0 to 255: what is left is divided by it."""
    divisor: int = Field(32, gt=0, le=1024)
    """Height and width are padded to a multiple of this, pixels."""
    short_side: Side = 800
    """Pixels to which an image's short side is resized at test time."""
    long_side: Side = 1333
    """Pixels that its long side may have then; a longer image is shrunk further."""
    tile_side: int | None = Field(None, ge=0)
    """Side in pixels of the images that the model is made for: one more than twice as long is predicted in
    tiles of it. 0: never, as for photographs, whose objects grow with them; in training null is filled in
    from the data: three in four images are no longer."""

    @model_validator(mode="after")
    def _consistent(self) -> InputConfig:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range is {list(self.value_range)}: write [lowest, highest]")
        if self.short_side > self.long_side:
            raise ValueError(
                f"short_side {self.short_side} is above long_side {self.long_side}: raise long_side"
            )
        for name in ("mean", "std"):
            given = len(getattr(self, name))
            if given != self.channels:
                raise ValueError(
                    f"{name} has {given} values but model.input.channels is {self.channels}: "
                    "give one for each channel; maskrcnn check DATA measures them"
                )
        if min(self.std) < 1e-3 or max(map(abs, (*self.mean, *self.std))) > 1e6:
            raise ValueError(
                f"std is {self.std}, mean {self.mean}: both are on the scale of 0 to 255, deviations above 0"
            )
        if self.order == "bgr" and self.channels != 3:
            raise ValueError("order=bgr is for 3 channels: set it to rgb, which leaves channels as they are")
        return self


class NeckConfig(Section):
    """What lies between the backbone and the heads."""

    kind: Literal["fpn", "c4", "c5", "dc5", "simple_pyramid"] = "fpn"
    """Feature pyramid; C4 of a ResNet, whose fifth stage then is the box head (the paper's C4); C5 with its
    stride of 32 (the paper's Table 2d); C5 dilated to a stride of 16; the pyramid made of a ViT's one map
    (Li et al. 2022)."""
    channels: Width = 256
    """Of the pyramid's levels."""
    norm: Norm = "none"
    """Norm behind the pyramid's convolutions."""


class RpnConfig(Section):
    """Region proposal network (Ren et al. 2015; on a pyramid, Lin et al. 2017)."""

    convs: int = Field(1, gt=0, le=100)
    """3x3 convolutions before the two outputs."""
    channels: Width | None = None
    """Of these convolutions; null: as many as the features have."""
    sizes: list[list[PositiveFloat]] = [[32], [64], [128], [256], [512]]
    """Anchor sides of each level, finest first, pixels: the square root of an anchor's area."""
    ratios: list[PositiveFloat] = [0.5, 1.0, 2.0]
    """Height / width of the anchors."""
    round_anchors: bool = False
    """Convention: torchvision rounds anchors to whole pixels."""
    strides_of_image: bool = False
    """Convention: torchvision's anchors are as far apart as the padded image's side over the level's cells,
    rounded down; of P6 that is 61 pixels, not 64, where the side is 800."""
    positive_iou: Fraction = 0.7
    """IoU with an object from which on an anchor stands for it."""
    negative_iou: Fraction = 0.3
    """IoU with every object below which an anchor is background."""
    low_quality_overrides: bool = False
    """Convention: mmdetection gives an object's best anchor to it even where another object overlaps it
    more."""
    low_quality_min_iou: Fraction = 0.0
    """Convention: IoU from which on an object's best anchor stands for it; mmdetection 0.3."""
    ignore_iou: Fraction | None = 0.5
    """Anchors with more than this share inside a crowd region are not background; null: all others are."""
    samples: Boxes = 256
    """Anchors of an image that are trained on."""
    positive_fraction: Fraction = 0.5
    """Share of them that stand for objects, at most."""
    pre_nms_train: Boxes = 2000
    """Best anchors of each level that enter NMS in training."""
    post_nms_train: Boxes = 1000
    """Proposals that an image keeps in training, over all levels."""
    pre_nms_test: Boxes = 1000
    """As `pre_nms_train`, at test time."""
    post_nms_test: Boxes = 1000
    """As `post_nms_train`, at test time."""
    nms_iou: Fraction = 0.7
    """IoU above which NMS drops the proposal of the lower score."""
    min_size: Weight = 0.0
    """Pixels that a proposal's sides must exceed."""
    smooth_l1_beta: Weight = 0.0
    """Where the box loss turns from quadratic to linear; 0 is L1, torchvision has 1/9."""
    normaliser: Literal["sampled", "samples"] = "sampled"
    """Losses are divided by how many anchors were sampled, or by `samples`."""

    @model_validator(mode="after")
    def _consistent(self) -> RpnConfig:
        if self.negative_iou > self.positive_iou:
            raise ValueError(f"negative_iou {self.negative_iou} is above positive_iou {self.positive_iou}")
        if self.low_quality_min_iou > self.positive_iou:
            raise ValueError(
                f"low_quality_min_iou {self.low_quality_min_iou} is above positive_iou {self.positive_iou}"
            )
        if not self.sizes or not all(self.sizes):
            raise ValueError(f"sizes is {self.sizes}: name at least one anchor side for each level")
        if len({len(level) for level in self.sizes}) > 1:
            raise ValueError(f"sizes is {self.sizes}: name as many anchor sides for each level")
        if not self.ratios:
            raise ValueError("ratios is empty: name at least one, as in [1.0]")
        return self


class RoiConfig(Section):
    """How features are pooled for a RoI, and which RoIs are trained on."""

    op: Literal["align", "warp", "pool"] = "align"
    """RoIAlign (the paper's); RoIWarp, the same of a box that is rounded to the grid (Dai et al. 2016); or
    RoIPool (Fast R-CNN's)."""
    aligned: bool = True
    """Convention: RoIAlign shifts by half a pixel."""
    sampling_ratio: Points = 2
    """Points per side of a bin; 0: adaptive, as many as the bin has pixels."""
    reduce: Literal["average", "max"] = "average"
    """What is made of a bin's points."""
    canonical_size: PositiveFloat = 224.0
    """A RoI of this side, pixels, pools from the canonical level (FPN, equation 1)."""
    canonical_level: int = Field(4, gt=0, le=32)
    """That level; 4 has stride 16."""
    samples: Boxes = 512
    """RoIs of an image that are trained on."""
    positive_fraction: Fraction = 0.25
    """Share of them that stand for objects, at most."""
    positive_iou: Fraction = 0.5
    """IoU with an object from which on a RoI stands for it; below, it is background."""
    ignore_iou: Fraction | None = 0.5
    """RoIs with more than this share inside a crowd region are not background; null: all others are."""
    add_ground_truth: bool = True
    """In training the objects' own boxes are RoIs too."""


class BoxHeadConfig(Section):
    """What a RoI is, and where exactly. With `neck.kind=c4` it begins with the backbone's fifth stage."""

    size: Bins = 7
    """Pooled bins per side."""
    convs: Layers = 0
    """3x3 convolutions."""
    conv_channels: Width = 256
    """Of these convolutions."""
    norm: Norm = "none"
    """Norm behind these convolutions."""
    fcs: Layers = 2
    """Fully connected layers before the two outputs."""
    fc_channels: Width = 1024
    """Of these layers."""
    class_agnostic: bool = False
    """One box for all classes rather than one for each."""
    box_weights: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = (10.0, 10.0, 5.0, 5.0)
    """Factors of the box's x, y, width and height in what is learned."""
    smooth_l1_beta: Weight = 0.0
    """Where the box loss turns from quadratic to linear; 0 is L1."""


class MaskHeadConfig(Section):
    """Which pixels of a RoI are the object's."""

    kind: Literal["fcn", "mlp"] = "fcn"
    """Fully convolutional; or two fully connected layers of 1,024 in place of the convolutions (the paper's
    Table 2e)."""
    loss: Literal["sigmoid", "softmax"] = "sigmoid"
    """A binary mask for each class, apart from the classification; or classes and background that compete
    for each pixel (the paper's Table 2b)."""
    size: Bins = 14
    """Pooled bins per side; the mask has twice as many pixels."""
    convs: Layers = 4
    """3x3 convolutions."""
    channels: Width = 256
    """Of these convolutions."""
    norm: Norm = "none"
    """Norm behind these convolutions."""
    class_agnostic: bool = False
    """One mask for all classes rather than one for each."""
    target_sampling: Points = 2
    """Sampling ratio of the RoIAlign that makes the target of a ground-truth mask; 0: adaptive."""
    target_aligned: bool = True
    """Convention: that RoIAlign shifts by half a pixel."""
    target_binary: bool = True
    """Convention: the target is 0 or 1; torchvision trains on the fractional average."""
    loss_weight: Weight = 1.0
    """Factor of the mask loss."""

    @model_validator(mode="after")
    def _consistent(self) -> MaskHeadConfig:
        if self.loss == "softmax" and self.class_agnostic:
            raise ValueError("loss=softmax is over the classes: set class_agnostic to false")
        return self


class KeypointHeadConfig(Section):
    """Where the keypoints of a RoI are."""

    size: Bins = 14
    """Pooled bins per side; the heatmap has four times as many cells."""
    convs: int = Field(8, gt=0, le=100)
    """3x3 convolutions."""
    channels: Width = 512
    """Of these convolutions."""
    decode: Literal["oks", "subpixel", "resize"] = "oks"
    """Place of a keypoint: of the largest expected OKS; the likeliest cell refined by a parabola; or the
    likeliest pixel after a bicubic resize to the box, as other libraries do."""
    loss_weight: Weight = 1.0
    """Factor of the keypoint loss."""


class TestConfig(Section):
    """What is kept of what the network finds."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    score: Fraction = 0.05
    """Detections have a score above this."""
    predict_score: Fraction | None = None
    """Score from which prediction keeps an object where no other is asked for; null: a training chooses it on
    its val split, else 0.5. Evaluation takes all."""
    nms_iou: Fraction = 0.5
    """IoU above which NMS drops the detection of the same class with the lower score."""
    box_vote: Fraction | None = 0.6
    """IoU above which candidates of the same class have a say in where a detection is: its box is their mean,
    weighted by their score and by what their IoU is above this (Gidaris and Komodakis 2015); null: its own
    box, as other libraries have it."""
    box_from_mask: Fraction = 0.75
    """Share of the way that the sides of a detection's box go to where its mask ends; 0: none, as other
    libraries have it."""
    detections: Boxes = 100
    """Detections of an image, at most."""
    candidates: Boxes = 1000
    """Highest-scoring pairs of RoI and class that enter NMS."""
    min_size: Weight = 0.0
    """Pixels that a detection's sides must exceed."""
    mask_threshold: Fraction = 0.5
    """Probability from which on a pixel is the object's."""
    paste: Literal["continuous", "integer_boxes"] = "continuous"
    """Convention: where a mask lies in the image: over its box as it is, or as torchvision has it, over the
    whole pixels of the box."""
    mask_rank: Literal["expected_iou", "score"] = "expected_iou"
    """What ranks objects when masks are evaluated: the score times the IoU with the true mask that is
    expected from the mask's own probabilities; or the score alone, as other libraries do."""

    @property
    def kept_score(self) -> float:
        """`predict_score`, or what stands for null."""
        return USUAL_SCORE if self.predict_score is None else self.predict_score


class ModelConfig(Section):
    """The network. A class is a name; its place in `classes` is the network's business."""

    classes: list[str] = []
    """Names; in training they come from the data unless given."""
    class_ids: list[Id] = []
    """The ids of the user's file beside `classes`; they come back in what is written. Empty: 1, 2, ..."""
    keypoints: KeypointSchema | None = None
    """What the keypoints are; in training it comes from the data unless given."""
    input: InputConfig = InputConfig()
    """How an image becomes the network's input."""
    backbone: BackboneConfig = BackboneConfig()
    """Image to features."""
    neck: NeckConfig = NeckConfig()
    """Features to levels."""
    rpn: RpnConfig = RpnConfig()
    """Levels to proposals."""
    roi: RoiConfig = RoiConfig()
    """Proposals to pooled features."""
    box_head: BoxHeadConfig | None = BoxHeadConfig()
    """Class and box; null: region proposals alone."""
    mask_head: MaskHeadConfig | None = MaskHeadConfig()
    """Masks; null: none."""
    keypoint_head: KeypointHeadConfig | None = None
    """Keypoints; null: none."""
    test: TestConfig = TestConfig()
    """What is kept of what the network finds."""

    @model_validator(mode="before")
    @classmethod
    def _migrated(cls, settings: Any) -> Any:
        return migrate_model(settings)

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes names a class twice")
        if self.class_ids and len(self.class_ids) != len(self.classes):
            raise ValueError(
                f"class_ids has {len(self.class_ids)} values but there are {len(self.classes)} classes"
            )
        neck = self.neck.kind
        if neck == "c4" and self.backbone.kind not in get_args(ResNetKind):
            raise ValueError(f"neck.kind=c4 needs a ResNet, not {self.backbone.kind}; use fpn, c5 or dc5")
        if self.backbone.adapted:
            if neck not in ("fpn", "simple_pyramid"):
                raise ValueError(f"neck.kind={neck} does not go with {self.backbone.kind}: use fpn")
        elif (neck == "simple_pyramid") != self.backbone.kind.startswith("vit"):
            fitting = "simple_pyramid" if self.backbone.kind.startswith("vit") else "fpn"
            raise ValueError(f"neck.kind={neck} does not go with a {self.backbone.kind}: use {fitting}")
        if neck in ("c5", "dc5") and self.backbone.kind in get_args(LayerNormKind):
            raise ValueError(
                f"neck.kind={neck} goes with ResNets, MobileNet and EfficientNet, not with a "
                f"{self.backbone.kind}: use fpn"
            )
        if self.box_head is None and (self.mask_head or self.keypoint_head or len(self.classes) > 1):
            raise ValueError(
                "box_head=null finds boxes of one class: set mask_head and keypoint_head to null too"
            )
        pyramid = neck in ("fpn", "simple_pyramid")
        levels = 5 if pyramid else 1
        if len(self.rpn.sizes) != levels:
            raise ValueError(f"rpn.sizes has {len(self.rpn.sizes)} levels, neck {neck} has {levels}")
        if pyramid and self.input.divisor % 32:
            raise ValueError("input.divisor must be a multiple of 32, the coarsest stride")
        return self
