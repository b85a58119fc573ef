"""The average of weights against the recurrence it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from maskrcnn.train.ema import Average


def test_the_average_ramps_up_and_then_decays() -> None:
    net = nn.BatchNorm1d(1)
    average = Average(net, 0.5)
    expected = 1.0
    for n in range(12):
        with torch.no_grad():
            net.weight.fill_(float(n))
        average.update(net)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert average.tensors["weight"].item() == pytest.approx(expected)
    assert "num_batches_tracked" not in average.tensors


def test_applied_restores_the_weights_bit_for_bit() -> None:
    net = nn.Linear(3, 2)
    average = Average(net, 0.9)
    with torch.no_grad():
        net.weight.add_(torch.randn(2, 3))
    own = net.weight.clone()
    with average.applied(net):
        assert torch.equal(net.weight, average.tensors["weight"])
        assert not torch.equal(net.weight, own)
    assert torch.equal(net.weight, own)


def test_frozen_weights_are_not_averaged() -> None:
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    assert set(Average(net, 0.9).tensors) == {"weight"}
