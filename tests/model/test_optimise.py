"""The optimised copy of a network gives what the network gives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from small import noise_images, small_model
from test_mask_rcnn import KINDS, settings_of

from maskrcnn.model import optimise as module
from maskrcnn.model.layers import ConvNorm, FrozenBatchNorm
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.model.optimise import WinogradConv, fingerprint, optimise
from maskrcnn.ops.winograd import winograd_conv

LIMIT = 1e-3  # of a quantity's own scale, as in benchmarks/parity.py


def alike(found: RawDetections, expected: RawDetections) -> None:
    assert torch.equal(found.valid, expected.valid) and torch.equal(found.labels, expected.labels)
    for one, two in zip(found, expected, strict=True):
        if one is not None and one.dtype.is_floating_point:
            one, two = one[expected.valid], two[expected.valid]
            assert (one - two).abs().max() <= LIMIT * two.abs().max()


def spread_norms(model: nn.Module) -> None:
    """Norms that do something."""
    for norm in model.modules():
        if isinstance(norm, FrozenBatchNorm | nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.8, 1.25)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("onednn", [True, False])
def test_every_composition(kind: str, onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_CHANNELS", 4)
    monkeypatch.setattr(module, "LEAST_CELLS", 50)
    monkeypatch.setattr(module, "onednn_is_faster", lambda: onednn)
    model = small_model(**settings_of(kind)).eval()
    spread_norms(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fast = optimise(model)
    assert any(isinstance(layer, WinogradConv) for layer in fast.modules())
    assert not any(isinstance(layer, FrozenBatchNorm) for layer in fast.modules())
    images, sizes = noise_images()
    with torch.no_grad():
        alike(fast.detect(images, sizes), model.detect(images, sizes))
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    own = {tensor.data_ptr() for tensor in model.state_dict().values() if tensor.numel()}
    assert not own & {tensor.data_ptr() for tensor in fast.state_dict().values() if tensor.numel()}


def test_winograd_is_taken_where_it_is_meant_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(
        module, "winograd_conv", lambda x, w, b: taken.append(x.shape) or winograd_conv(x, w, b)
    )
    layers = nn.ModuleList([ConvNorm(128, 128, 3), ConvNorm(128, 128, 3, stride=2), ConvNorm(64, 128, 3)])
    module._replace_layers(layers)
    with torch.no_grad():
        layers[0](torch.randn(1, 128, 63, 64))
        layers[1](torch.randn(1, 128, 64, 64))
        layers[2](torch.randn(1, 64, 64, 64))
        layers[0](torch.randn(1, 128, 60, 60))
    assert taken == [(1, 128, 63, 64)]


def test_a_fingerprint_sees_every_change() -> None:
    model = small_model()
    seen = [fingerprint(model)]
    assert fingerprint(model) == seen[0]
    assert isinstance(model, MaskRCNN) and model.box_head is not None
    weight = model.box_head.fcs[0].weight
    with torch.no_grad():
        weight.data.mul_(3)
        seen.append(fingerprint(model))
        weight.data[5, 7] += 1e-3
        seen.append(fingerprint(model))
        weight.data.copy_(weight.flip(0))
        seen.append(fingerprint(model))
        model.backbone.parts()[0].norm.running_mean.data[3] += 1e-3  # type: ignore[union-attr,operator]
        seen.append(fingerprint(model))
        model.config.test.detections += 1
        seen.append(fingerprint(model))
        model.box_head.score = nn.Linear(32, 3, bias=False)
        seen.append(fingerprint(model))
    assert len(set(seen)) == len(seen)
