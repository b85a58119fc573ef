"""The frames of a video with what was found in each, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np

from maskrcnn.images.read import as_pixels
from maskrcnn.instances import Instances
from maskrcnn.predict.predictor import Tiles, check_batch, check_score, predict_pixels
from maskrcnn.runtime.engine import Runner
from maskrcnn.video.reader import GIVEN_UP, HANGS, FrameReader
from maskrcnn.video.source import Source
from maskrcnn.video.tracker import LEAST_SCORE, Tracker

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
        tiles: Tiles = "auto",
        hangs: float = HANGS,
        given_up: float = GIVEN_UP,
    ) -> None:
        """
        Args:
            score: objects with a lower score are left out, except those that go on with a track.
            batch: frames that go through the network together; ids do not depend on it.
            track: give each object an id that it has in all frames.
            hangs: seconds without a frame after which a decoder is killed.
            given_up: seconds after which a live source that is lost is given up.

        Raises:
            UserError: an argument out of its range; scipy is not installed and `track` is wanted.
        """
        check_batch(batch)
        check_score(score)
        config = model.config.input
        self._model, self._score, self._batch, self._tiles = model, score, batch, tiles
        self._tracker = Tracker(score=score) if track else None
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
            UserError: PyAV is not installed, or the model takes no such channels.
            DataError: the source cannot be read, hangs, or was lost and does not come back.
        """
        form = self._model.config.input.channels, self._model.config.input.value_range
        # the tracker wants those too that are hidden in part, whose score is low
        least = self._score if self._tracker is None else min(self._score, LEAST_SCORE)
        try:
            while taken := self.reader.take(self._batch):
                pixels = [as_pixels(frame.pixels, *form) for frame in taken]
                every = predict_pixels(self._model, pixels, score=least, tiles=self._tiles)
                for frame, image, found in zip(taken, pixels, every, strict=True):
                    tracked = self._tracked(found, frame.seconds)
                    yield Frame(frame.number, frame.seconds, image, tracked, frame.ticks, frame.gap)
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

    def _tracked(self, found: Instances, seconds: float) -> Instances:
        """What was found with its ids, without what is neither certain nor tracked."""
        if self._tracker is None:
            return found
        ids = self._tracker.update(found, seconds)
        found.track_ids = ids
        return found[(found.scores >= self._score) | (ids > 0)]
