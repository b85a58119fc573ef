"""From a request's bytes to its answer: admission, decoding, the network's queue, encoding."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.images.encoded import decode_image, encoded_size
from maskrcnn.instances import Instances
from maskrcnn.runtime.engine import Runner
from maskrcnn.serve.batcher import Batcher
from maskrcnn.serve.metrics import Metrics
from maskrcnn.serve.options import MOST_HELD_BYTES, MOST_HELD_PIXELS, MOST_PIXELS, Options
from maskrcnn.serve.refused import Refused

T = TypeVar("T")


class Service:
    """Models, and the way of an image through them. All but its threads belongs to one event loop."""

    def __init__(self, options: Options) -> None:
        self.options, self.metrics = options, Metrics()
        self.models: dict[str, Runner] = {}  # the first is the default; empty until they are loaded
        self.batcher = Batcher(options, self.metrics)
        self.loading, self.draining = True, False
        self.accepted = self.answered = 0  # images since the start
        self._held = 0  # bytes of bodies
        self._threads = ThreadPoolExecutor(options.decoders, "images")
        self._room = Room(MOST_HELD_PIXELS)

    @property
    def ready(self) -> bool:
        """Whether a request would be accepted, but for the queue."""
        return not (self.loading or self.draining)

    def runner(self, name: str | None) -> tuple[str, Runner]:
        """A model by its name; None: the first.

        Raises:
            Refused: 503 while there are none, 404 of another name.
        """
        if self.loading:
            raise Refused(503, "the models are being loaded; try again", retry_after=5)
        chosen = next(iter(self.models)) if name is None else name
        if chosen not in self.models:
            raise Refused(404, f"there is no such model; there are: {', '.join(self.models)}")
        return chosen, self.models[chosen]

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Room in the queue for one image and a body of so many bytes, until the answer is there.

        Raises:
            Refused: 503 while loading or draining, 429 where the queue is full.
        """
        if self.draining:
            raise Refused(503, "the service is being stopped; try another", retry_after=5)
        if self.loading:
            raise Refused(503, "the models are being loaded; try again", retry_after=5)
        waiting = self.accepted - self.answered
        if waiting >= self.options.queue or self._held and self._held + size > MOST_HELD_BYTES:
            seconds = max(1, math.ceil(waiting * self.batcher.seconds))
            raise Refused(429, f"{waiting} images are waiting; try again in {seconds} s", retry_after=seconds)
        self._held += size
        try:
            with self._counted(1):
                yield
        finally:
            self._held -= size

    @contextmanager
    def also(self, images: int) -> Iterator[None]:
        """Room for more images of a request that is admitted already.

        Raises:
            Refused: 429 where the queue is full.
        """
        waiting = self.accepted - self.answered
        if waiting + images > self.options.queue:
            raise Refused(429, "the queue has no room for so many images; send fewer at once", retry_after=1)
        with self._counted(images):
            yield

    @contextmanager
    def _counted(self, images: int) -> Iterator[None]:
        self.accepted += images
        try:
            yield
        finally:
            self.answered += images

    async def predict_encoded(
        self, name: str, data: bytes, score: float, encode: Callable[[Instances], T]
    ) -> T:
        """Find the objects in an encoded image; `encode` makes the answer, in a thread.

        Raises:
            Refused: 413 or 422 of an image that is too large or cannot be used.
        """
        config = self.models[name].config.input
        with self.batcher.coming():
            height, width = await self._in_thread("decode", encoded_size, data, MOST_PIXELS)
        async with self._room.of(height * width):
            with self.batcher.coming():
                form = config.channels, config.value_range
                pixels = await self._in_thread("decode", decode_image, data, *form)
            return await self.predict_pixels(name, pixels, score, encode)

    async def predict_pixels(
        self, name: str, pixels: np.ndarray, score: float, encode: Callable[[Instances], T]
    ) -> T:
        """The same of an image uint8 (H, W, C), C as the model has it."""
        try:
            found = await self.batcher.predict(self.models[name], pixels, score)
        except UserError as error:
            raise Refused(422, str(error)) from None
        self.metrics.images.labels(name).inc()
        self.metrics.objects.labels(name).inc(len(found))
        return await self._in_thread("answer", encode, found)

    def close(self) -> None:
        """End the threads, without what has not begun."""
        for threads in (self._threads, self.batcher.network):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, stage: str, work: Callable[..., T], *given: Any) -> T:
        loop = asyncio.get_running_loop()
        with self.metrics.timed(stage):
            try:
                return await loop.run_in_executor(self._threads, work, *given)
            except UserError as error:
                raise Refused(422, str(error)) from None


class Room:
    """Decoded pixels that are held at a time; who finds no room waits, in turn."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def of(self, pixels: int) -> AsyncIterator[None]:
        """Room for so many; alone, an image may be larger than all of it."""
        async with self._turn:
            while self._held and self._held + pixels > self._most:
                self._freed.clear()
                await self._freed.wait()
            self._held += pixels
        try:
            yield
        finally:
            self._held -= pixels
            self._freed.set()
