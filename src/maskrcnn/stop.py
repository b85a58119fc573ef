"""Ctrl-C and kill, answered at any moment: at once, or where that would lose work at the end of a step."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
AGAIN = 0.05  # seconds after which a stop that was put off, or swallowed by a library, is tried again
ALARM = getattr(signal, "SIGALRM", None)  # Windows has none


class StopRequest:
    """While it is entered, SIGINT and SIGTERM end what runs, by SystemExit with code 130 or 143.

    - In the midst of an import they wait for its end: libraries swallow what is raised there.
    - What a library swallows elsewhere is raised again.
    - With `at_once` false they are only noted in `signal`; a second SIGINT ends at once all the same.
    - Of Ctrl-C comes KeyboardInterrupt where the program around has left that to Python.

    Entered inside another one, it takes over what that had noted, and tells it what comes.
    """

    def __init__(self, at_once: bool = True) -> None:
        self.signal: int | None = None
        self.now = at_once
        self._before: dict[int, Any] = {}
        self._outer: StopRequest | None = None
        self._entered: FrameType | None = None
        self._python = False  # Ctrl-C is to be Python's KeyboardInterrupt

    def __enter__(self) -> Self:
        # Python lets only the main thread handle signals
        if threading.current_thread() is not threading.main_thread():
            return self
        self._entered = sys._getframe(1)
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        if ALARM is not None:
            self._before[ALARM] = signal.signal(ALARM, self._try_again)
        before = self._before[signal.SIGINT]
        self._python = before is signal.default_int_handler and not self.now
        self._outer = getattr(before, "__self__", None)
        if isinstance(self._outer, StopRequest):
            self.signal = self._outer.signal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before and ALARM is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._entered = None

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """End at once inside, and on entry if a signal has come already."""
        if self.signal is not None:
            self.leave()
        self.now = True
        try:
            yield
        finally:
            self.now = False

    def leave(self) -> None:
        """End the program as the signal asked."""
        if self.signal == signal.SIGINT and self._python:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED if self.signal == signal.SIGTERM else INTERRUPTED)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.signal is not None and number == signal.SIGINT
        self.signal = self.signal or number
        if isinstance(self._outer, StopRequest):
            self._outer.signal = self.signal
        if again:
            self.leave()
        if self.now:
            self._try(frame)

    def _try(self, frame: FrameType | None) -> None:
        waits = ALARM is not None and (self._importing(frame) or _unwinding())
        if ALARM is not None:
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        if not waits:
            self.leave()

    def _try_again(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and self.now:
            self._try(frame)

    def _importing(self, frame: FrameType | None) -> bool:
        """Whether an import is on the stack, since this was entered."""
        while frame is not None and frame is not self._entered:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False


def _unwinding() -> bool:
    """Whether a stop is on its way already: what it cleans up is not to be cut off."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            return True
        error = error.__context__
    return False


def end_at_once(number: int, frame: FrameType | None) -> None:
    """A signal handler for where there is nothing to clean up: before the work and after it."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    word = "terminated" if number == signal.SIGTERM else "interrupted"
    with suppress(OSError):
        os.write(2, f"maskrcnn: error: {word}\n".encode())
    os._exit(128 + number)


@contextmanager
def telling(done: Callable[[], str]) -> Iterator[None]:
    """A stop inside says in its one line what was done until then, where `done()` is not empty."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if line := done():
            stop.add_note(line)
        raise


@contextmanager
def unstopped_children() -> Iterator[None]:
    """Processes that are started inside are not ended by Ctrl-C or a kill of the whole group: their parent
    ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
