"""How a long job tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called now and then with what is done and what there is in all (images, bytes), None where that is not
    known.
    """

    def __call__(self, done: int, total: int | None, /) -> None: ...
