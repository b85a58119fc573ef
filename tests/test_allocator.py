"""Freed memory is used again instead of being asked from the kernel anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from maskrcnn.allocator import keep_freed_memory
if KEEP:
    assert keep_freed_memory()
def round_():
    np.empty(64 * 2**20, np.uint8).fill(1)
round_()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    round_()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc on Linux has the setting")
def test_freed_memory_is_not_mapped_anew():
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


def test_other_systems_are_left_alone(monkeypatch):
    from maskrcnn.allocator import keep_freed_memory

    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
