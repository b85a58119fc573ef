"""Frames of a source, read ahead by a child process while others are looked at.

A file waits until its frames are taken. A live source does not: of a camera or stream the oldest frame that
waits is dropped for a new one. What hangs is killed; a live source that is lost is connected to again.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from maskrcnn.errors import DataError, UserError
from maskrcnn.images.read import ValueRange, read_image
from maskrcnn.video.pipe import end_child, receive, start_child
from maskrcnn.video.source import Source

LIVE_BASE = Fraction(1, 90_000)  # seconds of a tick
HANGS, LIVE_HANGS = 30.0, 10.0  # seconds without a frame after which a decoder is killed
GIVEN_UP = 60.0  # seconds after which a live source that is lost is given up
WAIT = 1.0  # seconds before a process that has died gives way to another


@dataclass(frozen=True)
class SourceFrame:
    """A frame as the source has it."""

    number: int  # from 0; counts dropped ones too
    seconds: float  # after the first frame
    ticks: int  # the same in units of the reader's `time_base`
    pixels: np.ndarray  # uint8 (H, W, C)
    gap: tuple[float, float] | None = None  # seconds: from when to when a live source was lost before it


class FrameReader:
    """Reads a source in the background from the first `take` on."""

    def __init__(
        self,
        source: Source,
        *,
        ahead: int = 8,
        hangs: float = HANGS,
        given_up: float = GIVEN_UP,
        channels: int = 3,
        value_range: ValueRange | None = None,
    ) -> None:
        """
        Args:
            ahead: frames that may wait, 2 or more.
            hangs: seconds without a frame after which the decoder is killed.
            given_up: seconds after which a live source that is lost is given up.
            channels, value_range: of images, as `read_image` takes them.
        """
        self.source = source
        self.time_base = Fraction(1) / source.fps if source.kind == "images" else LIVE_BASE
        self.live = False
        self.total: int | None = len(source.images) or None  # frames, about
        self.unreadable: list[str] = []  # a line for each image that could not be read
        self.damaged = self.dropped = self.lost = 0  # frames of a file, frames of a live source, connections
        self.set_back = 0  # how often the time of a file goes back
        self.aspect = Fraction(1)  # of the last frame's pixels: width by height
        self._ahead, self._hangs, self._given_up = ahead, hangs, given_up
        self._form = channels, value_range
        self._waiting: deque[SourceFrame] = deque()
        self._changed = threading.Condition()
        self._done = self._closed = self._killed = False
        self._error: Exception | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        # by the monotonic clock: when the first frame of all came, and this connection's frame at its 0 s
        self._begun = self._connected = 0.0
        self._base = LIVE_BASE  # seconds of this connection's ticks
        self._last: SourceFrame | None = None
        self._before: SourceFrame | None = None  # the last of the connection before
        self._lost_since: float | None = None  # by the monotonic clock

    def take(self, most: int = 1) -> list[SourceFrame]:
        """The next frames: `most` of a file, 1 or more of a live source; fewer before the end, then none.

        Raises:
            UserError: PyAV is not installed.
            DataError: the source cannot be read, hangs, or was lost and does not come back.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        most = min(most, self._ahead)  # more never wait
        with self._changed:
            while not self._done and len(self._waiting) < (1 if self.live else most):
                if not self._changed.wait(self._longest) and self._child is not None:
                    self._killed = True
                    self._child.kill()
            if not self._waiting and self._error is not None:
                raise self._error
            taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
            self._changed.notify_all()
            return taken

    @property
    def _longest(self) -> float:
        """Seconds that a frame may take to come."""
        return min(self._hangs, LIVE_HANGS) if self.live else self._hangs

    def close(self) -> None:
        """End the decoder, whatever it does."""
        with self._changed:
            self._closed = True
            if self._child is not None:
                self._child.kill()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            error = self._read_images() if self.source.kind == "images" else self._keep_reading()
        except Exception as unexpected:  # told by `take`
            error = unexpected
        with self._changed:
            self._error, self._done = error, True
            self._changed.notify_all()

    def _read_images(self) -> Exception | None:
        for number, path in enumerate(self.source.images):
            if self._closed:
                break
            try:
                pixels = read_image(path, *self._form)
            except DataError as error:
                self.damaged += 1
                self.unreadable.append(str(error))
                continue
            self._put(SourceFrame(number, float(number * self.time_base), number, pixels))
        return None if self._last else DataError(f"{self.source.shown}: {self.unreadable[0]}")

    def _keep_reading(self) -> Exception | None:
        """Until a file ends, or a live source is given up; why it ended, where that is an error."""
        while True:
            error = self._read_by_child()
            if self._closed or not self.live or self._last is None:
                return error
            self._note_loss()
            if self._is_given_up():
                return DataError(f"{self.source.shown}: lost, and not back after {self._given_up:g} s")
            with self._changed:
                self._changed.wait_for(lambda: self._closed, WAIT)

    def _read_by_child(self) -> Exception | None:
        """Put the frames of one child there; why it ended, where that is an error."""
        address, kind = self.source.address, self.source.kind
        with self._changed:
            if self._closed:
                return None
            self._killed = False
            task = {"address": address, "kind": kind, "again": self._last is not None}
            self._child = child = start_child("decode", task)
        assert child.stdout is not None
        try:
            while (received := receive(child.stdout)) is not None:
                message, pixels = received
                if message["kind"] == "opened":
                    self._base, self._connected = Fraction(*message["time_base"]), 0.0
                    self._before = self._last
                    self.live, self.total = message["live"], message["frames"]
                    self.time_base = LIVE_BASE if self.live else self._base
                elif message["kind"] == "frame":
                    self.aspect = Fraction(*message["aspect"])
                    self._put(self._frame(message["number"], message["ticks"], pixels))
                elif message["kind"] == "lost":
                    self._note_loss()
                    if self._is_given_up():
                        return None
                elif message["kind"] == "end":
                    self.damaged, self.set_back = self.damaged + message["damaged"], message["set_back"]
                    return None
                else:
                    return self._error_of(message)
            return self._death(child)
        finally:
            with self._changed:
                self._child = None
            end_child(child)

    def _note_loss(self) -> None:
        if self._lost_since is None:
            self._lost_since = time.monotonic()

    def _is_given_up(self) -> bool:
        return self._lost_since is not None and time.monotonic() - self._lost_since > self._given_up

    def _frame(self, number: int, ticks: int, pixels: np.ndarray) -> SourceFrame:
        """A frame as this connection has it."""
        seconds = float(ticks * self._base)
        if not self.live:
            return SourceFrame(number, seconds, ticks, pixels)
        # a connection's own clock begins anew: it is set by ours when its first frame comes
        self._connected = self._connected or time.monotonic() - seconds
        now = self._connected + seconds
        if self._last is None:
            self._begun = now
        ticks = round((now - self._begun) / LIVE_BASE)
        if self._last is not None:
            ticks = max(ticks, self._last.ticks + 1)
        seconds = float(ticks * LIVE_BASE)
        before = self._before
        if before is None:
            return SourceFrame(number, seconds, ticks, pixels)
        gap = (before.seconds, seconds) if before is self._last else None
        return SourceFrame(before.number + 1 + number, seconds, ticks, pixels, gap)

    def _put(self, frame: SourceFrame) -> None:
        with self._changed:
            self._last = frame
            if self._lost_since is not None:
                self.lost, self._lost_since = self.lost + 1, None
            if self.live and len(self._waiting) >= self._ahead:
                oldest = self._waiting.popleft()
                self.dropped += 1
                if oldest.gap is not None:
                    self._waiting[0] = replace(self._waiting[0], gap=oldest.gap)
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._ahead)
            self._waiting.append(frame)
            self._changed.notify_all()

    def _error_of(self, message: dict[str, object]) -> Exception:
        line = str(message["line"])
        if self.source.kind != "camera":  # whose address is a number, as others in the line may be
            line = line.replace(self.source.address, self.source.shown)
        if message["kind"] == "error":
            return (DataError if message["code"] == DataError.exit_code else UserError)(line)
        if message["kind"] == "refused":
            return DataError(f"{self.source.shown}: {line}; check that it plays")
        return RuntimeError(f"the decoder failed:\n{line}")

    def _death(self, child: subprocess.Popen[bytes]) -> Exception:
        if self._killed:
            return DataError(
                f"{self.source.shown}: no frame for {self._longest:g} s, so the decoder was ended;"
                " check that the source is alive"
            )
        code = child.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return DataError(
            f"{self.source.shown}: the decoder {how}, for damage in the video or want of memory;"
            " convert it to MP4"
        )
