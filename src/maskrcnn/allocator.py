"""What a process on Linux does with memory that it has freed: keep it, because a network asks for the same again."""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
MOST_KEPT = 2**31 - 1  # bytes at the top of the heap; the largest that the call takes


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory rather than hand it back to the kernel.

    Every tensor above 128 KiB is otherwise mapped anew, and the kernel zeroes its pages one fault at a time: that takes
    as long as RoIAlign itself (docs/performance.md has the figures). Nothing changes on other systems.

    Returns:
        Whether it was done.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, MOST_KEPT))
