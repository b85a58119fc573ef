"""The frames of a video with what was found in each, as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np

from maskrcnn.images.batch import Batch
from maskrcnn.images.regions import ArrayRegions
from maskrcnn.instances import Instances
from maskrcnn.predict.large import Tiles
from maskrcnn.predict.predictor import (
    check_batch,
    kept_score,
    open_pixels,
    predict_opened,
    whole_batches,
)
from maskrcnn.runtime.engine import Runner, device_of
from maskrcnn.video.counting import Counter, Row
from maskrcnn.video.reader import FrameReader, SourceFrame
from maskrcnn.video.source import Source
from maskrcnn.video.tracker import LEAST_SCORE, Tracker
from maskrcnn.video.zones import Zone, check_size

Ready = tuple[list[SourceFrame], list[tuple[ArrayRegions, int | None]], list[tuple[list[int], Batch]]]
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
        score: float | None = None,
        batch: int = 1,
        track: bool = False,
        zones: Sequence[Zone] = (),
        tiles: Tiles = "auto",
    ) -> None:
        """
        Args:
            score: objects with a lower score are left out, except those that go on with a track; None: the
                model's own, `test.predict_score`.
            batch: frames that go through the network together; ids do not depend on it.
            track: give each object an id that it has in all frames.
            zones: lines and areas at which tracked objects are counted.

        Raises:
            UserError: an argument out of its range; scipy is not installed and `track` is wanted.
        """
        check_batch(batch)
        config = model.config.input
        self._model, self._batch, self._tiles = model, batch, tiles
        self._score = kept_score(score, model.config)
        self._tracker = Tracker(score=self._score) if track or zones else None
        self.zones, self._counter = zones, Counter(zones)
        self.reader = FrameReader(
            source,
            ahead=batch + AHEAD,
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
        # the tracker wants those too that are hidden in part, whose score is low
        least = self._score if self._tracker is None else min(self._score, LEAST_SCORE)
        first = True
        try:
            for taken, images, batches in self._made_ready():
                every = predict_opened(self._model, images, least, [None] * len(images), batches=batches)
                if first:
                    check_size(self.zones, every[0].size, self.reader.source.shown)
                    first = False
                for frame, (image, _), found in zip(taken, images, every, strict=True):
                    yield self._followed(frame, image.pixels, found)
        finally:
            self.close()

    def _made_ready(self) -> Iterator[Ready]:
        """All frames; the next are made ready while the network runs, unless it needs the cores itself."""
        if device_of(self._model).type == "cpu":
            while (ready := self._make_ready())[0]:
                yield ready
            return
        with ThreadPoolExecutor(1, "frames") as thread:
            coming = thread.submit(self._make_ready)
            try:
                while (ready := coming.result())[0]:
                    coming = thread.submit(self._make_ready)
                    yield ready
            finally:
                self.close()  # the thread may wait for frames

    def _make_ready(self) -> Ready:
        """The next frames and what the network takes of them; none at the end."""
        taken = self.reader.take(self._batch)
        images = [open_pixels(frame.pixels, self._model.config.input, self._tiles) for frame in taken]
        return taken, images, list(whole_batches(self._model, images))

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
            tracked = self._tracker.remembered, self._tracker.first_seen
            changed = self._counter.update(found, ids, frame.seconds, *tracked)
            found.track_ids = ids
            found = found[(found.scores >= self._score) | (ids > 0)]
            # those of a low score, which the tracker alone looks at, may have been as many
            found.capped = found.capped and len(found) >= self._model.config.test.detections
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
