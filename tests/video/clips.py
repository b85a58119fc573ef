"""Tiny videos for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

MILLISECOND = Fraction(1, 1000)


def frame(number: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Red, its upper left quarter blue, with the number in a row of bright and dark squares at the bottom."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = 200
    pixels[: height // 2, : width // 2] = (0, 0, 255)
    for bit in range(8):
        pixels[height - 16 :, 16 * bit : 16 * bit + 16] = 255 if number >> bit & 1 else 0
    return pixels


def number_in(pixels: np.ndarray) -> int:
    """The number that `frame` wrote."""
    squares = [pixels[-8, 16 * bit + 8].mean() for bit in range(8)]
    return sum(1 << bit for bit, grey in enumerate(squares) if grey > 127)


def write_clip(
    path: Path,
    frames: int = 10,
    *,
    size: tuple[int, int] = (96, 128),
    times: Sequence[int] | None = None,
    rotation: int = 0,
    aspect: int = 1,
    codec: str = "libx264",
    audio: bool | str = False,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of `frame(0)`, `frame(1)`..., shown at `times` (milliseconds), else 25 a second."""
    import av

    tick = Fraction(1, 25) if times is None else MILLISECOND
    times = list(range(frames)) if times is None else times
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = tick
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        name = "aac" if audio is True else audio
        sound: Any = container.add_stream(name, rate=16_000, layout="mono") if name else None
        for number, time in enumerate(times):
            picture = av.VideoFrame.from_ndarray(frame(number, *size), "rgb24")
            picture.pts, picture.time_base = time, tick
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None:
            for begin in range(0, int(16_000 * tick * (times[-1] + 1)), 1024):
                wave = np.sin(np.arange(begin, begin + 1024, dtype=np.float32) / 8)[None] / 2
                tone = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
                tone.sample_rate, tone.pts = 16_000, begin
                container.mux(sound.encode(tone))
            container.mux(sound.encode(None))
    return path
