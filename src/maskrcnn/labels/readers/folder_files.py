"""The files of a data set's folder: all that lie in it, and none that a symbolic link leads out to."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from maskrcnn.errors import DataError
from maskrcnn.labels.image_files import refuse_leaving


def files_under(folder: Path, root: Path) -> list[str]:
    """The files in `folder` and its subfolders, as sorted names relative to `folder`; hidden ones are passed
    over.

    Linked folders inside `root` are not entered, because what they hold is found in its own place.

    Args:
        root: the data set's folder, which holds `folder`.

    Raises:
        DataError: a link leads out of `root`, or a folder is not readable.
    """
    refuse_leaving(root, folder)
    found: list[str] = []
    waiting = [""]
    while waiting:
        here = waiting.pop()
        name = here
        try:
            for entry in os.scandir(folder / here):
                if entry.name.startswith("."):
                    continue
                name = posixpath.join(here, entry.name)
                if entry.is_symlink():
                    refuse_leaving(root, folder / name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                elif not entry.is_dir():
                    found.append(name)
        except OSError as error:  # also of links that lead in a circle
            raise DataError(
                f"{folder / name}: {(error.strerror or 'not readable').lower()}; check it"
            ) from None
    return sorted(found)
