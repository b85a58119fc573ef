"""Images on other machines: what `pyarrow.fs` opens, s3://, gs://, hdfs://."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from maskrcnn.errors import ImageError, UserError, one_line

REMOTE = re.compile(r"[a-zA-Z][\w+.-]*://")  # what an address of another machine begins with


def read_address(address: str, allow_network: bool) -> bytes:
    """The bytes at an address that `pyarrow.fs` opens.

    Raises:
        ImageError: nothing is there.
        UserError: it is on the network, without `allow_network`; of a kind that is not known; or the other
            machine cannot be reached.
    """
    with reaching(address):
        filesystem, path = open_filesystem(address, allow_network)
        try:
            with filesystem.open_input_stream(path) as stream:
                data: bytes = stream.read()
                return data
        except FileNotFoundError:
            raise ImageError(address, "no such file", "check the name") from None


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
    """The file system of an address, and its path there. Errors are those of `read_address`."""
    from pyarrow import ArrowInvalid, fs

    if not allow_network and not address.startswith("file://"):
        raise UserError(f"{address:.200}: is on the network, which is used only with --allow-network")
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(address)
        return found
    except ArrowInvalid as error:
        raise UserError(f"{address:.200}: no address that can be opened ({one_line(error):.120})") from None
