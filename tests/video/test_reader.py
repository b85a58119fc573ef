"""Frames that come through a child process: in order, from what hangs, breaks off or comes too fast."""

from __future__ import annotations

import http.server
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from clips import frame, number_in, write_clip
from PIL import Image
from rtsp_server import packets_of, rtsp_server

from maskrcnn.errors import DataError
from maskrcnn.video.reader import FrameReader, SourceFrame
from maskrcnn.video.source import Source, video_source

pytest.importorskip("av")


def reader_of(text: object, **options: Any) -> FrameReader:
    source = video_source(str(text), allow_network=True, fps=options.pop("fps", None))
    assert source is not None
    return FrameReader(source, **options)


def all_of(reader: FrameReader, most: int = 3) -> list[SourceFrame]:
    frames = []
    while taken := reader.take(most):
        frames += taken
    reader.close()
    return frames


def test_frames_of_a_file_come_in_order_with_exact_times(tmp_path: Path) -> None:
    times = [0, 7, 100, 133, 900, 901, 2000]
    reader = reader_of(write_clip(tmp_path / "clip.mp4", times=times), ahead=3)
    frames = all_of(reader)
    assert [number_in(each.pixels) for each in frames] == list(range(7)) == [each.number for each in frames]
    assert [each.ticks * reader.time_base * 1000 for each in frames] == times
    assert [each.seconds for each in frames] == [time / 1000 for time in times]
    assert (reader.live, reader.total, reader.damaged, reader.dropped) == (False, 7, 0, 0)


def test_images_are_frames_and_those_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(frame(number)).save(tmp_path / f"{number:05d}.png")
    (tmp_path / "00002.png").write_bytes(b"none")
    reader = reader_of(tmp_path / "%05d.png", fps=10)
    frames = all_of(reader)
    assert [(each.number, each.seconds) for each in frames] == [(0, 0), (1, 0.1), (3, 0.3)]
    assert reader.damaged == 1 and "00002.png" in reader.unreadable[0] and reader.time_base == Fraction(1, 10)


def test_a_decoder_that_hangs_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mp4")  # opens only when somebody writes
    reader = FrameReader(Source("file", str(tmp_path / "clip.mp4"), "clip", "clip.mp4"), hangs=1.5)
    begin = time.monotonic()
    with pytest.raises(
        DataError,
        match="clip.mp4: no frame for 1.5 s, so the decoder was ended; check that the source is alive",
    ):
        reader.take()
    assert time.monotonic() - begin < 10
    reader.close()


def test_a_decoder_that_dies_is_told_in_one_line(tmp_path: Path) -> None:
    reader = reader_of(write_clip(tmp_path / "clip.mp4", 200), ahead=2)
    reader.take(1)
    assert reader._child is not None
    os.kill(reader._child.pid, signal.SIGKILL)
    with pytest.raises(DataError, match="clip.mp4: the decoder was killed by signal 9, .*"):
        all_of(reader)
    reader.close()


def test_more_frames_than_may_wait_are_taken_in_parts(tmp_path: Path) -> None:
    reader = reader_of(write_clip(tmp_path / "clip.mp4", 7), ahead=2)
    assert [each.number for each in all_of(reader, most=5)] == list(range(7))


def test_a_close_in_the_midst_leaves_no_process(tmp_path: Path) -> None:
    reader = reader_of(write_clip(tmp_path / "clip.mp4", 200), ahead=2)
    reader.take(1)
    child = reader._child
    reader.close()
    assert child is not None and child.poll() is not None


def test_no_camera_is_one_line() -> None:
    with pytest.raises(
        DataError, match="^camera 98: cannot be opened; plug it in, or close what else uses it"
    ):
        reader_of("98").take()


@contextmanager
def server(clip: Path, *, seconds: float, port: int = 0) -> Iterator[http.server.ThreadingHTTPServer]:
    """Gives a clip to each who asks, without a length, in pieces over so many seconds; then is silent."""
    content = clip.read_bytes()
    rate = len(content) / seconds

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            try:
                for place in range(0, len(content), 1880):
                    self.wfile.write(content[place : place + 1880])
                    self.wfile.flush()
                    if served.wait(1880 / rate):
                        return
                served.wait(30)
            except OSError:
                pass

        def log_message(self, *_: Any) -> None:
            pass

    served = threading.Event()
    http.server.ThreadingHTTPServer.daemon_threads = True
    here = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=here.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield here
    finally:
        served.set()
        here.shutdown()
        here.server_close()
        thread.join()


def test_a_live_source_drops_the_oldest_frames_and_counts_them(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", 100)
    with server(clip, seconds=4) as here:
        reader = reader_of(f"http://127.0.0.1:{here.server_port}/door", ahead=3)
        (first,) = reader.take(1)[:1]
        time.sleep(1.5)  # the network is slow
        second, *_ = reader.take(1)
        assert reader.live and reader.source.name == "door"
        assert second.number > first.number + 3 and second.seconds > first.seconds
        assert reader.dropped == second.number - first.number - 1
        reader.close()


def test_a_lost_stream_comes_back_and_the_gap_is_marked(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", 250)
    with server(clip, seconds=10) as here:
        port = here.server_port
        reader = reader_of(f"http://127.0.0.1:{port}/door", ahead=3)
        reader.take()
    for _ in range(2):
        time.sleep(0.5)
        with server(clip, seconds=10, port=port):
            begin = time.monotonic()
            taken = reader.take()[0]
            while taken.gap is None:
                taken = reader.take()[0]
            assert time.monotonic() - begin < 3
            assert taken.seconds == taken.gap[1] > taken.gap[0] + 0.4
            assert reader.take()[0].number > taken.number
    assert reader.lost == 2
    reader.close()


def test_a_camera_by_rtsp_is_lost_and_comes_back(tmp_path: Path) -> None:
    frames = packets_of(write_clip(tmp_path / "clip.h264", 100, options={"bf": "0"}))
    with rtsp_server(frames) as port:
        reader = reader_of(f"rtsp://127.0.0.1:{port}/door", ahead=30)
        seen = [reader.take()[0] for _ in range(10)]
        assert reader.live and [number_in(each.pixels) for each in seen] == [each.number for each in seen]
        # RTSP's clock begins with the second frame (ffmpeg's first report)
        assert [each.seconds for each in seen[2:]] == pytest.approx(
            [seen[1].seconds + n / 25 for n in range(1, 9)], abs=0.002
        )
    time.sleep(0.5)
    with rtsp_server(frames, port=port):
        begin = time.monotonic()
        while (taken := reader.take()[0]).gap is None:
            pass
        assert time.monotonic() - begin < 3 and taken.gap[1] == taken.seconds > taken.gap[0] + 0.4
        assert number_in(taken.pixels) == 0 and reader.take()[0].number > taken.number > seen[-1].number
    reader.close()


def test_a_stream_that_does_not_come_back_is_given_up(tmp_path: Path) -> None:
    with server(write_clip(tmp_path / "clip.ts", 250), seconds=10) as here:
        reader = reader_of(f"http://user:secret@127.0.0.1:{here.server_port}/door", given_up=0.5)
        reader.take()
    with pytest.raises(DataError, match="door: lost, and not back after 0.5 s") as error:
        all_of(reader)
    assert "secret" not in str(error.value)
    unknown = reader_of("http://user:secret@127.0.0.1:9/door")
    with pytest.raises(DataError, match="door: cannot be read as a video: .*; check the address") as error:
        unknown.take()
    assert "secret" not in str(error.value)
