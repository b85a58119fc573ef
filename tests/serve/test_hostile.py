"""Hostile uploads are refused with 4xx in one line, take little memory, and the service goes on."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from hostile import bodies, requests
from PIL import Image
from service_thread import Served, encoded, pixels, served
from small import small_model

from maskrcnn.runtime.torch_engine import TorchEngine

MOST_MORE = 200 * 2**20  # bytes


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    runner = TorchEngine(small_model(input={"short_side": 96, "long_side": 128, "divisor": 32}))
    with served(lambda: {"small": runner}, deadline_s=60) as one:
        yield one


def on_the_wire(port: int, data: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection, method=data.split(b" ")[0].decode("latin-1"))
        answer.begin()
        return answer.status, answer.read()


def memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+)", status)
    assert found
    return int(found[1]) * 1024


def is_a_line(body: bytes) -> bool:
    """Whether a refusal is one line of JSON that tells nothing of this machine."""
    line = json.loads(body)["error"]
    return (
        body.count(b"\n") == 1
        and 5 < len(line) < 400
        and not re.search("Traceback|/(usr|tmp|work|root)/|0x", line)
    )


def test_hostile_uploads(service: Served) -> None:
    hostile, wire = list(bodies()), list(requests())
    assert len(hostile) + len(wire) >= 40
    good = encoded(pixels())
    want = service.predict(good).body
    linux = sys.platform == "linux"
    if linux:
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
        before = memory("VmRSS")
    for name, body in hostile:
        answer = service.predict(body)
        assert 400 <= answer.status < 500 and is_a_line(answer.body), (name, answer)
    for name, data in wire:
        status, body = on_the_wire(service.port, data)
        assert 400 <= status < 500 and is_a_line(body), (name, status, body)
    assert service.predict(good).body == want
    if linux:
        assert memory("VmHWM") - before < MOST_MORE
    assert service.service.accepted == service.service.answered


def test_a_jpeg_of_few_scans_is_read(service: Served) -> None:
    from hostile import scans

    assert service.predict(scans(20)).status == 200


def test_slow_heads_are_cut_off(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn.serve.server.HEADER_SECONDS", 1)
    with ExitStack() as stack:
        late = [
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=20))
            for _ in range(300)
        ]
        for one in late[::2]:
            one.sendall(b"POST /predict HTTP/1.1\r\nHost: loc")
        again = late[0]  # a second head on a connection that was answered
        again.sendall(b"alhost\r\nContent-Length: 0\r\n\r\n")
        assert b" 400 " in again.recv(20)
        again.sendall(b"POST /predict HTTP/1.1\r\nHost: loc")
        assert service.ask("GET", "/v2/health/live").status == 200
        for one in late[1:]:
            assert one.recv(1) == b""
        while again.recv(1000):
            pass


def test_a_refused_client_that_closes_reads_its_answer(service: Served) -> None:
    data = bytes(8 * 2**20)
    for close in ({"Connection": "close"}, {}):
        assert service.predict(data, "?model=none", **close).status == 404


def test_an_answer_that_nobody_reads_is_not_kept(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn.serve.server.SEND_SECONDS", 0.5)
    noise = np.random.default_rng(0).integers(0, 255, (2200, 2200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=90)
    data = file.getvalue()
    head = f"POST /predict?overlay=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    whole = len(service.ask("POST", "/predict?overlay=1", data).body)  # read at once, and whole
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", service.port))
        client.sendall(head.encode() + data)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        time.sleep(3)
        read = 0
        with suppress(ConnectionError):
            while part := client.recv(1 << 16):
                read += len(part)
    assert whole > 3_000_000 and read < whole


def test_an_overlay_that_no_jpeg_holds_is_refused(service: Served) -> None:
    file = io.BytesIO()
    Image.new("L", (16, 65_600)).save(file, "PNG")
    answer = service.predict(file.getvalue(), "?overlay=1")
    assert answer.status == 422 and b"more than a JPEG holds" in answer.body
    assert service.predict(file.getvalue()).status == 200


def test_a_shape_of_thousands_of_digits_is_a_line(service: Served) -> None:
    huge = "9" * 4000
    tensor = f'{{"name": "image", "datatype": "UINT8", "shape": [{huge}, {huge}, 3], "data": [1]}}'
    answer = service.ask("POST", "/v2/models/small/infer", f'{{"inputs": [{tensor}]}}'.encode(), {})
    assert answer.status == 400 and is_a_line(answer.body)
