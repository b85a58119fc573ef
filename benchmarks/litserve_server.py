"""LitServe with the same work as `maskrcnn serve`, for serve.py.

    python litserve_server.py WEIGHTS ENGINE PORT

Runs in an interpreter that has litserve, which starts its worker as a process of its own.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import litserve

from serve import answer_directly


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.answer = answer_directly(*sys.argv[1:3])

    # without a type: LitServe would take it for what the body has
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        data: bytes = request["image"].file.read()
        return data

    def predict(self, body: bytes) -> bytes:
        return self.answer([body])[0]

    def encode_response(self, answer: bytes) -> Any:
        return json.loads(answer)


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False)
