"""Ctrl-C and kill, answered at the end of a step rather than in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """While it is entered, SIGINT and SIGTERM are noted in `signal`; a second SIGINT interrupts at once.

    Within `at_once` they interrupt at once: for stretches, as an evaluation, that lose nothing by it.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.now = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        # Python lets only the main thread handle signals
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
            }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.signal is not None and number == signal.SIGINT
        self.signal = self.signal or number
        if again or self.now:
            self.leave()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Interrupt at once inside, and on entry if a signal has come already."""
        if self.signal is not None:
            self.leave()
        self.now = True
        try:
            yield
        finally:
            self.now = False

    def leave(self) -> None:
        """End the program as the signal asked: KeyboardInterrupt for Ctrl-C, exit code 143 for a kill."""
        if self.signal == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt
