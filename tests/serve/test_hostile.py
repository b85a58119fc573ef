"""Hostile uploads are refused with 4xx in one line, take little memory, and the service goes on."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hostile import bodies, requests
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
