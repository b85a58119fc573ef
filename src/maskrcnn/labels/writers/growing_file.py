"""A file of many records that is whole after each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskrcnn.files import new_file

Mark = tuple[int, bool]  # bytes, and whether no record is among them


class GrowingFile:
    """What closes the file is written again behind every addition, so a kill leaves it whole.

    Of an addition for which the disk has no room nothing stays.
    """

    def __init__(
        self, path: Path, head: str, tail: str, between: str = ",\n", *, mark: Mark | None = None
    ) -> None:
        """
        Args:
            between: stands between two records.
            mark: what the file has up to there stays: `mark` of the one that wrote it, as long as it is now
                at least. None: an older file is replaced.

        Raises:
            OSError: the file cannot be written.
        """
        self._tail, self._between = tail.encode(), between
        # where the last record ends, and whether there is none
        self._end, self._empty = mark or (len(head.encode()), True)
        if mark is None:
            with new_file(path, flush=False) as whole:  # an older file stays until this one is whole
                whole.write_bytes(head.encode() + self._tail)
        self._path, self._file = path, path.open("r+b", buffering=0)
        if mark is not None:
            self._put(b"", self._end)
            self._file.truncate(self._end + len(self._tail))

    def add(self, records: Sequence[str]) -> None:
        """Further records, which are there together or not at all."""
        if not records:
            return
        text = ("" if self._empty else self._between) + self._between.join(records)
        content = text.encode(errors="backslashreplace")
        self._put(content, self._end)
        self._end += len(content)
        self._empty = False

    def mark(self) -> Mark:
        """Where it is now, for `back`."""
        return self._end, self._empty

    def back(self, mark: Mark) -> None:
        """Take away what was added since `mark`."""
        if mark[0] != self._end:
            self._end, self._empty = mark
            self._put(b"", self._end)
            self._file.truncate(self._end + len(self._tail))

    def close(self) -> None:
        self._file.close()

    def _put(self, content: bytes, place: int) -> None:
        """`content` and the tail from `place` on."""
        whole = memoryview(content + self._tail)
        self._file.seek(place)
        try:
            while whole:
                whole = whole[self._file.write(whole) :]
        except OSError as error:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            self._file.write(self._tail)
            raise OSError(error.errno, error.strerror, str(self._path)) from None
