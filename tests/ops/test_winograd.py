"""Winograd's algorithm gives what `conv2d` gives."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from maskrcnn.model import optimise as test_time
from maskrcnn.model.layers import ConvNorm
from maskrcnn.model.optimise import TestTimeConv
from maskrcnn.ops import matmul as products
from maskrcnn.ops import winograd
from maskrcnn.ops.winograd import transform_weights, winograd_conv


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 23),
    st.integers(1, 23),
    st.integers(1, 200),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_equals_conv2d(images, inputs, outputs, height, width, block, last, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(images, inputs, height, width, generator=generator, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last) if last else x
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(outputs, generator=generator, dtype=torch.float64) if block % 2 else None
    tiles, winograd._TILES = winograd._TILES, dict.fromkeys(winograd._TILES, block)
    try:
        found = winograd_conv(x, transform_weights(weight), bias)
    finally:
        winograd._TILES = tiles
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, padding=1), rtol=1e-10, atol=1e-10)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("onednn", [True, False])
def test_rounding_in_float32_is_small(onednn, monkeypatch):
    for module in (products, winograd):
        monkeypatch.setattr(module, "onednn_is_faster", lambda: onednn)
    torch.manual_seed(0)
    x, weight = torch.randn(1, 256, 32, 32), torch.randn(256, 256, 3, 3) / 48
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    error = (winograd_conv(x, transform_weights(weight), None) - exact).abs().max() / exact.abs().max()
    assert error < 3e-5


@pytest.mark.parametrize("norm", ["none", "frozen"])
def test_a_layer_at_test_time_is_the_layer(norm, monkeypatch):
    monkeypatch.setattr(test_time, "LEAST_CHANNELS", 4)
    monkeypatch.setattr(test_time, "LEAST_CELLS", 50)
    torch.manual_seed(0)
    layer = ConvNorm(6, 8, 3, norm=norm, activation=nn.ReLU(inplace=True))
    if norm == "frozen":
        layer.norm.running_mean.normal_()
        layer.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 6, 9, 11)
    for _ in range(2):
        expected = layer(x).detach()
        with torch.no_grad():
            torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)
            layer.conv.weight.mul_(1.5)  # a step of a training: what was prepared is out of date
            if norm == "frozen":
                layer.norm.running_mean.add_(1)


def test_winograd_is_taken_where_it_is_meant_to_be(monkeypatch):
    taken = []
    monkeypatch.setattr(test_time, "winograd_conv", lambda x, w, b: taken.append(x.shape) or winograd_conv(x, w, b))
    layer = ConvNorm(128, 128, 3)
    with torch.no_grad():
        layer(torch.randn(1, 128, 63, 64))
        ConvNorm(128, 128, 3, stride=2)(torch.randn(1, 128, 64, 64))
        ConvNorm(64, 128, 3)(torch.randn(1, 64, 64, 64))
        layer(torch.randn(1, 128, 60, 60))
    layer(torch.randn(1, 128, 63, 64))
    assert taken == [(1, 128, 63, 64)]


def test_what_was_prepared_is_not_copied_or_saved():
    layer = ConvNorm(4, 4, 3)
    with torch.no_grad():
        layer(torch.randn(1, 4, 8, 8))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert isinstance(other.test_time, TestTimeConv) and other.test_time._weight is None
    assert set(layer.state_dict()) == {"conv.weight", "conv.bias"}
