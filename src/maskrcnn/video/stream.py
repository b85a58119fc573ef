"""The frames of a video with what was found in each, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np

from maskrcnn.images.read import as_pixels
from maskrcnn.instances import Instances
from maskrcnn.predict.predictor import Tiles, check_batch, check_score, predict_pixels
from maskrcnn.runtime.engine import Runner
from maskrcnn.video.counting import Counter, Row
from maskrcnn.video.reader import GIVEN_UP, HANGS, FrameReader, SourceFrame
from maskrcnn.video.source import Source
from maskrcnn.video.tracker import LEAST_SCORE, Tracker
from maskrcnn.video.zones import Zone, check_size

AHEAD = 4  # frames that wait beside those of the next batch


@dataclass(frozen=True)
class Frame:
    """A frame of a video."""

    number: int  # from 0; counts dropped ones of a live source too
    seconds: float  # after the first frame, as the source says, at variable frame rates too
    pixels: np.ndarray  # uint8 (H, W, C)
    found: Instances  # with `track_ids` where they are tracked
    ticks: int  # `seconds` exactly, in units of the stream's `time_base`
    gap: tuple[float, float] | None = None  # seconds: from when to when a live source was lost before it
    counts: Sequence[Row] = ()  # of the stream's zones, up to this frame
    changed: Sequence[Row] = ()  # those of them that this frame changed


class VideoStream:
    """Frames in order: `for frame in stream`. Decoding goes on in the background; `close` ends it, as do the
    end of the loop and of a `with` block.
    """

    def __init__(
        self,
        model: Runner,
        source: Source,
        *,
        score: float = 0.5,
        batch: int = 1,
        track: bool = False,
        zones: Sequence[Zone] = (),
        tiles: Tiles = "auto",
        hangs: float = HANGS,
        given_up: float = GIVEN_UP,
    ) -> None:
        """
        Args:
            score: objects with a lower score are left out, except those that go on with a track.
            batch: frames that go through the network together; ids do not depend on it.
            track: give each object an id that it has in all frames.
            zones: lines and areas at which tracked objects are counted.
            hangs: seconds without a frame after which a decoder is killed.
            given_up: seconds after which a live source that is lost is given up.

        Raises:
            UserError: an argument out of its range; scipy is not installed and `track` is wanted.
        """
        check_batch(batch)
        check_score(score)
        config = model.config.input
        self._model, self._score, self._batch, self._tiles = model, score, batch, tiles
        self._tracker = Tracker(score=score) if track or zones else None
        self.zones, self._counter = zones, Counter(zones)
        self.reader = FrameReader(
            source,
            ahead=batch + AHEAD,
            hangs=hangs,
            given_up=given_up,
            channels=config.channels,
            value_range=config.value_range,
        )

    @property
    def time_base(self) -> Fraction:
        """Seconds of a tick; known from the first frame on."""
        return self.reader.time_base

    def __iter__(self) -> Iterator[Frame]:
        """
        Raises:
            UserError: PyAV is not installed, the model takes no such channels, or a zone lies outside.
            DataError: the source cannot be read, hangs, or was lost and does not come back.
        """
        form = self._model.config.input.channels, self._model.config.input.value_range
        # the tracker wants those too that are hidden in part, whose score is low
        least = self._score if self._tracker is None else min(self._score, LEAST_SCORE)
        first = True
        try:
            while taken := self.reader.take(self._batch):
                pixels = [as_pixels(frame.pixels, *form) for frame in taken]
                every = predict_pixels(self._model, pixels, score=least, tiles=self._tiles)
                if first:
                    check_size(self.zones, every[0].size, self.reader.source.shown)
                    first = False
                for frame, image, found in zip(taken, pixels, every, strict=True):
                    yield self._followed(frame, image, found)
        finally:
            self.close()

    def close(self) -> None:
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _followed(self, frame: SourceFrame, pixels: np.ndarray, found: Instances) -> Frame:
        """A frame with its objects' ids, without what is neither certain nor tracked, and with its counts."""
        changed: list[Row] = []
        if self._tracker is not None:
            ids = self._tracker.update(found, frame.seconds)
            found.track_ids = ids
            found = found[(found.scores >= self._score) | (ids > 0)]
            assert found.track_ids is not None
            remembered = self._tracker.remembered
            changed = self._counter.update(found, found.track_ids, frame.seconds, remembered)
        return Frame(
            frame.number,
            frame.seconds,
            pixels,
            found,
            frame.ticks,
            frame.gap,
            self._counter.rows,
            changed,
        )
