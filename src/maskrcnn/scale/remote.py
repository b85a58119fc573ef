"""Images on other machines: what `pyarrow.fs` opens, s3://, gs://, hdfs://."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from maskrcnn.errors import ImageError, UserError, one_line

REMOTE = re.compile(r"[a-zA-Z][\w+.-]*://")  # what an address of another machine begins with
NO_ADDRESS = "no address that can be opened"
ESCAPES = "check it, and write a space as %20 and a % as %25"


def read_address(address: str, allow_network: bool) -> bytes:
    """The bytes at an address that `pyarrow.fs` opens.

    Raises:
        ImageError: nothing is there, or it is no address that can be opened.
        UserError: it is on the network, without `allow_network`; or the other machine cannot be reached.
    """
    from pyarrow import ArrowInvalid

    with reaching(address):
        try:
            filesystem, path = open_filesystem(address, allow_network)
            with filesystem.open_input_stream(path) as stream:
                data: bytes = stream.read()
                return data
        except FileNotFoundError:
            raise ImageError(address, "no such file", "check the name") from None
        except ArrowInvalid as error:
            raise ImageError(address, f"{NO_ADDRESS} ({one_line(error):.120})", ESCAPES) from None


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Make one line of what the system or a store says that does not answer."""
    try:
        yield
    except OSError as error:
        reason = one_line(error)
        raise UserError(
            f"{address:.200}: cannot be reached ({reason:.120}); the same command goes on"
        ) from None


def open_filesystem(address: str, allow_network: bool) -> tuple[Any, str]:
    """The file system of an address, and its path there.

    Raises:
        UserError: it is on the network, without `allow_network`.
        ArrowInvalid: of a kind that is not known, or not written as an address.
    """
    from pyarrow import fs

    if not allow_network and not address.startswith("file://"):
        raise UserError(f"{address:.200}: is on the network, which is used only with --allow-network")
    found: tuple[Any, str] = fs.FileSystem.from_uri(address)
    return found
