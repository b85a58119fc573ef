"""A video from file to file: each stage alone, all of them overlapped, and the naive loop.

    python benchmarks/video.py [--json FILE] [--rounds N] [--frames N]
    python benchmarks/video.py --growth [--frames 10000]
    python benchmarks/video.py --kills 20

The naive loop does one thing after the other with the same decoder, encoder and drawing, in one process. The
network is a fake that sleeps for a fixed time, as a GPU takes it, and person-mobilenet on this machine's CPU,
where decoder, network and encoder share the cores. Memory is that of the process with its children, in which
what they share (libraries) counts once.

--growth: memory after frame 500 and its most from there on, of 64 x 64 pixels and a fake network that takes
no time; with more than 20 MB between the two it fails.
--kills: seconds until a stream over HTTP that was killed gives frames again.
"""

from __future__ import annotations

import http.server
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from measure import OURS, arguments, held_memory, in_words, machine
from rich.console import Console
from rich.table import Table
from torch import Tensor

from maskrcnn.config.model import InputConfig, ModelConfig
from maskrcnn.files import write_json
from maskrcnn.images.draw import draw_instances
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.engine import Runner
from maskrcnn.runtime.torch_engine import TorchEngine
from maskrcnn.tuning import tune
from maskrcnn.video.drawing import send_end, send_frame
from maskrcnn.video.pipe import end_child, receive, start_child
from maskrcnn.video.predict import predict_videos
from maskrcnn.video.reader import FrameReader
from maskrcnn.video.source import Source, video_source
from maskrcnn.weights.load import load_model

SIZE = 360, 640
OBJECTS = 5
FAKE = 0.025  # seconds of a frame
STAGES = ("decoder", "network", "drawing", "encoder", "lines")
NAIVE = "naive loop"
WARM = 20  # frames that do not count
MOST_GROWN = 20  # MB from frame 500 on


class FakeEngine:
    """Finds the same objects in each image, after a while."""

    name = "fake"
    device = torch.device("meta")  # no CPU, as a GPU

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.config = ModelConfig(
            classes=["thing"], input=InputConfig(short_side=64, long_side=128, divisor=32)
        )

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        time.sleep(self.seconds * len(images))
        corner = torch.arange(OBJECTS)[:, None] * torch.tensor([18.0, 7.0])
        boxes = torch.cat([corner, corner + torch.tensor([16.0, 30.0])], 1).expand(len(images), -1, -1)
        one = torch.ones(len(images), OBJECTS)
        return RawDetections(
            boxes, 0.9 * one, one.long() * 0, one.bool(), one[..., None, None].expand(-1, -1, 28, 28)
        )


def model_of(name: str) -> Runner:
    if name == "fake":
        return FakeEngine(FAKE)
    return TorchEngine(load_model("person-mobilenet"))


def write_clip(path: Path, frames: int, size: tuple[int, int] = SIZE, encoder: str = "libx264") -> Path:
    """Noise that moves over a gradient, which costs an encoder about what a street does."""
    rng, (height, width) = np.random.default_rng(0), size
    noise = rng.integers(0, 90, (height + 64, width + 64, 3)).astype(np.uint8)
    noise = noise.repeat(2, 0).repeat(2, 1)
    ground = np.linspace(0, 160, width).astype(np.uint8)[None, :, None]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(encoder, rate=25, options={"preset": "veryfast", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(frames):
            place = number % 60
            pixels = ground + noise[place : place + height, place : place + width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


def source_of(path: Path | str) -> Source:
    source = video_source(str(path), allow_network=True)
    assert source is not None
    return source


def naive(model: Runner, clip: Path, out: Path, clock: Clock) -> None:
    """One thing after the other."""
    with (
        av.open(str(clip)) as old,
        av.open(str(out / "clip.mp4"), "w") as new,
        (out / "clip.jsonl").open("w") as lines,
    ):
        stream: Any = new.add_stream(
            "libx264", rate=25, options={"preset": "veryfast", "crf": "21", "bf": "0"}
        )
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for number, frame in enumerate(old.decode(video=0)):
            (found,) = predict_pixels(model, [frame.to_ndarray(format="rgb24")])
            assert found.pixels is not None
            drawn = draw_instances(found.pixels, found, enlarge=False)
            new.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(drawn), "rgb24")))
            lines.write(json.dumps({"frame": number, "objects": found.to_coco(0)}) + "\n")
            clock.tick()
        new.mux(stream.encode(None))


class Clock:
    """Seconds of a frame, of those after the first `WARM`: processes have started by then."""

    def __init__(self) -> None:
        self._frames, self._begin = 0, 0.0

    def tick(self, *_: Any) -> None:
        self._frames += 1
        if self._frames == WARM:
            self._begin = time.perf_counter()

    def seconds(self) -> float:
        return (time.perf_counter() - self._begin) / (self._frames - WARM)


def stage(name: str, model: Runner, clip: Path, out: Path, frames: int, clock: Clock) -> None:
    """One of them alone, for so many frames."""
    reader = FrameReader(source_of(clip))
    if name == "decoder":
        while reader.take(1):
            clock.tick()
        return
    held = [frame.pixels for _ in range(min(frames, 60)) for frame in reader.take(1)]
    reader.close()
    (found,) = predict_pixels(model, held[:1])
    if name == "encoder":
        child = start_child("encode", {"path": str(out / "alone.mp4"), "time_base": [1, 25], "audio": None})
        assert child.stdin is not None and child.stdout is not None
        for number in range(frames):
            send_frame(child.stdin, number, held[number % len(held)], found[:0], (), ())
            clock.tick()
        send_end(child.stdin)
        receive(child.stdout)
        end_child(child)
        return
    ways: dict[str, Callable[[], Any]] = {
        "network": lambda: predict_pixels(model, held[:1]),
        "drawing": lambda: draw_instances(held[0], found, enlarge=False),
        "lines": lambda: json.dumps(found.to_coco(0)),
    }
    for _ in range(frames):
        ways[name]()
        clock.tick()


def one(way: str, network: str, clip: Path, frames: int) -> None:
    """Seconds of a frame by one way, in this process."""
    tune()
    model, clock = model_of(network), Clock()
    predict_pixels(model, [np.zeros((*SIZE, 3), np.uint8)])
    with tempfile.TemporaryDirectory() as folder:
        if way == OURS:
            for _ in predict_videos(model, [source_of(clip)], Path(folder), progress=clock.tick):
                pass
        elif way == NAIVE:
            naive(model, clip, Path(folder), clock)
        else:
            stage(way, model, clip, Path(folder), frames, clock)
        print(json.dumps({"seconds": clock.seconds()}), flush=True)


def measured(way: str, network: str, clip: Path, frames: int) -> tuple[float, int]:
    """Seconds, and the peak memory of a process of its own with its children, bytes."""
    command = [sys.executable, __file__, "--one", way, network, str(clip), "--frames", str(frames)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, held_memory(process.pid))
        time.sleep(0.2)
    assert process.stdout is not None
    return json.loads(process.stdout.read().splitlines()[-1])["seconds"], peak


def throughput(rounds: int, frames: int, out: Path | None) -> None:
    """A row for each way; every row's ratio is to ours."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", frames)
        for network in ("fake", "person-mobilenet"):
            table = Table(title=f"{frames} frames of {SIZE[1]} x {SIZE[0]}, network: {network}")
            for column in ("", "ms a frame", "times ours", "peak memory, MB"):
                table.add_column(column, justify="right")
            ways: dict[str, list[tuple[float, int]]] = {way: [] for way in (OURS, NAIVE, *STAGES)}
            for _ in range(rounds):
                for way in ways:
                    ways[way].append(measured(way, network, clip, frames))
            seconds = {way: statistics.median(each[0] for each in ways[way]) for way in ways}
            for way, taken in seconds.items():
                peak = max(each[1] for each in ways[way]) / 1e6
                table.add_row(way, f"{1e3 * taken:.1f}", f"{taken / seconds[OURS]:.2f}", f"{peak:.0f}")
            Console().print(table)
            slowest = max(STAGES, key=lambda way: seconds[way])
            share = seconds[slowest] / seconds[OURS]
            print(f"ours reaches {share:.0%} of the slowest stage alone, the {slowest}; aim: at least 95%")
            found[network] = ways
    where = machine()
    print(in_words(where))
    if out is not None:
        write_json(out, {"machine": where, "ways": found})


def growth(frames: int) -> None:
    """Memory of small frames through a network that takes no time."""
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder) / "clip.mp4", frames, (64, 64), "mpeg4")
        after: dict[int, int] = {}

        def progress(done: int, total: int | None) -> None:
            if done % 500 == 0 or done == frames:
                after[done] = held_memory("self", "Pss_Anon:")
                print(f"{done} frames: {after[done] / 1e6:.0f} MB", flush=True)

        tune()
        summaries = predict_videos(
            FakeEngine(0),
            [source_of(clip)],
            Path(folder) / "out",
            track=True,
            save=("overlay", "csv"),
            progress=progress,
        )
        begin = time.perf_counter()
        (summary,) = summaries
        took = time.perf_counter() - begin
        assert summary.frames == frames
    # the decoder may have ended before the last frame
    grown, first = (max(after.values()) - after[500]) / 1e6, after[500] / 1e6
    print(
        f"{frames} frames in {took:.0f} s: {first:.0f} MB after frame 500, {grown:+.1f} MB at most after it"
    )
    if grown > MOST_GROWN:
        sys.exit(f"memory grew by more than {MOST_GROWN} MB")


@contextmanager
def server(content: bytes, rate: float, port: int = 0) -> Iterator[int]:
    """Gives `content` without a length to each who asks, so many bytes a second; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                for place in range(0, len(content), 1880):
                    self.wfile.write(content[place : place + 1880])
                    if ended.wait(1880 / rate):
                        return
            except OSError:
                pass

        def log_message(self, *_: Any) -> None:
            pass

    ended = threading.Event()
    here = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    here.daemon_threads = True
    thread = threading.Thread(target=here.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield here.server_port
    finally:
        ended.set()
        here.shutdown()
        here.server_close()
        thread.join()


def kills(count: int) -> None:
    """Kill a stream again and again, for a second each, and wait for its frames."""
    with tempfile.TemporaryDirectory() as folder:
        content = write_clip(Path(folder) / "clip.ts", 1500, (96, 128)).read_bytes()
    rate, seconds = len(content) / 60, []
    with server(content, rate) as port:
        reader = FrameReader(source_of(f"http://127.0.0.1:{port}/door"))
        reader.take()
    for _ in range(count):
        time.sleep(1)
        with server(content, rate, port):
            begin = time.perf_counter()
            while reader.take()[0].gap is None:
                pass
            seconds.append(time.perf_counter() - begin)
    reader.close()
    print(
        f"killed {count} times: back after {np.median(seconds):.2f} s (median), {max(seconds):.2f} s (most)"
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--growth", action="store_true", help="memory over many frames")
    parser.add_argument("--kills", type=int, metavar="N", help="kill a stream so often")
    parser.add_argument(
        "--one", nargs=3, metavar=("WAY", "NETWORK", "CLIP"), help="one way (the others call this)"
    )
    options = parser.parse_args()
    if options.one:
        one(options.one[0], options.one[1], Path(options.one[2]), options.frames)
    elif options.growth or options.kills:
        growth(options.frames or 10_000) if options.growth else kills(options.kills)
        print(in_words(machine()))
    else:
        throughput(options.rounds, options.frames or 300, options.json)


if __name__ == "__main__":
    main()
