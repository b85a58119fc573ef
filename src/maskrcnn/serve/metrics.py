"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)


class Metrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.responses = Counter(
            "maskrcnn_responses",
            "Requests answered, by route and status.",
            ("route", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "maskrcnn_request_seconds",
            "From a request's head to its answer, by route.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.stage = Histogram(
            "maskrcnn_stage_seconds",
            "By stage: decode, queue, network, answer.",
            ("stage",),
            buckets=SECONDS,
            registry=registry,
        )
        self.batch = Histogram(
            "maskrcnn_batch_images",
            "Images of a forward pass.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=registry,
        )
        self.images = Counter("maskrcnn_images", "Images predicted, by model.", ("model",), registry=registry)
        self.objects = Counter("maskrcnn_objects", "Objects found, by model.", ("model",), registry=registry)
        self.accepted = Gauge("maskrcnn_accepted_images", "Accepted and not yet answered.", registry=registry)
        self.hung_up = Counter("maskrcnn_hung_up", "Clients gone before their answer.", registry=registry)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time inside to a stage."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.stage.labels(stage).observe(perf_counter() - begin)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)
