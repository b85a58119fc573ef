"""Backbones of transformers and timm behind our contract, with random weights and without a network."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from small import noise_images, objects, same_detections, small_config, small_model

from maskrcnn.errors import UserError
from maskrcnn.model.backbone.adapter import SIDE, Adapter
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.model.optimise import optimise
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import save_model
from maskrcnn.weights.trunk import load_trunk

RESNET = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 16], "embedding_size": 8, "layer_type": "basic"}
DINOV2 = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("transformers")


def model_with(kind: str, neck: str = "fpn", **settings: Any) -> MaskRCNN:
    backbone = {"kind": kind, "norm": "none", "freeze": 0, "settings": settings}
    return small_model(backbone=backbone, neck={"kind": neck, "channels": 16})


@pytest.mark.parametrize(
    ("kind", "neck", "settings"),
    [("transformers:resnet", "fpn", RESNET), ("transformers:dinov2", "simple_pyramid", DINOV2)],
)
def test_a_network_trains_and_is_saved(
    library: Any, kind: str, neck: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    model = model_with(kind, neck, **settings)
    sum(model.losses(*noise_images(), objects()).values()).backward()
    learned = [p.grad is not None and bool(p.grad.any()) for p in model.backbone.parameters()]
    assert sum(learned) >= 0.8 * len(learned)
    save_model(model.eval(), tmp_path)
    with torch.no_grad():
        found = model.detect(*noise_images())
        for other in (load_model(tmp_path), optimise(model)):
            same_detections(other.detect(*noise_images()), found)


def test_the_levels_are_the_librarys_own_maps(library: Any) -> None:
    backbone = model_with("transformers:resnet", **RESNET).backbone.eval()
    assert backbone.strides == [4, 8, 16, 32] and backbone.channels == [8, 16, 16, 16]
    theirs = backbone.network.library
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = theirs(pixel_values=x, output_hidden_states=True).hidden_states[1:]
        assert all(torch.equal(a, b) for a, b in zip(backbone(x), maps, strict=True))


def test_patches_of_14_become_16_pixels(library: Any) -> None:
    """The images are scaled, so that the one level has stride 16 and sides need be no multiples of 14."""
    backbone = model_with("transformers:dinov2", "simple_pyramid", **DINOV2).backbone.eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        (level,) = backbone(x)
        small = F.interpolate(x, size=(56, 84), mode="bilinear")
        (expected,) = backbone.network.library(pixel_values=small).feature_maps
    assert backbone.strides == [16] and level.shape == (1, 32, 4, 6) and torch.equal(level, expected)


@pytest.mark.parametrize(
    ("kind", "neck", "settings", "said"),
    [
        ("transformers:dinov", "fpn", {}, "did you mean 'dinov2'"),
        ("transformers:timm_backbone", "fpn", {"backbone": "resnet18"}, "no such backbone"),
        ("transformers:resnet", "fpn", {"depth": [1]}, "did you mean 'depths'"),
        ("transformers:resnet", "fpn", {"auto_map": "a"}, "no setting 'auto_map'"),
        ("transformers:resnet", "fpn", {"_attn_implementation": "eager"}, "no setting"),
        (
            "transformers:resnet",
            "fpn",
            {"attn_implementation": "owner/kernel"},
            "settings.attn_implementation",
        ),
        ("transformers:resnet", "fpn", {"depths": [10**6]}, "depths is [1000000]: write at most 100"),
        ("transformers:resnet", "fpn", {"hidden_sizes": [1]}, "does not give maps"),
        ("transformers:dinov2", "fpn", DINOV2, "set model.neck.kind=simple_pyramid"),
        ("transformers:resnet", "simple_pyramid", RESNET, "set model.neck.kind=fpn"),
        ("transformers:resnet", "c5", RESNET, "use fpn"),
    ],
)
def test_what_a_stranger_may_not_ask_for(
    library: Any, kind: str, neck: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as error:
        model_with(kind, neck, **settings)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["transformers:owner/name", "timm:hf-hub:owner/name", "timm:local-dir:/x"])
def test_a_kind_is_no_address(kind: str) -> None:
    with pytest.raises(UserError):
        small_config(backbone={"kind": kind, "norm": "none", "freeze": 0})


@pytest.mark.parametrize("extra", ["transformers", "timm"])
def test_an_absent_library_is_named(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(UserError, match=rf"pip install 'maskrcnn\[{extra}\]'"):
        model_with(f"{extra}:resnet18")


def test_a_network_of_one_image_size_is_refused() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x.view(1, 3, SIDE, SIDE)]

    with pytest.raises(UserError, match="does not give maps of any image"):
        Adapter(lambda places: Fixed(), "timm:fixed", 3)


def saved_dinov2(library: Any, folder: Path, **changes: Any) -> Any:
    """A folder as the hub has it, of a whole model that is no backbone."""
    torch.manual_seed(1)
    model = library.Dinov2Model(library.Dinov2Config(**(DINOV2 | changes))).eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]})
    )
    return model


def test_a_folder_of_the_hub_is_a_trunk(library: Any, tmp_path: Path) -> None:
    theirs = saved_dinov2(library, tmp_path)
    model = model_with("transformers:dinov2", "simple_pyramid", **DINOV2)
    assert load_trunk(model, tmp_path) == len(model.backbone.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        (level,) = model.backbone.eval()(x)
        tokens = theirs(F.interpolate(x, size=(56, 56), mode="bilinear")).last_hidden_state[:, 1:]
    torch.testing.assert_close(level.flatten(2).transpose(1, 2), tokens, rtol=1e-4, atol=1e-5)


def test_a_trunk_of_other_settings_says_which(library: Any, tmp_path: Path) -> None:
    saved_dinov2(library, tmp_path, num_attention_heads=4)
    model = model_with("transformers:dinov2", "simple_pyramid", **DINOV2)
    with pytest.raises(UserError, match='set model.backbone.settings={.*"num_attention_heads": 4'):
        load_trunk(model, tmp_path)
    with pytest.raises(UserError, match="set model.backbone.kind=transformers:dinov2"):
        load_trunk(model_with("transformers:resnet", **RESNET), tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3}))
    with pytest.raises(UserError, match=r"add --set 'model.input.mean=\[127.5,127.5,127.5\]'$"):
        load_trunk(model, tmp_path)
    with pytest.raises(UserError, match="takes hf://OWNER/NAME or a folder"):
        load_trunk(model, "torchvision/resnet50_v1")


def test_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", exc_type=ImportError)
    from safetensors.torch import save_file

    model = model_with("timm:resnet10t").eval()
    assert model.backbone.strides == [4, 8, 16, 32]
    with torch.no_grad():
        assert model.detect(*noise_images()).valid.shape == (2, 6)
    save_model(model, tmp_path / "ours")
    load_model(tmp_path / "ours")
    theirs = timm.create_model("resnet10t").eval()
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": {}}))
    assert load_trunk(model, tmp_path) > 50
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model.backbone.eval()(x)[-1], theirs.forward_features(x), atol=1e-5)
    with pytest.raises(UserError, match="is a resnet10t: set model.backbone.kind=timm:resnet10t"):
        load_trunk(model_with("timm:resnet18"), tmp_path)
    with pytest.raises(UserError, match="timm has no such model"):
        model_with("timm:resnet9999")
