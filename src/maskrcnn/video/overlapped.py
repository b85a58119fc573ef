"""Work that goes on in a thread of its own, a few items behind."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
AHEAD = 4  # items that may wait; `put` waits for room


class Overlapped(Generic[Item]):
    """Does `work` with one item after the other, while the caller makes the next."""

    def __init__(self, work: Callable[[Item], None]) -> None:
        self._work = work
        self._waiting: queue.Queue[Item | None] = queue.Queue(AHEAD)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """
        Raises:
            Exception: what the work with an earlier item raised.
        """
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def close(self) -> None:
        """Waits until all is done.

        Raises:
            Exception: what the work raised.
        """
        self._waiting.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is None:  # after an error the rest is taken and left, so that nobody waits
                try:
                    self._work(item)
                except Exception as error:
                    self._error = error
