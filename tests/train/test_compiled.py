"""Compiled trainings: as many graphs as there are shapes of batches, and the same training as without."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from maskrcnn.config.load import Config
from maskrcnn.config.train import TrainConfig
from maskrcnn.errors import UserError
from maskrcnn.images.batch import Batch, Targets
from maskrcnn.ops import graphs
from maskrcnn.train.checkpoint import read_state
from maskrcnn.train.compiled import CompiledForward
from maskrcnn.train.learner import Learner
from maskrcnn.train.setup import make_accelerator
from maskrcnn.train.trainer import Trainer, train
from tiny_network import TinyNetwork, tiny_config, tiny_data, tiny_network

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import noise_images, objects


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Counts graphs, and leaves out what takes long: drawing, and building code from the graphs."""
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(graphs, "BACKEND", counter)
    monkeypatch.setattr(Trainer, "_draw", lambda *_: None)
    torch._dynamo.reset()
    return counter


def batch_of(height: int, width: int, count: int = 2) -> tuple[Batch, Targets, list[str]]:
    images, sizes = noise_images(count, height, width)
    return Batch(images, sizes, torch.ones(count, 2), sizes), objects(count), ["a"] * count


def learner_of(most_graphs: int | None, **settings: Any) -> Learner:
    config = TrainConfig(batch=4, accumulate=2, clip=0.1, ema=0.5, **settings)
    return Learner(tiny_network(tiny_config()), config, make_accelerator(config), most_graphs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_that_without_compiling(precision: str, counter: Any) -> None:
    """Of two shapes in two parts, clipped: losses, the gradient's norm, weights and their average. That the
    losses of a whole network are one graph is tested in `tests/model/test_mask_rcnn.py`."""
    share = [batch_of(96, 128), batch_of(64, 96)]
    steps, learners = [], [learner_of(most, precision=precision) for most in (None, 2)]
    for learner in learners:
        steps.append([learner.step(share, number + 1, 0.01, lambda: False) for number in range(2)])
    assert counter.frame_count == 2 and len(steps[1][0].notes) == 2 and not steps[1][1].notes
    assert steps[1][0].notes[0].startswith("compiled graph 1 of at most 2 in ")
    # in bf16 another order of the same sums rounds otherwise
    limit = {"rtol": 1e-4, "atol": 1e-5} if precision == "fp32" else {"rtol": 2e-2, "atol": 2e-3}
    for plain, own in zip(*steps, strict=True):
        torch.testing.assert_close(own.figures, plain.figures, **limit)  # losses and the gradient's norm
    states = [learner.state_dict() for learner in learners]
    for key in ("model", "average"):
        torch.testing.assert_close(states[1][key], states[0][key], **limit)


def test_one_graph_more_than_were_announced_is_an_error(counter: Any) -> None:
    network = tiny_network(tiny_config())
    forward = CompiledForward(network, most=3, cuda_graphs=False)
    for turn in range(2):
        for number, width in enumerate((64, 96, 128), 1):
            batch, targets, _ = batch_of(64, width)
            network(batch.images, batch.sizes, targets)
            assert forward.is_new(batch.images, targets) == (turn == 0)
            assert counter.frame_count == (number if turn == 0 else 3)
    network(batch.images[..., :32], batch.sizes)  # to find is not compiled
    assert counter.frame_count == 3
    batch, targets, _ = batch_of(64, 160)
    with pytest.raises(UserError, match="compiling failed: FailOnRecompileLimitHit"):
        network(batch.images, batch.sizes, targets)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def run_tiny(run: Path, config: Config, **options: Any) -> dict[str, Any]:
    options.setdefault("network", tiny_network(config))
    train(config, tiny_data(), tiny_data("val"), run, **options)
    return read_state(run / "state.pt")


def test_a_killed_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], counter: Any
) -> None:
    """With an average, accumulated parts, clipping, evaluations between, and bf16."""
    config = tiny_config(compile=True, ema=0.9, accumulate=2, precision="bf16")
    whole = run_tiny(tmp_path / "whole", config)
    told = capsys.readouterr().out
    assert "batches are padded to 64 x 64, with 32, 128, ... object slots an image; at most 4 graphs" in told
    assert counter.frame_count == told.count("compiled graph 1 of at most 4") == 1
    step = Trainer._step

    def stepped(self: Trainer, share: Any) -> None:
        step(self, share)
        if self.progress.iteration == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stepped)
        with pytest.raises(SystemExit):
            run_tiny(tmp_path / "parts", config)
    parts = run_tiny(tmp_path / "parts", config, resume=True, network=TinyNetwork(config.model))
    for key in ("model", "optimizer", "average", "random"):
        assert same(whole[key], parts[key]), key


def test_auto_does_not_compile_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str], counter: Any) -> None:
    run_tiny(tmp_path / "auto", tiny_config())
    assert "compiled graph" not in capsys.readouterr().out and counter.frame_count == 0


def test_a_compiler_that_fails_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise ValueError("no compiler here")

    monkeypatch.setattr(graphs, "BACKEND", broken)
    with pytest.raises(UserError, match="compiling failed: .*no compiler here.*set train.compile=false"):
        run_tiny(tmp_path / "true", tiny_config(compile=True))


def test_gradients_scaled_for_fp16_are_those_without_compiling(counter: Any) -> None:
    """What fp16 does on a GPU, by autocast and a scaler: here on a CPU, which has no training in it."""
    gradients = []
    for compiles in (False, True):
        network, scaler = tiny_network(tiny_config()), torch.amp.GradScaler("cpu", init_scale=256.0)
        if compiles:
            CompiledForward(network, most=1, cuda_graphs=False)
        batch, targets, _ = batch_of(64, 64)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        with torch.autocast("cpu", torch.float16):
            losses = network(batch.images, batch.sizes, targets)
        scaler.scale(torch.stack(list(losses.values())).sum()).backward()
        scaler.unscale_(optimizer)
        gradients.append([parameter.grad for parameter in network.parameters()])
        scaler.step(optimizer)
        scaler.update()
    assert counter.frame_count == 1
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-4)
