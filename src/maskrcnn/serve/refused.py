"""A request that is not answered with what it asked for."""

from __future__ import annotations

import json


class Refused(Exception):
    """A status and one line for the client: no path of this machine and no traceback is ever in it."""

    def __init__(self, status: int, line: str, retry_after: int | None = None) -> None:
        super().__init__(line)
        self.status, self.line = status, line
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    def body(self) -> bytes:
        """One line of JSON; the Open Inference Protocol has errors in the same form."""
        return error_line(self.line)


def error_line(line: str) -> bytes:
    """`{"error": line}` and a line end."""
    return json.dumps({"error": " ".join(line.split())}).encode() + b"\n"
