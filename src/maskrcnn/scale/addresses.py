"""The list of images of a prediction on many machines: the same, in the same order, wherever it is made."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from maskrcnn.errors import UserError
from maskrcnn.predict.sources import choose_names, find_names
from maskrcnn.scale.batch_predictor import REMOTE, open_filesystem, reaching

NO_TEXT = re.compile("[\n\0\ud800-\udfff]")  # NUL: a list in UTF-16; surrogates: bytes that are no UTF-8


class Addresses(NamedTuple):
    """Images by their addresses."""

    images: list[str]  # sorted, each once
    doubled: int  # that were named once more
    passed_over: list[str]  # in folders and patterns: of formats that are not read

    def digest(self) -> str:
        """Hexadecimal, of the images."""
        found = hashlib.sha256()
        for image in self.images:
            found.update(image.encode() + b"\n")
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
    once = [image for image, _ in groupby(images)]
    for image in once:
        if NO_TEXT.search(image):
            raise UserError(f"{image:.200}: its name is no text, which a table cannot hold; rename it")
    return Addresses(once, len(images) - len(once), passed_over)


def _in_folder(source: str, allow_network: bool, passed_over: list[str]) -> list[str]:
    """The images directly in a folder on another machine."""
    from pyarrow.fs import FileSelector, FileType

    with reaching(source):
        filesystem, path = open_filesystem(source, allow_network)
        try:
            entries = filesystem.get_file_info(FileSelector(path.rstrip("/")))
        except FileNotFoundError:
            raise UserError(f"{source}: no such folder; check the name") from None
    names = sorted(
        entry.base_name
        for entry in entries
        if entry.type == FileType.File and not entry.base_name.startswith(".")
    )
    found = choose_names(names)
    if not found.images:
        raise UserError(f"{source}: no images in this folder; check the name")
    passed_over += [source + name for name in found.passed_over]
    return [source + name for name in found.images]
