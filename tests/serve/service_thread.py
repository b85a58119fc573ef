"""A service in a thread of the test's process, and a client for it."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from maskrcnn.runtime.engine import Runner
from maskrcnn.serve.options import Options
from maskrcnn.serve.server import Running, listen


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The line of a refusal: one, without a path or a traceback."""
        assert self.body.endswith(b"\n") and self.body.count(b"\n") == 1, self.body
        line: str = self.json.pop("error")
        assert "Traceback" not in line and "site-packages" not in line and "/tmp" not in line
        return line


class Served:
    """A running service."""

    def __init__(
        self, running: Running, loop: asyncio.AbstractEventLoop, port: int, lines: list[str]
    ) -> None:
        self.service, self.port, self.lines = running.service, port, lines
        self._running, self._loop = running, loop

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._running.stop)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def predict(self, data: bytes, query: str = "", **headers: str) -> Answer:
        return self.ask("POST", f"/predict{query}", data, headers)


@contextmanager
def served(load: Callable[[], dict[str, Runner]], wait: bool = True, **options: Any) -> Iterator[Served]:
    """A service on a free port; with `wait`, once it is ready."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    started: list[Served] = []
    lines: list[str] = []
    begun = threading.Event()

    async def serve() -> None:
        running = Running(Options(**options))
        started.append(Served(running, asyncio.get_running_loop(), port, lines))
        begun.set()
        await running.answer(listener, load, lines.append)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    begun.wait()
    while wait and not started[0].service.ready:
        assert thread.is_alive(), "it ended while loading"
        time.sleep(0.01)
    try:
        yield started[0]
    finally:
        started[0].stop()
        thread.join(30)
        assert not thread.is_alive()


def form(*images: bytes, name: str = "image", file_name: str = "a.png") -> tuple[bytes, dict[str, str]]:
    """A multipart body and its headers."""
    head = f'--LINE\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n\r\n'.encode()
    body = b"".join(head + image + b"\r\n" for image in images) + b"--LINE--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=LINE"}


def pixels(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()
