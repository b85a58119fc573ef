"""A training that is killed at any moment and resumed ends as one that was not killed, bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

from kill_harness import in_fork, outcome, survive


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a fork has no threads of its parent
    run = tmp_path_factory.mktemp("whole") / "run"
    assert in_fork(run) == 0
    yield outcome(run)
    torch.set_num_threads(threads)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def check(run: Path, seed: int, kills: int, whole: dict[str, Any]) -> None:
    codes = survive(run, seed, kills)
    assert set(codes) <= {0, 130, 143, -signal.SIGKILL, -signal.SIGTERM}, codes
    found = outcome(run)
    for key, value in whole.items():
        assert same(found[key], value), (seed, key, codes)
    assert not list(run.rglob("*.tmp"))


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_training_ends_as_if_it_had_not_been(
    tmp_path: Path, seed: int, whole: dict[str, Any]
) -> None:
    check(tmp_path / "run", seed, kills=2, whole=whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 150))
def test_so_it_does_after_many_kills(tmp_path: Path, seed: int, whole: dict[str, Any]) -> None:
    check(tmp_path / "run", seed, kills=4, whole=whole)
