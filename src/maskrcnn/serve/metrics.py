"""What Prometheus is told."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25)
IMAGES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        ProcessCollector(registry=own)
        count = partial(Counter, registry=own)
        timed = partial(Histogram, buckets=SECONDS, registry=own)
        self.responses = count("maskrcnn_responses", "By route and status.", ("route", "status"))
        self.seconds = timed("maskrcnn_request_seconds", "From head to answer.", ("route",))
        self.stage = timed("maskrcnn_stage_seconds", "By stage: decode, queue, network, answer.", ("stage",))
        self.batch = Histogram("maskrcnn_batch_images", "Images of a pass.", buckets=IMAGES, registry=own)
        self.images = count("maskrcnn_images", "Images predicted.", ("model",))
        self.objects = count("maskrcnn_objects", "Objects found.", ("model",))
        self.accepted = Gauge("maskrcnn_accepted_images", "Accepted, not yet answered.", registry=own)
        self.hung_up = count("maskrcnn_hung_up", "Clients gone before their answer.")
