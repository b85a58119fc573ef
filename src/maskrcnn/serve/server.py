"""The process: its socket, its start, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import h11
import numpy as np
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from maskrcnn.errors import UserError
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.engine import Runner
from maskrcnn.serve.app import make_app
from maskrcnn.serve.options import DRAIN_SECONDS, HEADER_SECONDS, Options
from maskrcnn.serve.refused import error_line
from maskrcnn.serve.service import Service
from maskrcnn.stop import SIGNALS

BACKLOG = 1024
Say = Callable[[str], None]
Load = Callable[[], dict[str, Runner]]


def run(options: Options, listener: socket.socket, load: Load, say: Say) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what was accepted, within `DRAIN_SECONDS`.

    Args:
        load: the models by name, in the network's thread while the service already says that it is loading.
        say: told how it goes, in lines.

    Raises:
        UserError: the models cannot be loaded.
    """
    # Pillow warns of what is allowed; `catch_warnings` is not for threads
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

    async def serve() -> None:
        running = Running(options)
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, running.stop, number)
        await running.serve(listener, load, say)

    asyncio.run(serve())


class Running:
    """A service and its server, in one event loop."""

    def __init__(self, options: Options) -> None:
        self.service = Service(options)
        self._server = _Server(
            uvicorn.Config(
                make_app(self.service),
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_level="critical",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=int(DRAIN_SECONDS),
            )
        )

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Take no more requests, and end once those that were accepted are answered; a second Ctrl-C ends at
        once."""
        self.service.draining = True
        self._server.handle_exit(number, None)

    async def serve(self, listener: socket.socket, load: Load, say: Say) -> None:
        """Serve until `stop`.

        Raises:
            UserError: the models cannot be loaded.
        """
        start = asyncio.create_task(self._start(load, say, _address(listener)))
        batches = asyncio.create_task(self.service.batcher.run())
        serving = asyncio.create_task(self._server.serve([listener]))
        for task in (start, batches):  # a failed load, or a defect of the queue, ends the service
            task.add_done_callback(self._ended)
        await serving
        answered, accepted = self.service.answered, self.service.accepted
        say(f"stopped: {answered} of {accepted} accepted images answered")
        self.service.close()
        for task in (start, batches):
            if task.done():
                task.result()
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.stop()

    async def _start(self, load: Load, say: Say, address: str) -> None:
        say(f"loading; {address}")
        loop, network = asyncio.get_running_loop(), self.service.batcher.network
        self.service.models = await loop.run_in_executor(network, _warmed, load)
        self.service.loading = False
        say(f"ready: {', '.join(self.service.models)} at {address}")


def _warmed(load: Load) -> dict[str, Runner]:
    """The models, each after an image: the first takes longer."""
    models = load()
    for runner in models.values():
        predict_pixels(runner, [np.zeros((64, 64, runner.config.input.channels), np.uint8)])
    return models


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: no such address of this machine, or one that is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"--host {host} --port {port}: {reason}; choose another") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are taken by the event loop: a stop that was asked for is no error."""
        yield


class _Protocol(H11Protocol):
    """HTTP/1.1, with our errors, and heads that must come in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._late is not None:
            self._late.cancel()

    def _watch(self) -> None:
        """Close the connection unless the head that has begun comes in time."""
        if self.conn.their_state is not h11.IDLE:
            if self._late is not None:
                self._late.cancel()
            self._late = None
        elif self._late is None:
            self._late = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        body = error_line(msg)
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        )
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
