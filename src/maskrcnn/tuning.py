"""Settings of the whole process that the speeds in docs/performance.md were measured with.

`maskrcnn` on the command line makes them by itself. `import maskrcnn` does not, because they also affect the
rest of the program; `optimise` does, and so can a program that calls `maskrcnn.tune()`.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import NamedTuple

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
MOST_KEPT = 2**31 - 1  # bytes at the top of the heap; the largest that the call takes

SPINS = "10000"  # turns of libgomp's waiting loop, about a hundredth of a millisecond


class Tuned(NamedTuple):
    """What `tune` could do."""

    keeps_memory: bool  # freed memory is reused; only with glibc
    threads_sleep: bool  # waiting threads go to sleep soon; only before torch is imported


def tune() -> Tuned:
    """Keep freed memory, and let threads that wait for one another sleep.

    Call it before `import torch` (`import maskrcnn` does not import it): threads read their setting when
    torch is loaded. Later it still sets the memory, which counts from then on. Calling it again changes
    nothing.

    - Memory (Linux with glibc): every tensor above 128 KiB is otherwise mapped anew, and the kernel zeroes
      its pages one fault at a time, which takes as long as RoIAlign itself. In exchange the process keeps its
      peak memory.
    - Threads (GNU's OpenMP, which PyTorch's builds for Linux bring): they wait awake for milliseconds by
      default. Where another program has one of the processors, a waiting thread then keeps it from the thread
      it waits for. It sets GOMP_SPINCOUNT, for child processes too, unless that or OMP_WAIT_POLICY is set.

    Returns:
        Which of the two is in effect; of the threads also True where the user's own setting rules.
    """
    if sys.platform != "linux":
        return Tuned(keeps_memory=False, threads_sleep=False)
    return Tuned(_keep_freed_memory(), _sleep_when_waiting())


def _keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory rather than hand it back to the kernel."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, MOST_KEPT))


def _sleep_when_waiting() -> bool:
    """Set GOMP_SPINCOUNT, unless it is set or too late; whether torch has or will have such a setting."""
    if "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ:
        return True
    if "torch" in sys.modules:
        return False
    os.environ["GOMP_SPINCOUNT"] = SPINS
    return True
