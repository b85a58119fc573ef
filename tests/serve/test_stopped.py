"""SIGTERM while requests come: every image that was accepted is answered, and the service ends by itself."""

from __future__ import annotations

import http.client
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from service_thread import encoded, pixels
from small import small_model

from maskrcnn.weights.store import save_model

CLIENTS = 8


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "small"
    save_model(small_model(input={"short_side": 96, "long_side": 128, "divisor": 32}), folder)
    return folder


def stopped_while_asked(weights: Path, requests: int, seed: int) -> tuple[int, int, int]:
    """Requests answered with 200, and what the service says: answered, accepted."""
    before = random.Random(seed).randrange(requests - CLIENTS)  # answers
    data = encoded(pixels())
    words = [sys.executable, "-m", "maskrcnn", "serve", str(weights), "--engine", "torch"]
    words += ["--port", "0", "--deadline", "300"]  # a machine that has much else to do
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = ""
        while not line.startswith("ready"):
            line = process.stderr.readline()
            assert line, process.wait()
        port = int(line.rsplit(":", 1)[1])
        statuses: list[int] = []
        left = iter(range(requests))

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for _ in left:
                try:
                    connection.request("POST", "/predict?score=0", data)
                    response = connection.getresponse()
                    response.read()
                    statuses.append(response.status)
                except OSError:  # not accepted: refused or closed before its head was read
                    connection.close()
                except http.client.HTTPException:
                    connection.close()

        clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        while len(statuses) < before:
            time.sleep(0.0001)
        process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        said = process.stderr.read()
        assert process.wait(30) == 0 and time.monotonic() - begin < 30
        for client in clients:
            client.join()
    finally:
        process.kill()
    assert set(statuses) <= {200, 503} and "Traceback" not in said
    found = re.search(r"stopped: (\d+) of (\d+) accepted images answered", said)
    assert found, said
    return statuses.count(200), int(found[1]), int(found[2])


@pytest.mark.parametrize(
    ("requests", "seed"),
    [(50, 0), *(pytest.param(1000, seed, marks=pytest.mark.slow) for seed in range(1, 21))],
)
def test_every_accepted_image_is_answered(weights: Path, requests: int, seed: int) -> None:
    got, answered, accepted = stopped_while_asked(weights, requests, seed)
    assert got == answered == accepted
    print(f"{got} of {requests} answered before and after SIGTERM")


SCRIPT = """import resource, time
from maskrcnn.serve.options import Options
from maskrcnn.serve.server import listen, run
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
run(Options(), listen("127.0.0.1", 0), lambda: time.sleep(60), print)
"""


def test_stopped_twice_while_it_loads_and_has_no_file_left() -> None:
    """Connections beyond the limit of open files are one line, and SIGTERM ends it with 0 whatever it does."""
    process = subprocess.Popen(
        [sys.executable, "-uc", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with ExitStack() as stack:
        stack.callback(process.kill)
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert process.stdout.readline().startswith("socket.accept() out of system resource: [Errno 24]")
        begin = time.monotonic()
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        said = process.communicate(timeout=30)
    assert process.returncode == 0 and time.monotonic() - begin < 10
    assert said == ("stopped: 0 of 0 accepted images answered\n", "")
