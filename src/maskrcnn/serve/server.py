"""The process: its socket, its start, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import h11
import numpy as np
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from maskrcnn.errors import UserError
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.engine import Runner
from maskrcnn.serve.app import make_app
from maskrcnn.serve.guard import refusal
from maskrcnn.serve.options import DRAIN_SECONDS, HEADER_SECONDS, SEND_BYTES, SEND_SECONDS, Options
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
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

    async def serve() -> None:
        running = Running(options)
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, running.stop, number)
        await running.answer(listener, load, say)

    asyncio.run(serve())
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        os._exit(0)  # Python would wait for a model that is being loaded, or for a forward pass


class Running(uvicorn.Server):
    """A service and its server, in one event loop."""

    def __init__(self, options: Options) -> None:
        self.service = Service(options)
        config = uvicorn.Config(
            make_app(self.service),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are taken by the event loop: a stop that was asked for is no error."""
        yield

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Take no more requests, and end once those that were accepted are answered; a second Ctrl-C ends at
        once."""
        self.service.draining = True
        self.handle_exit(number, None)

    async def answer(self, listener: socket.socket, load: Load, say: Say) -> None:
        """Serve until `stop`.

        Raises:
            UserError: the models cannot be loaded.
        """
        told: set[str] = set()

        def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            """Once, where asyncio has a traceback for each connection for which it has no file left."""
            line = f"{context['message']}: {context.get('exception')}"
            if not isinstance(context.get("exception"), OSError):
                loop.default_exception_handler(context)
            elif line not in told:
                told.add(line)
                say(line)

        asyncio.get_running_loop().set_exception_handler(tell)
        tasks = [asyncio.create_task(self.service.batcher.run())]
        tasks.append(asyncio.create_task(self._start(load, say, listener)))

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self.stop()

        for task in tasks:  # a failed load, or a defect of the queue, ends the service
            task.add_done_callback(ended)
        await self.serve([listener])
        answered, failed = self.service.answered - self.service.failed, self.service.failed
        others = f", {failed} refused or given up" if failed else ""
        say(f"stopped: {answered} of {self.service.accepted} accepted images answered{others}")
        self.service.close()
        for task in tasks:
            if task.done():
                task.result()
            task.cancel()

    async def _start(self, load: Load, say: Say, listener: socket.socket) -> None:
        def warmed() -> dict[str, Runner]:
            models = load()
            for runner in models.values():  # the first image takes longer
                predict_pixels(runner, [np.zeros((64, 64, runner.config.input.channels), np.uint8)])
            return models

        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        say(f"loading; {address}")
        network = self.service.batcher.network
        self.service.models = await asyncio.get_running_loop().run_in_executor(network, warmed)
        say(f"ready: {', '.join(self.service.models)} at {address}")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: no such address of this machine, or one that is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # its connections inherit it: an answer's body would wait 40 ms for the client's word on its head
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"--host {host} --port {port}: {reason}; choose another") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    with contextlib.suppress(ValueError):
        return host == "localhost" or ip_address(host).is_loopback
    return False


class _Protocol(H11Protocol):
    """HTTP/1.1, with our errors; heads must come, and answers be taken, in time."""

    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._await_reader(self._unsent())

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _unsent(self) -> int:
        """Bytes that the client has not got, those that the system holds too where it tells (Linux).

        It takes megabytes at a time, so ours alone go down in steps.
        """
        held = bytearray(4)
        with contextlib.suppress(ImportError, OSError, AttributeError):
            from fcntl import ioctl
            from termios import TIOCOUTQ

            ioctl(self.transport.get_extra_info("socket").fileno(), TIOCOUTQ, held)
        return self.transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    def _await_reader(self, unread: int) -> None:
        """Close the connection where hardly less is unread by then."""

        def look() -> None:
            now = self._unsent()
            if now > unread - SEND_BYTES:
                self.transport.abort()
            else:
                self._await_reader(now)

        self._unread = self.loop.call_later(SEND_SECONDS, look)

    def _watch(self) -> None:
        """Close the connection where no head has come by then."""
        if self._late is not None:
            self._late.cancel()
        if not self.transport.is_closing():
            self._late = self.loop.call_later(HEADER_SECONDS, self._close_late)

    def _close_late(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """The answer to what is no HTTP."""
        answer = refusal(400, msg, {"Connection": "close"})
        head = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
