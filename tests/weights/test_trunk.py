"""ImageNet trunks of ResNets under three libraries' names, and where they must not be used."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.weights import detectron2, torchvision
from maskrcnn.weights.rename import rename
from maskrcnn.weights.trunk import load_trunk

CAFFE2 = {"order": "bgr", "mean": [103.53, 116.28, 123.675], "std": [1, 1, 1]}


def model(neck: str = "fpn", **changes: object):
    c4 = {"rpn": {"sizes": [[32, 64]]}, "box_head": {"size": 14, "fcs": 0}} if neck == "c4" else {}
    return build(ModelConfig.model_validate({"classes": ["a"], "neck": {"kind": neck}, **c4, **changes}))


def parts(network) -> dict[str, torch.Tensor]:
    """Every tensor of a trunk as an ImageNet classifier has it, five stages in one."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, tensor in network.state_dict().items():
        if name.startswith("backbone."):
            found[name.removeprefix("backbone.")] = torch.rand(tensor.shape, generator=generator)
        elif name.startswith("box_head.stage."):
            found["stages.3." + name.removeprefix("box_head.stage.")] = torch.rand(
                tensor.shape, generator=generator
            )
    return found


def check(network, wanted: dict[str, torch.Tensor]) -> None:
    state = network.state_dict()
    for name, tensor in wanted.items():
        ours = f"backbone.{name}"
        if ours not in state:
            ours = "box_head.stage." + name.removeprefix("stages.3.")
        assert torch.equal(state[ours], tensor), name


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_torchvision(neck: str, tmp_path: Path) -> None:
    network = model(neck)
    wanted = parts(network)
    state = {rename(name, torchvision.BACKBONE): tensor for name, tensor in wanted.items()}
    torch.save(
        state | {"fc.weight": torch.zeros(10, 2048), "fc.bias": torch.zeros(10)}, tmp_path / "resnet50.pth"
    )
    assert load_trunk(network, tmp_path / "resnet50.pth") == len(wanted)
    check(network, wanted)


def test_detectron2(tmp_path: Path) -> None:
    network = model()
    wanted = parts(network)
    arrays = {rename(name, detectron2.BACKBONE): tensor.numpy() for name, tensor in wanted.items()}
    content = {"model": arrays, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content))
    load_trunk(network, tmp_path / "R-50.pkl")
    check(network, wanted)


@pytest.mark.parametrize(
    "spelling", [("s", "b", "rm", "riv"), ("gamma", "beta", "running_mean", "running_var")]
)
def test_caffe2(spelling: tuple[str, ...], tmp_path: Path) -> None:
    network = model(input=CAFFE2)
    wanted = parts(network)
    leaves = dict(zip(("weight", "bias", "running_mean", "running_var"), spelling, strict=True))
    arrays = {"fc1000_w": torch.zeros(10, 2048).numpy()}
    for name, tensor in wanted.items():
        *where, kind, leaf = name.split(".")
        if where[0] == "stem":
            brick = {"conv": "conv1", "norm": "res_conv1"}[kind]
        else:
            branch = {"shortcut": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}[where[3]]
            brick = f"res{int(where[1]) + 2}_{where[2]}_branch{branch}"
        arrays[f"{brick}_w" if kind == "conv" else f"{brick}_bn_{leaves[leaf]}"] = tensor.numpy()
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Caffe2", "matching_heuristics": True}))
    load_trunk(network, path)
    check(network, wanted)
    with pytest.raises(UserError, match="expects BGR: set model.input.order=bgr"):
        load_trunk(model(), path)


def test_another_depth_is_named(tmp_path: Path) -> None:
    state = {rename(name, torchvision.BACKBONE): tensor for name, tensor in parts(model()).items()}
    torch.save(state, tmp_path / "resnet50.pth")
    deeper = model(backbone={"kind": "resnet101"})
    with pytest.raises(UserError, match=r"has no layer3\.6\.conv1\.weight; is it a resnet101"):
        load_trunk(deeper, tmp_path / "resnet50.pth")
    with pytest.raises(UserError, match="not a ResNet of torchvision"):
        load_trunk(deeper, "mobilenetv2-imagenet")


def test_a_trunk_with_norms_is_refused_where_there_are_none() -> None:
    settings = {"classes": ["a"], "backbone": {"kind": "mobilenetv2", "norm": "none"}}
    model = build(ModelConfig.model_validate(settings))
    with pytest.raises(UserError, match="model.backbone.norm=none"):
        load_trunk(model, "mobilenetv2-imagenet")
