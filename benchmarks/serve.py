"""`maskrcnn serve` on loopback beside direct calls of `predict`, and beside LitServe with the same model.

    python benchmarks/serve.py [--json FILE] [--rounds N] [--model NAME=WEIGHTS ...] [--engine auto]
                               [--litserve PYTHON] [--seconds 20] [--overload-seconds 60]

- at concurrency 1: a request, beside decoding, predicting and encoding the same bytes in a process of its
  own, in turns; what HTTP and the queue add is to be at most 3% or 5 ms, whichever is more;
- at concurrency 16: as many requests as direct predictions, in turns; 95% of the direct throughput is wanted;
- closed loop (each client asks again once it is answered) at 1, 4, 16 and 64: p50, p99, images a second;
- open loop (requests come whatever is answered) at three times what it can take: how many are answered well,
  of what 16 clients get right before and after, since a machine's speed changes, and how much memory is
  added; 90% and at most 50 MB are wanted. Beside it: what the client itself took of the processors.

PYTHON is an interpreter that has litserve and this project's packages; LitServe gets the image as a form.
The photograph is that of `maskrcnn demo`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from measure import OURS, Apart, Line, arguments, held_memory, in_turns, report, serve

DIRECT, LITSERVE = "direct", "LitServe"
CLIENTS = (1, 4, 16, 64)
SCORE = 0.5
TOGETHER = 16  # clients, beside as many direct predictions
OVERHEAD, LEAST_OVERHEAD_MS = 0.03, 5.0
START_SECONDS = 300


def photograph() -> bytes:
    """The demo's, as JPEG."""
    from PIL import Image

    from maskrcnn.cli.demo import demo_photograph

    file = io.BytesIO()
    Image.fromarray(demo_photograph()).save(file, "JPEG", quality=92)
    return file.getvalue()


def answer_directly(weights: str, engine: str) -> Callable[[list[bytes]], list[bytes]]:
    """What a request does, without HTTP and without a queue."""
    from maskrcnn.cli.common import load_runner
    from maskrcnn.images.encoded import decode_image
    from maskrcnn.predict.predictor import predict_pixels
    from maskrcnn.serve.answer import MaskForm, to_answer

    runner = load_runner(weights, "cpu", engine)

    def answer(bodies: list[bytes]) -> list[bytes]:
        found = predict_pixels(runner, [decode_image(body) for body in bodies], score=SCORE)
        return [json.dumps(to_answer(one, "model", MaskForm.rle)).encode() for one in found]

    return answer


# ---- servers


@contextmanager
def running(words: list[str], port: int, path: str) -> Iterator[int]:
    """A server; its process number once it answers."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, stderr=quiet, stdout=quiet, start_new_session=True)
    try:
        end = time.monotonic() + START_SECONDS
        while asyncio.run(_status(port, path)) != 200:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"did not start: {' '.join(words)}")
            time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        with suppress(ProcessLookupError):  # LitServe's workers go on with its queue
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# ---- clients


class Client:
    """A connection that asks the same again and again."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> int:
        """The status of one answer, 0 where there is none."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(self._request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            if b"connection: close" in head:
                self.close()
            return int(head.split(b" ", 2)[1])
        except (OSError, EOFError, ValueError):
            self.close()
            return 0

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def _status(port: int, path: str) -> int:
    client = Client(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    status = await client.ask()
    client.close()
    return status


def raw_request(body: bytes) -> bytes:
    head = f"POST /predict?score={SCORE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def form_request(body: bytes) -> bytes:
    part = b'--LINE\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    form = part + body + b"\r\n--LINE--\r\n"
    head = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=LINE\r\n"
    return f"{head}Content-Length: {len(form)}\r\n\r\n".encode() + form


async def closed_loop(
    port: int, request: bytes, clients: int, seconds: float
) -> tuple[list[float], Counter[int], float]:
    """Seconds of each good answer, statuses, seconds in all; at least one request a client."""
    taken: list[float] = []
    statuses: Counter[int] = Counter()
    begin = time.perf_counter()

    async def work() -> None:
        client = Client(port, request)
        while True:
            start = time.perf_counter()
            status = await client.ask()
            statuses[status] += 1
            if status == 200:
                taken.append(time.perf_counter() - start)
            if time.perf_counter() - begin > seconds:
                break
        client.close()

    await asyncio.gather(*(work() for _ in range(clients)))
    return taken, statuses, time.perf_counter() - begin


async def so_many(port: int, request: bytes, clients: int, count: int) -> None:
    """`count` requests by so many clients."""
    left = iter(range(count))

    async def work() -> None:
        client = Client(port, request)
        for _ in left:
            if await client.ask() != 200:
                raise SystemExit("a request was not answered")
        client.close()

    await asyncio.gather(*(work() for _ in range(clients)))


async def open_loop(
    port: int, request: bytes, rate: float, seconds: float, process: int
) -> tuple[Counter[int], list[float], int]:
    """Statuses, seconds of good answers within the time, and the most memory, at `rate` a second."""
    statuses: Counter[int] = Counter()
    taken: list[float] = []
    begin, peak, looked, asked = time.perf_counter(), 0, 0.0, set()

    async def one() -> None:
        client, start = Client(port, request), time.perf_counter()
        status = await client.ask()
        client.close()
        if time.perf_counter() - begin <= seconds:
            statuses[status] += 1
            if status == 200:
                taken.append(time.perf_counter() - start)

    number = 0
    while (now := time.perf_counter() - begin) < seconds:
        while number < now * rate:
            asked.add(task := asyncio.create_task(one()))
            task.add_done_callback(asked.discard)
            number += 1
        if now - looked > 1:  # it costs the server's processor some milliseconds
            peak, looked = max(peak, held_memory(process)), now
        await asyncio.sleep(min(0.02, 1 / rate))
    for task in list(asked):
        task.cancel()
    return statuses, taken, max(peak, held_memory(process))


# ---- what is measured


def beside_direct(name: str, port: int, request: bytes, apart: dict[int, Apart], rounds: int) -> list[Line]:
    """One request beside one direct prediction, and many beside many."""
    alone = in_turns(
        {OURS: lambda: asyncio.run(so_many(port, request, 1, 1)), DIRECT: apart[1]}, 4 * rounds, warm=2
    )
    many = in_turns(
        {OURS: lambda: asyncio.run(so_many(port, request, TOGETHER, TOGETHER)), DIRECT: apart[TOGETHER]},
        rounds,
    )
    print(f"{name}, 1 request: {alone}\n{name}, {TOGETHER} at once: {many}")
    lines = [Line(f"{name}: 1 request", alone), Line(f"{name}: {TOGETHER} at once", many, 0.95)]
    added = 1e3 * (lines[0].median(OURS) - lines[0].median(DIRECT))
    allowed = max(1e3 * OVERHEAD * lines[0].median(DIRECT), LEAST_OVERHEAD_MS)
    lines[0].notes = {"added, ms": f"{added:.1f} (at most {allowed:.1f})"}
    return lines


def under_load(
    name: str, who: str, port: int, request: bytes, seconds: float
) -> tuple[list[dict[str, Any]], float]:
    """The closed loop's figures, times 0 where no answer was good, and the most images a second."""
    rows, best = [], 0.0
    for clients in CLIENTS:
        taken, statuses, whole = asyncio.run(closed_loop(port, request, clients, seconds))
        rate = len(taken) / whole
        best = max(best, rate)
        p50, p99 = np.percentile(taken or [0.0], (50, 99)) * 1e3
        rows.append(
            {
                "model": name,
                "who": who,
                "clients": clients,
                "p50_ms": p50,
                "p99_ms": p99,
                "images_per_s": rate,
            }
        )
        print(
            f"{name}, {who}, {clients:2} clients: p50 {p50:,.0f} ms, p99 {p99:,.0f} ms,"
            f" {rate:.2f} images/s, {dict(statuses)}"
        )
    return rows, best


def overloaded(
    name: str, who: str, port: int, request: bytes, rate: float, seconds: float, process: int
) -> dict[str, Any]:
    """What a server does at three times what it can take, beside what 16 clients get beside it."""

    def closed() -> float:
        found, _, whole = asyncio.run(closed_loop(port, request, TOGETHER, min(seconds, 20)))
        return len(found) / whole

    beside = [closed()]
    before, cpu = held_memory(process), time.process_time()
    statuses, taken, peak = asyncio.run(open_loop(port, request, 3 * rate, seconds, process))
    cpu = (time.process_time() - cpu) / seconds
    if who == OURS:  # the other first answers all that nobody waits for any more
        beside.append(closed())
    good = statuses[200] / seconds / float(np.mean(beside))
    p99 = float(np.percentile(taken or [0.0], 99))
    row = {
        "model": name,
        "who": who,
        "kept": good,
        "p99_s": p99,
        "more_mb": (peak - before) / 1e6,
        "statuses": dict(statuses),
        "client_cpus": cpu,  # of the processors that the server has
        "images_per_s_beside": beside,  # in a closed loop, before and after
    }
    print(
        f"{name}, {who}, 3 x {rate:.2f}/s for {seconds:.0f} s: {good:.0%} of its throughput kept,"
        f" p99 {p99:.1f} s, {row['more_mb']:.0f} MB more, {row['statuses']}; the client took {cpu:.1%} of a"
        f" processor; {TOGETHER} clients beside it: {', '.join(f'{one:.2f}' for one in beside)} images/s"
    )
    return row


def main() -> None:
    parser = arguments(__doc__)
    add = parser.add_argument
    add("--model", action="append", metavar="NAME=WEIGHTS", help="default: fp32=person-mobilenet")
    add("--engine", default="auto")
    add("--litserve", metavar="PYTHON", help="an interpreter that has litserve")
    add("--seconds", type=float, default=20, help="of each closed loop")
    add("--overload-seconds", type=float, default=60)
    add("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    models = dict(one.split("=", 1) for one in options.model or ["fp32=person-mobilenet"])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what is cut short has told what it found
    body = photograph()
    if options.serve:
        answer = answer_directly(next(iter(models.values())), options.engine)
        serve(lambda: [answer([body]) for _ in range(int(options.serve))])
        return
    lines, loops, overloads = [], [], []
    for name, weights in models.items():
        own = ("--engine", options.engine, "--model", f"{name}={weights}")
        found = {}
        port = free_port()
        words = [sys.executable, "-m", "maskrcnn", "serve", f"model={weights}", "--engine", options.engine]
        with running([*words, "--port", str(port), "--deadline", "300"], port, "/v2/health/ready") as process:
            apart = {count: Apart(__file__, str(count), *own) for count in (1, TOGETHER)}
            lines += beside_direct(name, port, raw_request(body), apart, options.rounds)
            for each in apart.values():
                each.close()
            rows, found[OURS] = under_load(name, OURS, port, raw_request(body), options.seconds)
            loops += rows
            overloads.append(
                overloaded(
                    name, OURS, port, raw_request(body), found[OURS], options.overload_seconds, process
                )
            )
        if options.litserve:
            port = free_port()
            words = [options.litserve, str(Path(__file__).with_name("litserve_server.py")), weights]
            words += [options.engine, str(port)]
            with running(words, port, "/health") as process:
                rows, found[LITSERVE] = under_load(name, LITSERVE, port, form_request(body), options.seconds)
                loops += rows
                seconds = options.overload_seconds
                overloads.append(
                    overloaded(name, LITSERVE, port, form_request(body), found[LITSERVE], seconds, process)
                )
            print(f"{name}: throughput {found[OURS] / found[LITSERVE]:.2f} times LitServe's (aim 1.0)")
    report("maskrcnn serve", lines, options.json, closed_loop=loops, overload=overloads)


if __name__ == "__main__":
    main()
