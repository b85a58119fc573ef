"""Masks to RLE in processes beside a network on a GPU, which one core cannot keep busy.

A core encodes the masks of 100 to 250 images of a hundred objects a second, a GPU finds those of 300.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from maskrcnn.environment import usable_cores
from maskrcnn.masks.masks import Masks

MOST_PROCESSES = 4


@contextlib.contextmanager
def encoders(on_gpu: bool) -> Iterator[Executor | None]:
    """Processes for `encode`; None where the network needs all cores itself, or has one."""
    processes = min(MOST_PROCESSES, usable_cores() - 1) if on_gpu else 0
    if processes < 1:
        yield None
        return
    # a process that uses a GPU must not be forked
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, initializer=_end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def encode(every: Iterable[Masks | None], pool: Executor | None) -> None:
    """Encode the masks of some images, so that `Masks.rle` has them at hand.

    Args:
        pool: of `encoders`; None: here, as where its processes were killed.
    """
    masks = [one for one in every if one is not None and one.encoded is None]
    encoded = None
    if pool is not None:
        with contextlib.suppress(BrokenProcessPool):
            encoded = list(pool.map(Masks.rle, masks))
    for one, rles in zip(masks, encoded or map(Masks.rle, masks), strict=True):
        one.encoded = rles


def _end_with_parent() -> None:
    """A process ends when its parent is killed, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
