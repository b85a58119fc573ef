"""The list of images of a prediction on many machines: the same, in the same order, wherever it is made."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, groupby
from urllib.parse import quote

from maskrcnn.errors import UserError, one_line
from maskrcnn.predict.sources import choose_names, find_names, once
from maskrcnn.scale.remote import ESCAPES, NO_ADDRESS, REMOTE, open_filesystem, reaching

NO_TEXT = re.compile("[\n\0\ud800-\udfff]")  # NUL: a list in UTF-16; surrogates: bytes that are no UTF-8
HASHED = 2**20  # characters that are encoded at a time


@dataclass(frozen=True)
class Addresses:
    """Images by their addresses, sorted, each once; one text takes a third of what a million strings do."""

    text: str  # an address a line
    starts: array[int]  # of each in the text, and of the one that would be next
    doubled: int  # images that were named once more
    passed_over: list[str]  # in folders and patterns: of formats that are not read

    def __len__(self) -> int:
        return len(self.starts) - 1

    def lines(self, places: range) -> str:
        """Those at these places, counted from 0, an address a line."""
        return self.text[self.starts[places.start] : self.starts[places.stop] - 1]

    def between(self, places: range) -> list[str]:
        """Those at these places, counted from 0."""
        return self.lines(places).split("\n")

    def digest(self) -> str:
        """Hexadecimal, of the images."""
        found = hashlib.sha256()
        for start in range(0, len(self.text), HASHED):
            found.update(self.text[start : start + HASHED].encode())
        found.update(b"\n")
        return found.hexdigest()


def find_addresses(
    sources: Iterable[str], listed: Iterable[str] = (), *, allow_network: bool = False
) -> Addresses:
    """
    Args:
        sources: as `find_sources` takes them; also addresses of files on other machines, and ending in /
            those of folders.
        listed: addresses of files, which are not looked at now: one that is not there is an error row.
        allow_network: look into folders on other machines.

    Raises:
        UserError: no image, a source that does not exist, an address that is no text, or another machine
            cannot be reached.
    """
    local: list[str] = []
    images, passed_over = list(listed), list[str]()
    for source in sources:
        if not REMOTE.match(source):
            local.append(source)
        elif source.endswith("/"):
            images += _in_folder(source, allow_network, passed_over)
        else:
            images.append(source)
    if local or not images:
        found = find_names(local)
        images += found.images
        passed_over += found.passed_over
    images.sort()
    named = once(image for image, _ in groupby(images))
    for image in named:
        if NO_TEXT.search(image):
            raise UserError(f"{image:.200}: its name is no text, which a table cannot hold; rename it")
    starts = array("Q", accumulate((len(image) + 1 for image in named), initial=0))
    return Addresses("\n".join(named), starts, len(images) - len(named), passed_over)


def _in_folder(source: str, allow_network: bool, passed_over: list[str]) -> list[str]:
    """The images directly in a folder on another machine."""
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSelector, FileType

    with reaching(source):
        try:
            filesystem, path = open_filesystem(source, allow_network)
            entries = filesystem.get_file_info(FileSelector(path.rstrip("/")))
        except FileNotFoundError:
            raise UserError(f"{source}: no such folder; check the name") from None
        except ArrowInvalid as error:
            raise UserError(f"{source:.200}: {NO_ADDRESS} ({one_line(error):.120}); {ESCAPES}") from None
    names = sorted(
        entry.base_name
        for entry in entries
        if entry.type == FileType.File and not entry.base_name.startswith(".")
    )
    found = choose_names(names)
    if not found.images:
        raise UserError(f"{source}: no images in this folder; check the name")
    passed_over += [source + quote(name, errors="surrogateescape") for name in found.passed_over]
    return [source + quote(name, errors="surrogateescape") for name in found.images]
