"""The queue before the network, and the one thread that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from maskrcnn.images.batch import batches_of_one_shape
from maskrcnn.instances import Instances
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.engine import Runner
from maskrcnn.serve.metrics import Metrics
from maskrcnn.serve.options import Options


class Abandoned(Exception):
    """Nobody waits for this image any more."""


@dataclass(eq=False)
class Job:
    """An image that waits for the network."""

    runner: Runner
    pixels: np.ndarray  # uint8 (H, W, C)
    score: float
    answer: asyncio.Future[Instances] = field(default_factory=asyncio.Future)
    since: float = field(default_factory=perf_counter)


class Batcher:
    """Images go through the network in the order they came, those that can together.

    A batch waits `max_wait_ms` for more, and only while images are being decoded: a single client never
    waits. A job whose future is done (its client has gone, its time is over) is dropped.
    """

    def __init__(self, options: Options, metrics: Metrics) -> None:
        self._options, self._metrics = options, metrics
        self._waiting: list[Job] = []
        self._coming = 0
        self._changed = asyncio.Event()
        self.network = ThreadPoolExecutor(1, "network")
        self.seconds = 0.1  # that an image takes, a running mean

    async def predict(self, runner: Runner, pixels: Awaitable[np.ndarray], score: float) -> Instances:
        """What `predict_pixels` finds in one image with tiles="auto", once it is decoded."""
        self._coming += 1
        try:
            job = Job(runner, await pixels, score)
            self._waiting.append(job)
        finally:
            self._coming -= 1
            self._changed.set()
        return await job.answer

    async def run(self) -> None:
        """Serve the queue until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            jobs = await self._next()
            begin = perf_counter()
            found: Sequence[Instances | Exception]
            try:
                found = await loop.run_in_executor(self.network, _predict, jobs)
            except Exception as error:  # noqa: BLE001 - each client's own request tells it
                found = [error] * len(jobs)
            seconds = perf_counter() - begin
            self.seconds += 0.1 * (seconds / len(jobs) - self.seconds)
            self._metrics.stage.labels("network").observe(seconds)
            self._metrics.batch.observe(len(jobs))
            for job, one in zip(jobs, found, strict=True):
                self._metrics.stage.labels("queue").observe(begin - job.since)
                if not job.answer.done():
                    if isinstance(one, Exception):
                        job.answer.set_exception(one)
                    else:
                        job.answer.set_result(one)
            del jobs, found  # the pixels, while the next is waited for

    async def _next(self) -> list[Job]:
        """The jobs of the next forward pass, taken off the queue."""
        while True:
            self._changed.clear()
            self._waiting = [job for job in self._waiting if not job.answer.done()]
            wait = None
            if self._waiting:
                jobs = self._alike()
                wait = jobs[0].since + self._options.max_wait_ms / 1000 - perf_counter()
                if len(jobs) == self._options.max_batch or wait <= 0 or not self._coming:
                    self._waiting = [job for job in self._waiting if job not in jobs]
                    return jobs
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)

    def _alike(self) -> list[Job]:
        """The first job and those that may share its forward pass."""
        first = self._waiting[0]
        alike = [job for job in self._waiting if job.runner is first.runner and job.score == first.score]
        sizes = ((job.pixels.shape[0], job.pixels.shape[1]) for job in alike)
        batches = batches_of_one_shape(sizes, first.runner.config.input, self._options.max_batch)
        return [alike[place] for place in batches[0]]


def _predict(jobs: list[Job]) -> list[Instances]:
    def progress(done: int, total: int | None) -> None:
        if all(job.answer.done() for job in jobs):
            raise Abandoned

    pixels, first = [job.pixels for job in jobs], jobs[0]
    return predict_pixels(first.runner, pixels, score=first.score, tiles="auto", progress=progress)
