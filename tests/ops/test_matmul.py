"""Products of matrices are the same by either library."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from maskrcnn.ops import matmul as products
from maskrcnn.ops.matmul import arranged, grouped, linear

BOTH = pytest.mark.parametrize("onednn", [True, False])


@BOTH
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 70), st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 2**31))
def test_linear(onednn: bool, rows: int, inputs: int, outputs: int, biased: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, weight, bias = (
        torch.randn(shape, generator=generator).requires_grad_()
        for shape in ((rows, inputs), (outputs, inputs), (outputs,))
    )
    wanted = [x, weight] + [bias] * biased
    upstream = torch.randn(rows, outputs, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "onednn_is_faster", lambda: onednn)
        found = linear(x, weight, bias if biased else None)
        gradients = torch.autograd.grad(found, wanted, upstream)
    exact = F.linear(x.double(), weight.double(), bias.double() if biased else None)
    own = torch.autograd.grad(exact, wanted, upstream.double())
    assert found.shape == (rows, outputs)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(gradients, own, rtol=1e-5, atol=1e-4)


@BOTH
@pytest.mark.parametrize("shape", [(5, 3, 4, 6), (0, 2, 3, 2), (1, 36, 8, 8), (200, 36, 16, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grouped(
    onednn: bool, shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "onednn_is_faster", lambda: onednn)
    rows, groups, inputs, outputs = shape
    torch.manual_seed(0)
    x, weights = (
        torch.randn(rows, groups, inputs, dtype=dtype),
        torch.randn(groups, inputs, outputs, dtype=dtype),
    )
    expected = torch.einsum("ngc,gck->ngk", x.double(), weights.double()).to(dtype)
    for given_weights in (weights, arranged(weights)):
        torch.testing.assert_close(grouped(x, given_weights), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("vendor", "capability", "expected"),
    [
        ("vendor_id\t: AuthenticAMD\n", "AVX512", True),
        ("vendor_id\t: AuthenticAMD\n", "AVX2", False),
        ("vendor_id\t: GenuineIntel\n", "AVX512", False),
        ("CPU implementer\t: 0x41\n", "DEFAULT", False),
    ],
)
def test_only_on_amd_with_avx512(
    vendor: str, capability: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(Path, "read_text", lambda self: "processor\t: 0\n" + vendor)
    assert products.onednn_is_faster.__wrapped__() is expected


def test_where_there_is_no_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(Path, "read_text", missing)
    name = "AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD"
    monkeypatch.setattr(products.platform, "processor", lambda: name)
    assert products.onednn_is_faster.__wrapped__()
