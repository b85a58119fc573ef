"""Who may ask, and what every answer says to a browser; around the app, before a body is read."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from time import perf_counter
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskrcnn.serve.options import MOST_BYTES
from maskrcnn.serve.refused import Refused
from maskrcnn.serve.service import Service

OPEN = ("/", "/v2/health/live", "/v2/health/ready")  # without a token
DRAIN_BODY_SECONDS = 3.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Refuses requests without the token, and of other sites where there is none; counts all of them."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = perf_counter(), 500
        body = Body(scope, receive)

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *self._headers()]
                await body.drain()
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, body.receive, counted)
        except Refused as refused:
            await respond(refused, counted)
        finally:
            # the route's pattern, not its path: whoever asks for many paths would fill the memory
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.responses.labels(route, str(status)).inc()
            self._service.metrics.seconds.labels(route).observe(perf_counter() - begin)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if self._service.options.token is not None:
            given = headers.get(b"authorization", b"")
            if scope["path"] not in OPEN and not hmac.compare_digest(
                given, b"Bearer " + self._service.options.token
            ):
                raise Refused(401, "send the token: Authorization: Bearer TOKEN")
        elif self._service.options.loopback:
            # a page of another site may not use what only this machine can reach, by whatever name
            host = urlsplit(b"//" + headers.get(b"host", b"")).hostname or b""
            if host.decode("latin-1") not in LOOPBACK:
                raise Refused(421, "without a token, only addresses such as 127.0.0.1 are answered")
            if headers.get(b"sec-fetch-site") == b"cross-site":
                raise Refused(403, "pages of other sites are not answered")

    def _headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
        return headers + [(b"connection", b"close")] * self._service.draining


class Body:
    """A body on its way in, of which a refused client is let send the rest, so that it reads its answer."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        # with this header, a client waits for leave to send
        self._comes, self._seen = b"expect" not in dict(scope["headers"]), 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._comes = message["type"] == "http.request" and message.get("more_body", False)
        self._seen += len(message.get("body", b""))
        return message

    async def drain(self) -> None:
        """Read and forget what is still to come, for a short while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_BODY_SECONDS):
                while self._comes and self._seen <= MOST_BYTES:
                    await self.receive()


async def respond(refused: Refused, send: Send) -> None:
    """Send a refusal."""
    headers = {"content-type": "application/json"} | refused.headers
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    body = refused.body()
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
