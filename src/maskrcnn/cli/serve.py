"""`maskrcnn serve`."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskrcnn.cli.common import MODEL_HELP, Device, EngineName, TrustCode, load_runner, say
from maskrcnn.errors import UserError

if TYPE_CHECKING:
    from maskrcnn.runtime.engine import Runner

NEEDS = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")
SHORTEST_TOKEN, LONGEST_TOKEN = 16, 4096  # bytes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def serve(
    weights: Annotated[
        list[str], typer.Argument(metavar="[NAME=]WEIGHTS...", help=f"{MODEL_HELP} The first is the default.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs --token-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the token that requests must bring.")
    ] = None,
    engine: EngineName = "auto",
    device: Device = None,
    max_batch: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            help="Images of one shape that share a forward pass. With more than 1, answers are those of"
            " predict but for rounding.",
        ),
    ] = 1,
    max_wait_ms: Annotated[
        float, typer.Option(min=0, max=1000, help="How long a batch waits for more images.")
    ] = 5,
    queue: Annotated[
        int, typer.Option(min=1, max=100_000, help="Images that may wait; more are refused with 429.")
    ] = 64,
    deadline: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="For a request, from head to answer.")
    ] = 25,
    trust_code: TrustCode = False,
) -> None:
    """Answer requests over HTTP, with a page to try it; docs/serve.md has the addresses."""
    if any(find_spec(name) is None for name in NEEDS):
        raise UserError("serve: needs FastAPI and others; pip install 'maskrcnn[serve]'")
    named = _named(weights)
    token = None if token_file is None else _token(token_file)
    from maskrcnn.serve.options import Options
    from maskrcnn.serve.server import is_loopback, listen, run

    if token is None and not is_loopback(host):
        raise UserError(f"--host {host}: others could use it; add --token-file FILE, or leave --host out")

    def load() -> dict[str, Runner]:
        return {
            name: load_runner(model, device, engine, trust_code=trust_code) for name, model in named.items()
        }

    options = Options(
        max_batch=max_batch,
        max_wait_ms=max_wait_ms,
        queue=queue,
        deadline_s=deadline,
        token=token,
        loopback=is_loopback(host),
    )
    run(options, listen(host, port), load, say)


def _named(weights: list[str]) -> dict[str, str]:
    """The models by the names in their addresses.

    Raises:
        UserError: a name that is none, or two of one name.
    """
    named: dict[str, str] = {}
    for one in weights:
        name, equals, model = one.partition("=")
        if not equals or Path(one).exists():
            name, model = Path(one).resolve().name if Path(one).exists() else one.rsplit("/", 1)[-1], one
        if not NAME.fullmatch(name):
            raise UserError(f"{one}: {name!r} is no name for an address; give one of letters: NAME={model}")
        if name in named:
            raise UserError(f"{one}: two models are called {name}; name one: NAME={model}")
        named[name] = model
    return named


def _token(path: Path) -> bytes:
    """The token in a file.

    Raises:
        UserError: no such file, or no token of printable letters without a space.
    """
    with path.open("rb") as file:
        token = file.read(LONGEST_TOKEN + 1).strip()
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN or not re.fullmatch(rb"[!-~]+", token):
        raise UserError(
            f"{path}: a token has from {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, no space among them;"
            " make one: openssl rand -hex 32"
        )
    return token
