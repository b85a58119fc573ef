"""From an image's bytes to its answer: room in the queue, decoding, the network, encoding."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from starlette.exceptions import HTTPException

from maskrcnn.config.model import InputConfig
from maskrcnn.images.encoded import decode_image
from maskrcnn.images.read import as_pixels
from maskrcnn.instances import Instances
from maskrcnn.predict.predictor import kept_score
from maskrcnn.runtime.engine import Runner
from maskrcnn.serve.batcher import Batcher
from maskrcnn.serve.metrics import Metrics
from maskrcnn.serve.options import MOST_HELD_BYTES, MOST_PIXELS, Options

T = TypeVar("T")


class Service:
    """Models, and the way of an image through them. All but its threads belongs to one event loop."""

    def __init__(self, options: Options) -> None:
        self.options, self.metrics = options, Metrics()
        self.models: dict[str, Runner] = {}  # the first is the default; empty until they are loaded
        self.batcher = Batcher(options, self.metrics)
        self.draining = False
        self.accepted = self.answered = 0  # images since the start
        self.failed = 0  # of those answered, with an error, or not at all
        self._held = 0  # bytes of bodies
        self._threads = ThreadPoolExecutor(2, "images")
        # one batch in the network and one before it: more would only wait there, decoded
        self._decoded = asyncio.Semaphore(2 * options.max_batch)

    @property
    def ready(self) -> bool:
        """Whether a request would be accepted, but for the queue."""
        return bool(self.models) and not self.draining

    def runner(self, name: str | None) -> tuple[str, Runner]:
        """A model by its name; None: the first.

        Raises:
            HTTPException: 503 while loading or draining, 404 of another name.
        """
        if not self.ready:
            line = "the service is being stopped" if self.draining else "the models are being loaded"
            raise HTTPException(503, f"{line}; try again", {"Retry-After": "5"})
        chosen = next(iter(self.models)) if name is None else name
        if chosen not in self.models:
            raise HTTPException(404, f"there is no such model; there are: {', '.join(self.models)}")
        return chosen, self.models[chosen]

    @contextmanager
    def room(self, images: int = 1, size: int = 0) -> Iterator[None]:
        """Room in the queue for so many images, and for so many bytes of a body, until they are answered.

        Raises:
            HTTPException: 429 where there is none.
        """
        waiting = self.accepted - self.answered
        too_many = waiting + images > self.options.queue
        if too_many or self._held and self._held + size > MOST_HELD_BYTES:
            seconds = str(max(1, math.ceil(waiting * self.batcher.seconds)))
            line = f"{waiting} images are waiting, no room for {images} more; try again in {seconds} s"
            raise HTTPException(429, line, {"Retry-After": seconds})
        self.accepted += images
        self._held += size
        self.metrics.accepted.inc(images)
        try:
            yield
        except BaseException:
            self.failed += images
            raise
        finally:
            self.answered += images
            self._held -= size
            self.metrics.accepted.dec(images)

    async def predict(
        self, name: str, image: bytes | np.ndarray, score: float | None, encode: Callable[[Instances], T]
    ) -> T:
        """Find the objects in an encoded image, or in one as `as_pixels` has it; `encode` makes the answer.

        Args:
            score: as `predict` takes it.

        Raises:
            UserError: an image that is too large or cannot be used.
        """
        runner = self.models[name]
        async with self._decoded:
            pixels = self.in_thread("decode", _decoded, image, runner.config.input)
            found = await self.batcher.predict(runner, pixels, kept_score(score, runner.config))
        self.metrics.images.labels(name).inc()
        self.metrics.objects.labels(name).inc(len(found))
        return await self.in_thread("answer", encode, found)

    async def in_thread(self, stage: str, work: Callable[..., T], *given: Any) -> T:
        """Work beside the event loop, its time counted to a stage."""
        with self.metrics.stage.labels(stage).time():
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    def close(self) -> None:
        """End the threads, without what has not begun."""
        for threads in (self._threads, self.batcher.network):
            threads.shutdown(wait=False, cancel_futures=True)


def _decoded(image: bytes | np.ndarray, config: InputConfig) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return as_pixels(image, config.channels)
    return decode_image(image, config.channels, config.value_range, MOST_PIXELS)
