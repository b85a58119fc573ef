"""Every choice that changes a number, as validated data: the network (`ModelConfig`), the pictures (`DataConfig`), the
training (`TrainConfig`). Read from a recipe in YAML, changed by dotted overrides, saved with the weights.

The defaults are the paper's FPN settings (He et al. 2017, section 3.1) with the conventions of design.md section 6: RGB,
continuous coordinates, `aligned=True`, background last. Fields marked *convention* exist because published checkpoints
were trained with other choices.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maskrcnn.errors import UserError

Norm = Literal["none", "frozen", "batch", "sync", "group"]
Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
T = TypeVar("T", bound=BaseModel)


class Section(BaseModel):
    """A group of settings. A key that does not exist is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


class KeypointSchema(Section):
    """What the keypoints of a person (or a cell, or a tool) are; it travels from the labels into the checkpoint."""

    names: list[str]
    flip: list[int]  # the index each keypoint takes when the picture is mirrored
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
    """How a picture becomes the network's input. Mean and deviation are on the 0 to 255 scale."""

    channels: Positive = 3
    order: Literal["rgb", "bgr"] = "rgb"  # convention
    mean: list[float] = [123.675, 116.28, 103.53]
    std: list[float] = [58.395, 57.12, 57.375]
    divisor: Positive = 32  # height and width are padded to a multiple of this
    short_side: Positive = 800  # at test time
    long_side: Positive = 1333


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


class AugmentConfig(Section):
    """What training does to a picture. Everything geometric is one affine map, so labels follow exactly."""

    flip: Fraction = 0.5
    short_sides: list[Positive] = [640, 672, 704, 736, 768, 800]  # multi-scale: one is drawn per picture
    long_side: Positive = 1333
    jitter: tuple[float, float] | None = None  # large-scale jitter (Ghiasi et al. 2021): scale range, then crop
    crop: tuple[int, int] | None = None  # with jitter: the (height, width) every picture gets
    mosaic: Fraction = 0.0  # share of steps whose pictures are each a grid of several (Bochkovskiy et al. 2020)
    mosaic_canvas: tuple[Positive, Positive] = (640, 640)  # height and width of such a grid
    mosaic_grids: list[Positive] = [2]  # tiles per side; one is drawn per step
    turn: Fraction = 0.0  # share of pictures that are turned by 90, 180 or 270 degrees, where there is no up
    rotate: float = Field(0.0, ge=0)  # largest angle, degrees, by which a picture is tilted to either side
    copy_paste: Fraction = 0.0  # share of pictures that get objects of another one pasted in (Ghiasi et al. 2021)
    colour: Fraction = 0.0  # strength of brightness, contrast, saturation and hue changes
    blur: Fraction = 0.0  # share of pictures that are blurred
    noise: Fraction = 0.0  # share of pictures that get noise
    jpeg: Fraction = 0.0  # share of pictures that are compressed to a poor JPEG and back


class TilesConfig(Section):
    """Large pictures are trained on in overlapping tiles; those that fit into one stay whole."""

    side: Positive = 1024  # pixels
    overlap: int = Field(
        128, ge=0
    )  # of neighbours, at least; as large as most objects, so that some tile shows all of each
    # a tile's object is one that it shows at least so much of, against the tile that shows most of it; of others it shows a
    # remnant, which is neither object nor background there
    visible: Fraction = 0.3
    empty: Fraction = 0.2  # share of a cut picture's tiles without an object that are trained on
    val: bool = True  # evaluate on tiles too, on all of them; else on whole pictures
    cache_gb: float = Field(20.0, ge=0)  # decoded pictures are kept on disk up to so much

    @model_validator(mode="after")
    def _advances(self) -> TilesConfig:
        if self.overlap >= self.side:
            raise ValueError(f"overlap must be below side, {self.side}")
        return self


class DataConfig(Section):
    augment: AugmentConfig = AugmentConfig()
    tiles: TilesConfig | None = None
    mask_side: Positive = 112  # ground-truth masks are kept as bitmaps of this side over the object's box
    # pictures of classes that are in a smaller share of the pictures are repeated (Gupta et al. 2019, who use 0.001)
    repeat_threshold: float | None = Field(None, gt=0, le=1)
    empty: Literal["keep", "drop"] = "keep"  # training pictures without an object; kept, they are negatives
    workers: int = Field(2, ge=0)


class TrainConfig(Section):
    seed: int = 0
    epochs: float = Field(12.0, gt=0)
    batch: Positive = 16  # pictures per optimiser step over all processes and accumulated steps
    accumulate: Positive = 1
    reference_batch: Positive = 16  # `lr` is meant for this batch and is scaled linearly to ours
    scale_lr: bool = True
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.02, gt=0)
    trunk_lr: float = Field(1.0, ge=0)  # the backbone's learning rate as a multiple of `lr`
    momentum: Fraction = 0.9
    weight_decay: float = Field(1e-4, ge=0)
    norm_weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["step", "cosine", "constant"] = "step"
    steps: list[Fraction] = [2 / 3, 8 / 9]  # share of the training at which a step schedule divides the rate by 10
    warmup: float = Field(500.0, ge=0)  # iterations
    warmup_factor: Fraction = 0.001
    clip: float | None = Field(None, gt=0)  # largest gradient norm
    ema: float | None = Field(None, ge=0, lt=1)  # decay of the weight average; None: no average
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    trunk: str | None = None  # ImageNet weights of the backbone: a shipped name or a file
    init: str | None = None  # weights of a whole model to start from: a name, folder or file
    evaluate_every: float = Field(1.0, ge=0)  # epochs; 0: only at the end
    patience: int | None = None  # stop after so many evaluations without a better one
    best: Literal["bbox", "segm", "keypoints", "mean"] = "mean"  # which AP decides what is best
    save_every: float = Field(300.0, gt=0)  # seconds between saved states
    deterministic: bool = True


class Config(Section):
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()


def load_config(source: str | Path | dict[str, Any], overrides: list[str] | None = None) -> Config:
    """A recipe's settings with dotted overrides applied.

    Args:
        source: a shipped recipe's name, a YAML file, or the settings themselves.
        overrides: `a.b=value` strings; the value is read as YAML.

    Raises:
        UserError: an unknown recipe or key (the nearest existing one is named), or a value out of range.
    """
    if isinstance(source, dict):
        where, settings = "settings", source
    else:
        path = find_recipe(source)
        where = str(path)
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
        if not isinstance(settings, dict):
            raise UserError(f"{path}: a recipe is a mapping of model, data and train, not {type(settings).__name__}")
    for override in overrides or []:
        settings = _override(settings, override)
    return validate(Config, settings, where)


def find_recipe(source: str | Path) -> Path:
    """The file of a shipped recipe's name, or the file itself.

    Raises:
        UserError: neither; the message lists the shipped names.
    """
    shipped = Path(__file__).parent / "recipes"
    named = shipped / f"{source}.yaml"
    if Path(str(source)).name == str(source) and named.is_file():
        return named
    path = Path(source)
    if path.is_file():
        return path
    names = sorted(p.stem for p in shipped.glob("*.yaml"))
    near = difflib.get_close_matches(str(source), names, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(f"recipe {str(source)!r}: neither a shipped recipe nor a file.{hint} Shipped: {', '.join(names)}")


def validate(kind: type[T], settings: dict[str, Any], where: str) -> T:
    """`settings` as a `kind`, or a UserError of one line that names the first wrong key and its nearest neighbour."""
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            siblings = _siblings(kind, [str(part) for part in first["loc"][:-1]])
            near = difflib.get_close_matches(str(first["loc"][-1]), siblings, 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(siblings)}"
            raise UserError(f"{where}: no setting {key!r}; {hint}") from None
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise UserError(f"{where}: {key or 'settings'}: {first['msg']}, got {first['input']!r:.80}{more}") from None


def _siblings(kind: type[BaseModel], location: list[str]) -> list[str]:
    """Names of the settings beside an unknown one."""
    here: type[BaseModel] = kind
    for part in location:
        field = here.model_fields.get(part)
        if field is None:
            break
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        sections = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if not sections:
            break
        here = sections[0]
    return list(here.model_fields)


def _override(settings: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of `settings` with one `a.b=value` applied."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override!r}: write it as section.name=value, as in train.epochs=20")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override!r}: the value is not readable as YAML") from None
    # YAML 1.1 reads 1e-3 as a string; people write it for learning rates
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            pass
    result = dict(settings)
    inner = result
    *parents, last = key.strip().split(".")
    for part in parents:
        below = inner.get(part)
        inner[part] = dict(below) if isinstance(below, dict) else {}
        inner = inner[part]
    inner[last] = value
    return result
