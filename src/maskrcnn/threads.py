"""How PyTorch's threads wait for one another on a CPU: a moment awake, then asleep."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPINS = "10000"  # turns of libgomp's waiting loop, some hundredth of a millisecond


def sleep_when_waiting(environment: MutableMapping[str, str] | None = None) -> None:
    """Tell GNU's OpenMP, which PyTorch's builds for Linux bring, not to wait awake for long. Must come before torch is
    imported; what the user has set stays.

    It waits for milliseconds by default. Where another program has one of the processors, a waiting thread then keeps the
    other from the thread it waits for: a training step took 7 times as long (docs/performance.md has the figures).
    """
    environment = os.environ if environment is None else environment
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)
