"""Norms: frozen is folded exactly, synchronised equals one process with all the images."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.model.build import make_backbone
from maskrcnn.model.digest import weights_digest
from maskrcnn.model.layers import ConvNorm, FrozenBatchNorm, SyncBatchNorm


def test_frozen_norm_folded_into_the_convolution_is_the_norm_after_it() -> None:
    torch.manual_seed(0)
    layer = ConvNorm(4, 8, 3, stride=2, groups=2, norm="frozen")
    assert isinstance(layer.norm, FrozenBatchNorm)
    for buffer in (layer.norm.weight, layer.norm.running_var):
        buffer.uniform_(0.5, 2)
    for buffer in (layer.norm.bias, layer.norm.running_mean):
        buffer.normal_()
    plain = nn.BatchNorm2d(8).eval()
    plain.load_state_dict(layer.norm.state_dict(), strict=False)
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(layer(x), plain(layer.conv(x)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        layer.norm(x[:, :1].expand(-1, 8, -1, -1)), plain(x[:, :1].expand(-1, 8, -1, -1))
    )


def test_synchronised_norm_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.manual_seed(0)
    # as if padded to different sizes
    parts = [torch.randn(2, 3, 4, 5), torch.randn(1, 3, 2, 5) + 1]
    torch.save(parts, tmp_path / "parts.pt")
    multiprocessing.spawn(_one_process, (port, tmp_path), nprocs=2)
    together = torch.cat([p.permute(0, 2, 3, 1).reshape(-1, 3) for p in parts]).requires_grad_()
    norm = nn.BatchNorm1d(3)
    (norm(together) ** 3).sum().backward()
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    rows = [part.permute(0, 2, 3, 1).reshape(-1, 3) for part in (r["gradient"] for r in results)]
    torch.testing.assert_close(torch.cat(rows), together.grad, rtol=1e-4, atol=1e-4)
    for result in results:
        torch.testing.assert_close(result["mean"], norm.running_mean)
        torch.testing.assert_close(result["variance"], norm.running_var)


def _one_process(rank: int, port: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    x = torch.load(folder / "parts.pt")[rank].requires_grad_()
    norm = SyncBatchNorm(3)
    (norm(x) ** 3).sum().backward()
    found = {"gradient": x.grad, "mean": norm.running_mean, "variance": norm.running_var}
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_a_frozen_part_keeps_its_statistics_too() -> None:
    torch.manual_seed(0)
    kept = make_backbone(
        ModelConfig.model_validate({"classes": ["a"], "backbone": {"kind": "mobilenetv2", "norm": "batch"}})
    )
    for name, buffer in kept.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 2)
    images = torch.randn(2, 3, 64, 64)
    expected = kept.eval()(images)
    saved = {name: value.clone() for name, value in kept.state_dict().items()}
    kept.freeze(2)
    for level, want in zip(kept(images), expected, strict=True):
        torch.testing.assert_close(level, want, rtol=1e-4, atol=1e-4)
    before = {name: value.clone() for name, value in kept.state_dict().items()}
    learning = [parameter for parameter in kept.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    sum(level.square().mean() for level in kept.train()(images)).backward()  # type: ignore[union-attr]
    optimizer.step()
    frozen = ("stem.", "stages.0.")
    for name, value in kept.state_dict().items():
        if name.startswith(frozen):
            assert torch.equal(value, before[name]), name
        elif name.endswith(("conv.weight", "running_mean")):
            assert not torch.equal(value, before[name]), name
    # what was saved before parts were frozen has counts of batches that frozen norms lack
    kept.load_state_dict(saved)
    for level, want in zip(kept.eval()(images), expected, strict=True):
        torch.testing.assert_close(level, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_of_any_precision_have_a_digest(dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2).to(dtype)
    before = weights_digest(layer)
    assert weights_digest(layer) == before
    layer.bias.data += 1
    assert weights_digest(layer) != before
