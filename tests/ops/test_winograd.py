"""Winograd's algorithm gives what `conv2d` gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

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
