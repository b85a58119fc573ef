"""What a service may be told, and what nobody can change."""

from __future__ import annotations

from dataclasses import dataclass

MOST_BYTES = 32 * 2**20  # of one request's body
MOST_JSON_BYTES = 4 * 2**20  # of tensors in JSON, which take 30 times as much once they are read
MOST_PIXELS = 64_000_000  # of one image
MOST_HELD_BYTES = 512 * 2**20  # of bodies at a time
MOST_IMAGES = 32  # of one request
DRAIN_SECONDS = 28  # from SIGTERM to the end, whatever is still unanswered
SEND_SECONDS = 20.0  # for a client to take `SEND_BYTES` of an answer
SEND_BYTES = 20_000
HEADER_SECONDS = 10.0  # for a request's head to come


@dataclass(frozen=True)
class Options:
    """How a service queues and limits."""

    max_batch: int = 1  # images of one padded shape and score that share a forward pass
    max_wait_ms: float = 5.0  # that a batch waits for images that are on their way
    queue: int = 64  # images accepted and not yet answered; more are refused with 429
    deadline_s: float = 25.0  # from a request's first byte to its answer
    token: bytes | None = None  # that every request must bring, but those for health and the page
    loopback: bool = True  # reached from this machine only
