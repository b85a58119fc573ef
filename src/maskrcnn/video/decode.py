"""The frames of a video with exact timestamps, upright, and a count of those that are lost to damage.

This runs in a process of its own (`child.py`): a decoder that hangs can be killed, and PyAV and OpenCV, which
on macOS bring two copies of the same library, do not meet.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn.errors import DataError, UserError

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

# that hold their frames themselves: a file may be a list of others in disguise (HLS, concat, SDP)
FILE_FORMATS = (
    "3g2,3gp,asf,av1,avi,dv,flv,gif,h264,hevc,ivf,m4a,m4v,matroska,mj2,mjpeg,mov,mp4,mpeg,mpegts,mpegvideo,"
    "mxf,nut,obu,ogg,rm,webm,yuv4mpegpipe"
)
NETWORK_FORMATS = f"{FILE_FORMATS},hls,mpjpeg,rtsp,rtp,aac,mp3"
NETWORK_PROTOCOLS = "crypto,http,httpproxy,https,rtp,rtsp,rtsps,srtp,tcp,tls,udp"
CUT_OFF = Fraction(1, 2)  # seconds that may be missing at the end of a file that is whole
HIDDEN_FRAMES = ("vp8",)  # codecs in which a packet need not be a frame that is shown
OLD_FRAMES = 16  # that a decoder may give out late, after a damaged place
EXTRA = "needs PyAV; pip install 'maskrcnn[video]'"


@dataclass(frozen=True)
class Opened:
    """What is known of a video before its first frame."""

    time_base: Fraction  # seconds of a tick
    live: bool  # it is made while it is watched: has no length
    frames: int | None  # about how many there are; None: nobody knows


@dataclass(frozen=True)
class Decoded:
    """A frame."""

    number: int  # from 0
    ticks: int  # after the first frame, in units of `time_base`; always more than the frame's before
    pixels: np.ndarray  # uint8 (H, W, 3) RGB, upright
    aspect: Fraction = Fraction(1)  # of a pixel as it is to be shown: its width by its height


class Video:
    """A video file or a stream, its frames in the order in which they are shown.

    `damaged` counts frames that are lost or visibly wrong as the decoder says, with what a cut file lacks;
    `set_back` how often the time goes back, as where files were joined: it goes on by a frame then. Both are
    complete after the last frame.
    """

    def __init__(self, address: str, *, network: bool = False) -> None:
        """
        Args:
            address: a path, or with `network` a URL.

        Raises:
            UserError: PyAV is not installed.
            DataError: no video that can be read.
        """
        self._address = address
        self._container = _open(address, network)
        try:
            self._stream: VideoStream = self._container.streams.video[0]
        except IndexError:
            raise DataError(f"{address}: has no video in it; give a file with one") from None
        self._stream.thread_type = "AUTO"
        self.damaged = self.set_back = 0
        self._packets = 0  # that should give a frame each
        # AVI has no times of presentation, and libav's guess of them is out of order where frames are: those
        # of decoding are right, one frame after the other
        self._reordered = "avi" in self._container.format.name and self._stream.codec_context.has_b_frames
        self._decoded_at: deque[int] = deque()
        base = self._stream.time_base or Fraction(1, 90_000)
        live = network and (address.startswith("rtsp") or not self._container.duration)
        rates = [self._stream.average_rate, self._stream.guessed_rate, Fraction(25)]
        # without any times the average is the demuxer's default; the guess knows what the codec says
        self._rate = next(rate for rate in rates[self._stream.start_time is None :] if rate)
        self._length = _length(self._stream, self._container.format.name)
        frames = self._listed() or (round(self._length * self._rate) if self._length else None)
        self.opened = Opened(base, live, None if live else frames)

    def __iter__(self) -> Iterator[Decoded]:
        """
        Raises:
            DataError: not one frame could be decoded.
        """
        number, last, end, interlaced = 0, -1, 0, False
        before, since = None, 0  # where the time began before it went back, and frames since then
        start = self._stream.start_time
        step = max(1, round(1 / (self._rate * self.opened.time_base)))  # of frames without a time
        for frame in self._frames():
            if self._reordered:
                frame.pts = self._decoded_at.popleft() if self._decoded_at else None
            if before is not None and frame.pts is not None and frame.pts - before >= last:
                start, before = before, None  # they were old frames of a damaged file
            since += 1
            before = before if since < OLD_FRAMES else None
            if frame.pts is not None and (start is None or not number):
                start = frame.pts if start is None else min(start, frame.pts)
            if frame.pts is None or start is None:
                last = last + step if number else 0
            else:
                if last - (frame.pts - start) > step:
                    before, since = start if before is None else before, 0
                    start = frame.pts - last - step
                    self.set_back += 1
                last = max(last + 1, frame.pts - start)
            end = max(end, last + (frame.duration or step))
            self.damaged += bool(frame.is_corrupt)
            interlaced = interlaced or frame.interlaced_frame
            yield Decoded(number, last, upright(frame), self._aspect(frame))
            number += 1
        if not number:
            raise DataError(f"{self._address}: no frame in it can be decoded; convert it to MP4")
        if not (interlaced or self._stream.codec_context.name in HIDDEN_FRAMES):
            self.damaged += max(0, max(self._packets, self._listed()) - number)
        if not self._listed() and self._length and not self.opened.live:
            missing = self._length - end * self.opened.time_base
            self.damaged += round(missing * self._rate) if missing > CUT_OFF else 0

    def close(self) -> None:
        self._container.close()

    def _aspect(self, frame: VideoFrame) -> Fraction:
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        return 1 / aspect if _is_turned(_matrix(frame)) else aspect

    def _listed(self) -> int:
        """Frames in the table of contents of an MP4 or MOV; 0 for other formats, whose tables lack some."""
        if "mov" not in self._container.format.name.split(","):
            return 0
        return sum(not entry.is_discard for entry in self._stream.index_entries)

    def _frames(self) -> Iterator[VideoFrame]:
        """Frames as the decoder gives them; what it refuses is passed over and missing from them."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:  # what follows cannot be read
                packet = None
            if self._reordered and packet is not None and packet.size and packet.dts is not None:
                self._decoded_at.append(packet.dts)
            try:
                # at the end None, for what the decoder holds back
                frames: list[Any] = self._stream.codec_context.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                frames = []
            yield from frames
            if packet is None:
                return
            self._packets += bool(packet.size) and not packet.is_discard


def _length(stream: VideoStream, format_: str) -> Fraction | None:
    """Seconds of video that the file says it has."""
    if format_ == "avi" and stream.time_base:  # its duration is a guess where the file was cut off
        return stream.frames * stream.time_base
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    # Matroska: hours, minutes and seconds at its end, which may have begun later than at 0
    parts = stream.metadata.get("DURATION", "").split(":")
    begin = (stream.start_time or 0) * (stream.time_base or 0)
    try:
        hours, minutes, seconds = (Fraction(part) for part in parts)
    except ValueError:
        return None
    return max(3600 * hours + 60 * minutes + seconds - begin, Fraction(0))


def _open(address: str, network: bool) -> InputContainer:
    try:
        import av
    except ImportError:
        raise UserError(f"{address}: a video {EXTRA}") from None
    av.logging.set_level(av.logging.PANIC)
    options = {
        "format_whitelist": NETWORK_FORMATS if network else FILE_FORMATS,
        "protocol_whitelist": NETWORK_PROTOCOLS if network else "file",
    }
    if network:
        options |= {"rtsp_transport": "tcp", "analyzeduration": "300000", "fpsprobesize": "0"}
    try:
        return av.open(address if network else f"file:{Path(address).absolute()}", options=options)
    except av.error.FFmpegError as error:
        reason = (error.strerror or str(error)).lower()
        remedy = "check the address" if network else "check that it plays, or convert it to MP4"
        raise DataError(f"{address}: cannot be read as a video: {reason}; {remedy}") from None


def upright(frame: VideoFrame) -> np.ndarray:
    """The pixels uint8 (H, W, 3) RGB as they are to be shown: phones store how they were held."""
    pixels: np.ndarray = frame.to_ndarray(format="rgb24")
    a, b, c, d = matrix = _matrix(frame)
    if _is_turned(matrix):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """libavutil/display.h: a, b, c and d, where a point (x, y) is shown at (a x + c y, b x + d y)."""
    stored: Any = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(stored, np.int32)[:5].tolist()
    return a, b, c, d


def _is_turned(matrix: tuple[int, int, int, int]) -> bool:
    """Whether rows are shown as columns."""
    return abs(matrix[1]) > abs(matrix[0])


class Camera:
    """A camera by its number, by OpenCV, whose frames come with the time at which they were there."""

    opened = Opened(Fraction(1, 90_000), live=True, frames=None)
    damaged = set_back = 0

    def __init__(self, number: int) -> None:
        """
        Raises:
            DataError: no such camera, or another program has it.
        """
        os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # it would print several lines of its own
        import cv2

        self._number = number
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise DataError(f"camera {number}: cannot be opened; plug it in, or close what else uses it")

    def __iter__(self) -> Iterator[Decoded]:
        """Until the camera gives no more.

        Raises:
            DataError: it gives nothing at all.
        """
        number, last, begin = 0, -1, 0.0
        while True:
            there, pixels = self._capture.read()
            if not there:
                break
            now = time.monotonic()
            begin = begin if number else now
            last = max(last + 1, round((now - begin) / self.opened.time_base))
            yield Decoded(number, last, np.ascontiguousarray(pixels[:, :, ::-1]))
            number += 1
        if not number:
            raise DataError(f"camera {self._number}: gives no frame; unplug it and plug it in again")

    def close(self) -> None:
        self._capture.release()
