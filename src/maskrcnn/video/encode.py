"""Annotated frames as an MP4 with the source's timing and audio."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.video.decode import EXTRA, FILE_FORMATS
from maskrcnn.video.drawing import receive_frame

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer

ENCODERS = ("libx264", "libopenh264", "mpeg4")  # the first that is there
OPTIONS = {
    # without B-frames no frame is written out of order, so times are as they were
    "libx264": {"preset": "veryfast", "crf": "21", "bf": "0", "g": "50"},
    "libopenh264": {"b": "8M", "g": "50"},
    "mpeg4": {"qscale": "3", "g": "50"},
}
# After a kill it plays up to its last seconds; at its end it becomes an ordinary MP4
GROWING = {"movflags": "hybrid_fragmented", "frag_duration": "1000000", "flush_packets": "1"}
BT709 = 1  # as libavutil numbers colour spaces
AHEAD = 2  # frames


def encode(task: dict[str, Any], inbox: IO[bytes]) -> str | None:
    """Draw and write the frames of `inbox` to a file until they end, be it that the parent was killed.

    Returns:
        The codec of the source's audio, where an MP4 cannot hold it and it is left out.

    Args:
        task: `path`; `time_base` of the frames' ticks, seconds, and `aspect` of their pixels, both as two
            whole numbers; `audio`, the file whose audio is copied, or None.

    Raises:
        OSError: the disk is full, or the file cannot be written.
        UserError: PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        raise UserError(f"{task['path']}: a video {EXTRA}") from None
    av.logging.set_level(av.logging.PANIC)
    frames = _frames(inbox)
    first = next(frames, None)
    if first is None or not first[1].size:
        return None
    with av.open(task["path"], "w", format="mp4", options=GROWING) as container:
        encoder = _Encoder(container, task, first[1])
        encoder.run(first, frames)
    return encoder.left_out


class _Encoder:
    """The streams of one file."""

    def __init__(self, container: OutputContainer, task: dict[str, Any], pixels: np.ndarray) -> None:
        import av

        name = next(each for each in ENCODERS if each in av.codecs_available)
        self._container, self._base = container, Fraction(*task["time_base"])
        stream: Any = container.add_stream(name, options=OPTIONS[name])
        # encoders take even sides only
        stream.height, stream.width = (side + side % 2 for side in pixels.shape[:2])
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.sample_aspect_ratio = Fraction(*task["aspect"])
        context.colorspace = BT709
        context.color_primaries = context.color_trc = BT709
        context.time_base = stream.time_base = self._base
        self._stream = stream
        self._audio = _Audio(container, task["audio"]) if task["audio"] else None
        self.left_out = None if self._audio is None else self._audio.left_out

    def run(self, first: tuple[int, np.ndarray], frames: Iterator[tuple[int, np.ndarray]]) -> None:
        """Write all frames with the audio beside them; to frames that were not cut off all of the audio."""
        whole, step, last = False, 0, None
        for ticks, pixels in chain([first], frames):
            if not pixels.size:
                whole = True
                break
            image = self._image(pixels)
            image.pts, image.time_base = ticks, self._base
            step, last = ticks - last if last is not None else step, ticks
            self._mux(self._stream.encode(image), step)
            if self._audio is not None:
                self._audio.copy(ticks * self._base)
        self._mux(self._stream.encode(None), step)
        if self._audio is not None and whole:
            self._audio.copy(None)

    def _mux(self, packets: list[Any], step: int) -> None:
        """Write packets; what the last frame lasts nothing says, so it is as long as the one before."""
        for packet in packets:
            packet.duration = step
            self._container.mux(packet)

    def _image(self, pixels: np.ndarray) -> VideoFrame:
        """A frame of the stream's size; a source may change its own in between."""
        import av

        odd = [(0, side % 2) for side in pixels.shape[:2]]
        image = av.VideoFrame.from_ndarray(np.pad(pixels, [*odd, (0, 0)], mode="edge"), "rgb24")
        return image.reformat(self._stream.width, self._stream.height, "yuv420p", dst_colorspace="ITU709")


class _Audio:
    """Audio packets of the source, copied as they are."""

    def __init__(self, container: OutputContainer, address: str) -> None:
        import av

        self._container = container
        options = {"format_whitelist": FILE_FORMATS, "protocol_whitelist": "file"}
        self._source: InputContainer = av.open(f"file:{address}", options=options)
        self._packets: Iterator[Packet] = iter(())
        self._next: Packet | None = None
        self.left_out: str | None = None  # the codec that does not fit
        streams = self._source.streams.audio
        if not streams:
            return
        codec = streams[0].codec_context.name
        if codec not in container.supported_codecs:
            self.left_out = codec
            return
        self._from: AudioStream = streams[0]
        self._stream: Any = container.add_stream_from_template(self._from)
        video = self._source.streams.video[0]
        begin = (video.start_time or 0) * (video.time_base or 0)  # the first frame is at 0 in the copy
        self._shift = round(begin / (self._from.time_base or Fraction(1)))
        self._last = self._end = -(2**63)  # the last packet's time in the copy, and when it ends
        self._packets = iter(self._source.demux(self._from))
        self._next = next(self._packets, None)

    def copy(self, until: Fraction | None) -> None:
        """Those that begin up to `until` seconds; None: all."""
        while (packet := self._next) is not None:
            if packet.dts is not None and packet.pts is not None:  # else it marks the end
                if packet.dts - self._shift < self._last:  # files that were joined, as of the frames
                    self._shift = packet.dts - self._end
                pts = packet.pts - self._shift
                if until is not None and pts * (packet.time_base or 0) > until:
                    return
                packet.pts, packet.dts, packet.stream = pts, packet.dts - self._shift, self._stream
                self._last, self._end = packet.dts, packet.dts + (packet.duration or 1)
                if pts >= 0:  # what is before the first frame would move all of the video
                    self._container.mux(packet)
            self._next = next(self._packets, None)


def _frames(inbox: IO[bytes]) -> Iterator[tuple[int, np.ndarray]]:
    """What `receive_frame` gives, read and drawn ahead while others are encoded; the last one has no size."""
    waiting: queue.Queue[tuple[int, np.ndarray] | Exception | None] = queue.Queue(AHEAD)

    def read() -> None:
        try:
            while (frame := receive_frame(inbox)) is not None:
                waiting.put(frame)
            waiting.put(None)
        except Exception as error:  # noqa: BLE001  # raised below
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    while (item := waiting.get()) is not None:
        if isinstance(item, Exception):
            raise item
        yield item
