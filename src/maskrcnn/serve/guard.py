"""Who may ask, how much, and what every answer says to a browser; around the app, before a body is read."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskrcnn.serve.options import MOST_BYTES
from maskrcnn.serve.service import Service

OPEN = ("/", "/v2/health/live", "/v2/health/ready")  # without a token
DRAIN_BODY_SECONDS = 3.0
LOOPBACK = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?", re.IGNORECASE)
TOO_LARGE = f"the body is larger than {MOST_BYTES:,} bytes; send a smaller image, or fewer at once"
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]


def refusal(status: int, line: str, headers: Mapping[str, str] | None = None) -> Response:
    """`{"error": line}`; the Open Inference Protocol has errors in the same form."""
    text = json.dumps({"error": " ".join(line.split())}) + "\n"
    return Response(text, status, headers, "application/json")


class Guard:
    """Refuses what brings no token, another site's pages where there is none, and too much; counts all."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        begin, status, seen = perf_counter(), 500, 0
        more = b"expect" not in headers  # with this header, a client waits for leave to send

        async def received() -> Message:
            nonlocal more, seen
            message = await receive()
            more = message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > MOST_BYTES:
                raise HTTPException(413, TOO_LARGE)
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                closing = [(b"connection", b"close")] * self._service.draining
                message["headers"] = [*message["headers"], *HEADERS, *closing]
                # a client that still sends would not read its answer
                with suppress(TimeoutError, HTTPException):
                    async with asyncio.timeout(DRAIN_BODY_SECONDS):
                        while more:
                            await received()
            await send(message)

        try:
            self._check(headers, scope["path"])
            await self._app(scope, received, sent)
        except HTTPException as error:
            await refusal(error.status_code, error.detail, error.headers)(scope, received, sent)
        finally:
            # the route's pattern, not its path: whoever asks for many paths would fill the memory
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.responses.labels(route, str(status)).inc()
            self._service.metrics.seconds.labels(route).observe(perf_counter() - begin)

    def _check(self, headers: dict[bytes, bytes], path: str) -> None:
        token = self._service.options.token
        if token is not None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if path not in OPEN and not (scheme.lower() == b"bearer" and hmac.compare_digest(given, token)):
                line = "send the token: Authorization: Bearer TOKEN"
                raise HTTPException(401, line, {"WWW-Authenticate": "Bearer"})
        elif self._service.options.loopback:
            # a page of another site may not use what only this machine can reach, by whatever name
            if not LOOPBACK.fullmatch(headers.get(b"host", b"")):
                raise HTTPException(421, "without a token, only addresses such as 127.0.0.1 are answered")
            origin = headers.get(b"origin", b"http://localhost").partition(b"://")[2]
            if headers.get(b"sec-fetch-site") == b"cross-site" or not LOOPBACK.fullmatch(origin):
                raise HTTPException(403, "pages of other sites are not answered")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise HTTPException(415, "compressed bodies are not read; images are compressed themselves")
        if {b"content-length", b"transfer-encoding"} <= headers.keys():
            raise HTTPException(400, "a body has one length, content-length or transfer-encoding")
        if int(headers.get(b"content-length", b"0")) > MOST_BYTES:  # h11 lets digits alone pass
            raise HTTPException(413, TOO_LARGE)
