"""A training that is killed at any moment and resumed ends as one that was not killed, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parent / "kill_harness.py"
SOURCE = Path(__file__).parents[2] / "src"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("trials", "kills"), [(2, 2), pytest.param(40, 4, marks=pytest.mark.slow)])
def test_a_killed_training_ends_as_if_it_had_not_been(tmp_path: Path, trials: int, kills: int) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, str(HARNESS), str(tmp_path), "0", str(trials), str(kills)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=150 * trials,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
