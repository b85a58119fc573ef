"""Parameter groups and learning rates, against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.train import TrainConfig
from maskrcnn.errors import UserError
from maskrcnn.model.backbone.vit import VITS, ViTSize
from maskrcnn.model.build import build
from maskrcnn.train.optimizer import (
    make_optimizer,
    parameter_groups,
    peak_rate,
    rate_at,
    set_rate,
    warmup_iterations,
)
from maskrcnn.train.setup import freeze_idle


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))


def test_groups_split_backbone_and_norms_and_leave_out_what_is_frozen() -> None:
    net = Net()
    net.backbone[0].bias.requires_grad_(False)
    config = TrainConfig(weight_decay=0.1, norm_weight_decay=0.0, backbone_lr_factor=0.5)
    groups = {tuple(g["names"]): (g["weight_decay"], g["multiple"]) for g in parameter_groups(net, config)}
    assert groups == {
        ("head.0.weight", "head.0.bias"): (0.1, 1.0),
        ("head.1.weight", "head.1.bias"): (0.0, 1.0),
        ("backbone.0.weight",): (0.1, 0.5),
        ("backbone.1.weight", "backbone.1.bias"): (0.0, 0.5),
    }


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_rate_reaches_each_group_by_its_multiple(kind: str) -> None:
    optimizer = make_optimizer(Net(), TrainConfig(optimizer=kind, backbone_lr_factor=0.1))  # type: ignore[arg-type]
    set_rate(optimizer, 2.0)
    assert [group["lr"] for group in optimizer.param_groups] == [2.0, 2.0, 0.2, 0.2]


def test_the_rate_scales_with_the_batch() -> None:
    assert peak_rate(TrainConfig(lr=0.02, batch=4, reference_batch=16)) == 0.005
    assert peak_rate(TrainConfig(lr=0.02, batch=4, reference_batch=16, optimizer="adamw")) == 0.01
    assert peak_rate(TrainConfig(lr=0.02, batch=4, reference_batch=16, scale_lr=False)) == 0.02


def test_step_schedule() -> None:
    config = TrainConfig(lr=1, warmup_iterations=0, step_shares=[0.5, 0.9])
    rates = [rate_at(config, i, 10) for i in (0, 4, 5, 8, 9)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_cosine_and_constant_schedules() -> None:
    cosine = TrainConfig(lr=1, warmup_iterations=0, schedule="cosine")
    assert [rate_at(cosine, i, 8) for i in (0, 4, 8)] == pytest.approx([1, 0.5, 0], abs=1e-12)
    assert rate_at(TrainConfig(lr=1, warmup_iterations=0, schedule="constant"), 7, 8) == 1


def test_warm_up_is_linear_and_at_most_half_of_the_training() -> None:
    config = TrainConfig(lr=1, warmup_iterations=4, warmup_factor=0.2, schedule="constant")
    assert [rate_at(config, i, 100) for i in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert warmup_iterations(config, 6) == 3
    assert rate_at(config, 3, 6) == 1


def test_layers_of_a_vit_learn_less_the_deeper_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Block b of n at decay ** (n - b), the embedding at decay ** (n + 1), the rest at 1 (ViTDet)."""
    monkeypatch.setitem(VITS, "vit_b", ViTSize(16, 8, 2))
    backbone = {"kind": "vit_b", "norm": "layer", "freeze": 0}
    neck = {"kind": "simple_pyramid", "channels": 8, "norm": "layer"}
    model = build(ModelConfig.model_validate({"classes": ["a"], "backbone": backbone, "neck": neck}))
    groups = parameter_groups(model, TrainConfig(layer_lr_decay=0.7, backbone_lr_factor=0.5))
    multiples = {name: group["multiple"] for group in groups for name in group["names"]}
    assert set(multiples) == {name for name, _ in model.named_parameters()}
    for name, multiple in multiples.items():
        if not name.startswith("backbone."):
            assert multiple == 1
            continue
        _, kind, *rest = name.split(".")
        block = 2 * int(rest[0]) + int(rest[1]) if kind == "stages" else -1
        assert multiple == pytest.approx(0.5 * 0.7 ** (8 - block)), name
    decays = {group["weight_decay"] for group in groups if any("norm" in name for name in group["names"])}
    assert decays == {0.0}
    assert len(parameter_groups(model, TrainConfig())) <= 4


def test_a_convolutional_network_has_no_layer_decay() -> None:
    model = build(ModelConfig.model_validate({"classes": ["a"], "backbone": {"kind": "mobilenetv2"}}))
    with pytest.raises(UserError, match="train.layer_lr_decay is for a ViT"):
        parameter_groups(model, TrainConfig(layer_lr_decay=0.7))


@pytest.mark.parametrize("idle", [{"backbone_lr_factor": 0.0}, {"only": "mask_head", "init": "model"}])
def test_the_norms_of_what_does_not_learn_stay(idle: dict[str, Any]) -> None:
    """Those of other libraries too."""
    network = nn.Module()
    network.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    network.mask_head = nn.BatchNorm2d(4)
    freeze_idle(network, TrainConfig(**idle))
    images = torch.rand(2, 3, 8, 8)
    before = network.backbone(images)
    network.mask_head(before)
    assert torch.equal(before, network.backbone(images))
    assert network.backbone[1].num_batches_tracked == 0
    assert network.mask_head.num_batches_tracked == 1
    assert [name for name, each in network.named_parameters() if each.requires_grad] == [
        "mask_head.weight",
        "mask_head.bias",
    ]
