"""DINOv2's weights in our ViT against transformers' Dinov2Model, with random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import small_model

from maskrcnn.errors import UserError
from maskrcnn.model.backbone.vit import PRETRAINED, VITS, ViTSize
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.weights.dinov2 import resample_patches, resample_positions
from maskrcnn.weights.trunk import load_trunk

WIDTH, DEPTH, HEADS = 32, 8, 2


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> MaskRCNN:
    monkeypatch.setitem(VITS, "vit_b", ViTSize(WIDTH, DEPTH, HEADS))
    return small_model(
        backbone={"kind": "vit_b", "norm": "layer", "freeze": 0},
        neck={"kind": "simple_pyramid", "channels": 16, "norm": "layer"},
    )


def published(patch: int = 14, side: int = 5, depth: int = DEPTH, seed: int = 0) -> dict[str, Tensor]:
    """A state dict in the naming of the files that DINOv2's authors publish."""
    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + side * side, WIDTH),
        "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, patch, patch),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for block in range(depth):
        layers = {"norm1": (), "attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH), "norm2": ()}
        layers |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
        for name, shape in layers.items():
            shapes[f"blocks.{block}.{name}.weight"] = shape or (WIDTH,)
            shapes[f"blocks.{block}.{name}.bias"] = (shape or (WIDTH,))[:1]
        shapes |= {f"blocks.{block}.ls{i}.gamma": (WIDTH,) for i in (1, 2)}
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def in_transformers(state: dict[str, Tensor], library: Any, patch: int, side: int) -> Any:
    """transformers' model with the same weights."""
    config = library.Dinov2Config(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        patch_size=patch,
        image_size=patch * side,
    )
    model = library.Dinov2Model(config).eval()
    changed = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            before, leaf = name.replace("blocks.", "encoder.layer.").split(".attn.qkv.")
            for part, one in zip("qkv", tensor.chunk(3), strict=True):
                changed[f"{before}.attention.{part}_proj.{leaf}"] = one
            continue
        for theirs, ours in (
            ("blocks.", "encoder.layer."),
            ("attn.proj", "attention.o_proj"),
            ("ls1.gamma", "layer_scale1.lambda1"),
            ("ls2.gamma", "layer_scale2.lambda1"),
            ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
            ("pos_embed", "embeddings.position_embeddings"),
        ):
            name = name.replace(theirs, ours)
        name = (
            f"embeddings.{name}"
            if name.endswith("_token")
            else name.replace("norm.", "layernorm.", 1)
            if name.startswith("norm.")
            else name
        )
        changed[name] = tensor
    model.load_state_dict(changed)
    return model


def test_equals_transformers_but_for_the_class_token(model: MaskRCNN, tmp_path: Path) -> None:
    """14 x 14 tokens are one window, so that every block sees the whole image there too."""
    library = pytest.importorskip("transformers")
    state = published()
    torch.save(state, tmp_path / "dinov2.pth")
    filled = load_trunk(model, tmp_path / "dinov2.pth")
    assert filled == len(model.backbone.state_dict())
    theirs = in_transformers(state, library, patch=14, side=5)
    image = torch.randn(1, 3, 14 * PRETRAINED, 14 * PRETRAINED)
    patches = image.unflatten(2, (PRETRAINED, 14)).unflatten(4, (PRETRAINED, 14)).transpose(3, 4)
    patches = F.interpolate(patches.flatten(0, 3)[:, None], size=(16, 16), mode="bilinear").squeeze(1)
    grown = patches.unflatten(0, (1, 3, PRETRAINED, PRETRAINED)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    with torch.no_grad():
        tokens = theirs.embeddings(image)[:, 1:]
        for layer in theirs.encoder.layer:
            tokens = layer(tokens)
            tokens = tokens[0] if isinstance(tokens, tuple) else tokens
        (level,) = model.backbone.eval()(grown)
    torch.testing.assert_close(level.flatten(2).transpose(1, 2), tokens, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("old", [8, 14, 16])
def test_patches_say_of_a_scaled_patch_what_they_said(old: int) -> None:
    weight, patch = torch.randn(4, 3, old, old), torch.randn(2, 3, old, old)
    scaled = F.interpolate(patch, size=(16, 16), mode="bilinear", align_corners=False)
    found = torch.einsum("bchw,ochw->bo", scaled, resample_patches(weight, 16))
    torch.testing.assert_close(found, torch.einsum("bchw,ochw->bo", patch, weight), rtol=1e-3, atol=1e-3)


def test_positions_keep_their_order() -> None:
    x = torch.arange(196.0).view(1, 196, 1)
    grid = resample_positions(torch.cat([torch.full((1, 1, 1), 1e6), x], 1), PRETRAINED)
    assert torch.equal(grid.flatten(1, 2), x)


def test_other_files_are_refused(model: MaskRCNN, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    for state, said in (
        ({"conv1.weight": torch.ones(1)}, "not a ViT of DINOv2's"),
        (published(depth=DEPTH + 4), f"is a ViT of {DEPTH + 4} blocks that has no place in one of {DEPTH}"),
        (
            {k: v for k, v in published().items() if k != "blocks.3.norm2.bias"},
            "has no 'blocks.3.norm2.bias'",
        ),
        (published() | {"pos_embed": torch.ones(1, 8, WIDTH)}, "do not fit one another"),
    ):
        torch.save(state, path)
        with pytest.raises(UserError, match=said):
            load_trunk(model, path)
