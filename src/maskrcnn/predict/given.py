"""Images that a Python program has as bytes, as an open file or at an address: files, for as long as they are
predicted.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from maskrcnn.download import fetch
from maskrcnn.errors import ImageError, UserError


@runtime_checkable
class OpenFile(Protocol):
    """Something with the bytes of an image file in it."""

    def read(self) -> bytes: ...


class GivenFiles:
    """A folder of the images that were no files; it is gone at the end of the `with`."""

    def __init__(self, *, allow_network: bool) -> None:
        self._allow_network = allow_network
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is None:
            return
        if isinstance(error, ImageError) and Path(self._folder.name) in Path(error.source).parents:
            named = Path(error.source).name  # not a path that nobody knows and that is gone
            self._folder.cleanup()
            raise ImageError(named, error.what, error.remedy, error.record) from None
        self._folder.cleanup()

    def own_path(self, image: object) -> Path | None:
        """The path of an image that the user has as a file."""
        if not isinstance(image, Path):
            return None
        return None if self._folder is not None and Path(self._folder.name) in image.parents else image

    def path(self, source: object) -> Path | None:
        """The file of an image that was given otherwise, None for everything else.

        Raises:
            UserError: an address without `allow_network` or that cannot be fetched; a file that was opened as
                text.
        """
        if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
            if not self._allow_network:
                raise UserError(f"{source:.200}: addresses are fetched only with allow_network=True")
            return fetch(source, self._next("download"))
        if isinstance(source, OpenFile):
            source = source.read()
            if not isinstance(source, bytes):
                raise UserError(f"predict: a file gave {type(source).__name__}; open it as bytes, 'rb'")
        if not isinstance(source, bytes | bytearray | memoryview):
            return None
        path = self._next("given")
        path.write_bytes(source)
        return path

    def _next(self, name: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="maskrcnn-")
        self._count += 1
        return Path(self._folder.name) / f"{name} image {self._count}"
