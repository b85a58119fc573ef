"""ImageNet weights for a backbone, by name or by file: where training usually starts."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from maskrcnn.errors import UserError
from maskrcnn.model.backbone.contract import Backbone
from maskrcnn.model.backbone.mobilenet import MobileNetV2
from maskrcnn.model.layers import ConvNorm


def find_trunk(source: str | Path) -> Path:
    """The file of a shipped trunk's name, or the file itself.

    Raises:
        UserError: neither; the message lists the shipped names.
    """
    shipped = Path(__file__).parent / "trunks"
    named = shipped / f"{source}.safetensors"
    if Path(str(source)).name == str(source) and named.is_file():
        return named
    path = Path(source)
    if path.is_file():
        return path
    names = ", ".join(sorted(p.stem for p in shipped.glob("*.safetensors")))
    raise UserError(
        f"train.trunk={source}: neither a shipped trunk ({names}) nor a file; set train.trunk=null for random weights"
    )


def load_trunk(backbone: Backbone, source: str | Path) -> int:
    """Fills `backbone` from an ImageNet classifier's weights.

    Args:
        source: a shipped trunk's name, or an `.npz` or `.safetensors` of MobileNetV2 in GluonCV's naming
            (`mobilenetv20_features_...`).

    Returns:
        How many tensors were filled; every tensor of the backbone is, or this raises.

    Raises:
        UserError: no such trunk, another format, or tensors that do not fit.
    """
    path = find_trunk(source)
    try:
        if path.suffix == ".safetensors":
            tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        else:
            with np.load(path, allow_pickle=False) as arrays:
                tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, SafetensorError) as error:
        raise UserError(f"trunk {path}: not readable as .npz or .safetensors: {error}") from None
    if not isinstance(backbone, MobileNetV2):
        raise UserError(f"trunk {path}: only MobileNetV2 trunks are read, this model's is {type(backbone).__name__}")
    state = _gluon_mobilenet(backbone, tensors, path)
    backbone.load_state_dict(state, strict=False)
    return len(state)


def _gluon_mobilenet(backbone: MobileNetV2, tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """GluonCV's tensors under our names."""
    bricks: list[tuple[str, str, str]] = [("stem", "conv0", "batchnorm0")]
    names = {id(block): name for name, block in backbone.named_modules()}
    for number, block in enumerate(backbone.blocks()):
        for index, part in enumerate(("expand", "depthwise", "project")):
            theirs = f"linearbottleneck{number}_"
            bricks.append((f"{names[id(block)]}.{part}", f"{theirs}conv{index}", f"{theirs}batchnorm{index}"))
    state: dict[str, Tensor] = {}
    for ours, conv, norm in bricks:
        module = backbone.get_submodule(ours)
        assert isinstance(module, ConvNorm)
        wanted = {f"{ours}.conv.weight": f"{conv}_weight"}
        if hasattr(module.norm, "running_mean"):
            wanted |= {
                f"{ours}.norm.weight": f"{norm}_gamma",
                f"{ours}.norm.bias": f"{norm}_beta",
                f"{ours}.norm.running_mean": f"{norm}_running_mean",
                f"{ours}.norm.running_var": f"{norm}_running_var",
            }
        expected = backbone.state_dict()
        for key, name in wanted.items():
            tensor = tensors.get(f"mobilenetv20_features_{name}")
            if tensor is None:
                raise UserError(f"trunk {path}: has no mobilenetv20_features_{name}; is it GluonCV's MobileNetV2?")
            if key.endswith("stem.conv.weight") and tensor.shape[1] != expected[key].shape[1]:
                tensor = _adapt_channels(tensor, expected[key].shape[1])
            if tensor.shape != expected[key].shape:
                raise UserError(
                    f"trunk {path}: {name} is {tuple(tensor.shape)}, the backbone needs {tuple(expected[key].shape)}"
                )
            state[key] = tensor
    return state


def _adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution for another number of input channels: the mean over RGB, at the same total."""
    mean = weight.mean(1, keepdim=True)
    return mean.expand(-1, channels, -1, -1) * (weight.shape[1] / channels)
