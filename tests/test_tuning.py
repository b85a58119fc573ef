"""Freed memory is used again instead of being asked from the kernel anew; what a user has said about waiting
stays.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from maskrcnn.tuning import SPINS, tune

FAULTS = """
import resource
import numpy as np
import maskrcnn
if KEEP:
    assert maskrcnn.tune().keeps_memory
def round_():
    np.empty(64 * 2**20, np.uint8).fill(1)
round_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    round_()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc on Linux has the setting")
def test_freed_memory_is_not_mapped_anew() -> None:
    faults = {}
    for keep in (True, False):
        code = FAULTS.replace("KEEP", str(keep))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if keep and "AssertionError" in done.stderr:
            pytest.skip("this C library has no mallopt")
        assert done.returncode == 0, done.stderr
        faults[keep] = int(done.stdout)
    # 64 MB are 16,384 small pages or 32 large ones
    assert faults[True] < faults[False] / 5 and faults[True] < 30


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tune() == (False, False)


REPORT = """
import json, os, sys
print()
print(json.dumps([os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules]))
"""


def last_line(code: str, **settings: str) -> object:
    """What a fresh process, with these settings about waiting and no others, says last."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_set_about_waiting_stays() -> None:
    code = "import maskrcnn\nmaskrcnn.tune()" + REPORT
    assert last_line(code) == [SPINS, False]
    assert last_line(code, GOMP_SPINCOUNT="7") == ["7", False]
    assert last_line(code, OMP_WAIT_POLICY="active") == [None, False]


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch brings GNU's OpenMP only there")
def test_tune_says_that_it_came_too_late_for_the_threads() -> None:
    code = "import json, maskrcnn, torch\nprint(json.dumps(maskrcnn.tune().threads_sleep))"
    assert last_line(code) is False
    assert last_line(code.replace("maskrcnn, torch", "maskrcnn; maskrcnn.tune(); import torch")) is True


def test_the_command_line_tunes_before_torch_is_there() -> None:
    assert last_line("from maskrcnn.cli.main import main\nmain(['--help'])" + REPORT) == [SPINS, False]
