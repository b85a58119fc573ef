"""RLE made in processes beside a GPU: the same as made here, and nothing is left when the parent is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from maskrcnn.masks import encoding
from maskrcnn.masks.encoding import encode, encoders
from maskrcnn.masks.masks import Masks


def some_masks(count: int, seed: int) -> Masks:
    random = np.random.default_rng(seed)
    corners = random.uniform(-5, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 40, (count, 2))], axis=1).astype(np.float32)
    probabilities = random.random((count, 14, 14), np.float32)
    return Masks(probabilities, boxes, (70, 90), known={0: (3, 4, np.ones((2, 5), bool))} if count else {})


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "usable_cores", lambda: 3)


@pytest.mark.usefixtures("two_processes")
def test_processes_give_the_same_rle() -> None:
    every = [some_masks(count, count) for count in (5, 0, 1, 20)]
    expected = [masks.rle() for masks in every]
    with encoders(on_gpu=True) as pool:
        assert pool is not None
        encode([*every[:2], None, *every[2:]], pool)
    assert [masks.encoded for masks in every] == expected
    assert [masks.rle() for masks in every] == expected


def test_none_without_a_gpu_or_with_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    with encoders(on_gpu=False) as pool:
        assert pool is None
    monkeypatch.setattr(encoding, "usable_cores", lambda: 1)
    with encoders(on_gpu=True) as pool:
        assert pool is None


def test_encoded_masks_are_equal_and_their_parts_are_encoded_anew() -> None:
    masks, plain = some_masks(6, 1), some_masks(6, 1)
    encode([masks], None)
    assert masks == plain
    masks.rle()[0]["size"] = None  # a copy
    assert masks.rle() == plain.rle()
    assert masks[[4, 2]].rle() == plain[[4, 2]].rle()
    assert masks.enlarged(2).rle() == plain.enlarged(2).rle()


@pytest.mark.usefixtures("two_processes")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_where_the_processes_are_killed_masks_are_encoded_here(number: signal.Signals) -> None:
    with encoders(on_gpu=True) as pool:
        encode([some_masks(2, 0)], pool)
        assert pool is not None
        for process in list(pool._processes):  # type: ignore[attr-defined]
            os.kill(process, number)
        for seed in range(20):
            masks = some_masks(2, seed)
            encode([masks], pool)
            assert masks.encoded == some_masks(2, seed).rle()


SCRIPT = """
import sys, time
import numpy as np
from maskrcnn.masks import encoding
from maskrcnn.masks.masks import Masks
if __name__ == "__main__":
    encoding.usable_cores = lambda: 3
    with encoding.encoders(True) as pool:
        encoding.encode([Masks(np.ones((1, 4, 4), np.float32), np.array([[0, 0, 5, 5.0]]), (8, 8))] * 9, pool)
        print(*pool._processes, flush=True)
        time.sleep(60)
"""


def test_processes_end_with_a_parent_that_is_killed(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        numbers = [int(number) for number in parent.stdout.readline().split()]
        parent.kill()
    assert numbers
    deadline = time.monotonic() + 10
    while any(_runs(number) for number in numbers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [number for number in numbers if _runs(number)]


def _runs(number: int) -> bool:
    try:
        state = open(f"/proc/{number}/stat").read().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # one that nobody waits for is dead all the same
