"""Frames on their way to the process that draws on them and encodes them, which holds up no network."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import IO

import numpy as np

from maskrcnn.images.draw import draw_instances
from maskrcnn.instances import Instances
from maskrcnn.video.counting import Row
from maskrcnn.video.draw_zones import draw_zones
from maskrcnn.video.pipe import receive, send
from maskrcnn.video.zones import Zone


def send_frame(
    file: IO[bytes],
    ticks: int,
    pixels: np.ndarray,
    found: Instances,
    zones: Sequence[Zone],
    counts: Sequence[Row],
) -> None:
    """
    Args:
        pixels: uint8 (H, W, C).
        zones, counts: to be drawn too.

    Raises:
        OSError: the other end has gone.
    """
    beside = pickle.dumps((replace(found, pixels=None, path=None), zones, counts))
    send(file, {"ticks": ticks}, pixels)
    send(file, {}, np.frombuffer(beside, np.uint8))


def send_end(file: IO[bytes]) -> None:
    """Say that no frame is missing.

    Raises:
        OSError: the other end has gone.
    """
    send(file, {})


def receive_frame(file: IO[bytes]) -> tuple[int, np.ndarray] | None:
    """The ticks and pixels (H, W, 3), drawn on, of a frame; at the end pixels without a size, and then, or
    where the other end has gone, None.

    Args:
        file: from a process that this one trusts: what is drawn comes as a pickle.
    """
    first = receive(file)
    if first is None or not first[1].size:
        return first and (0, first[1])
    second = receive(file)
    if second is None:
        return None
    found, zones, counts = pickle.loads(second[1].tobytes())  # noqa: S301  # our own parent's
    drawn = np.asarray(draw_instances(first[1], found, enlarge=False))
    return first[0]["ticks"], draw_zones(drawn, zones, counts) if zones else drawn
