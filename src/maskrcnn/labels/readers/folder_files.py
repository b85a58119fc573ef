"""The files of a data set's folder: all that lie in it, through symbolic links too."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from maskrcnn.errors import RecordError, UserError


def has_folders(source: Path, *names: str) -> bool:
    """Whether `source` is a folder that holds folders of all these names."""
    return all(os.path.isdir(Path(source) / name) for name in names)


def need_folders(source: Path, *names: str) -> list[Path]:
    """The folders of these names in `source`.

    Raises:
        UserError: one is not there.
    """
    folders = [Path(source) / name for name in names]
    for folder in folders:
        if not os.path.isdir(folder):
            raise UserError(f"{folder}: no such folder; give the folder that holds {' and '.join(names)}")
    return folders


def visible(folder: Path, pattern: str | None = None) -> list[Path]:
    """What lies in a folder, sorted, but for hidden files and folders, such as the ._ files of macOS.

    Args:
        pattern: as `Path.glob` takes it, which passes over a folder that cannot be read; None: all.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(each_visible(folder, pattern))


def each_visible(folder: Path, pattern: str | None = None) -> Iterator[Path]:
    """The same in no order, one by one: whoever asks whether there is any does not wait for all."""
    found = folder.iterdir() if pattern is None else folder.glob(pattern)
    return (path for path in found if not path.name.startswith("."))


def by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """The files of these suffixes, as `files_under` names them, by their name without it.

    Raises:
        DataError: two of them share it.
    """
    found: dict[str, str] = {}
    for name in files_under(folder):
        if name.lower().endswith(suffixes):
            stem = posixpath.splitext(name)[0]
            if stem in found:
                raise RecordError(folder, f"{found[stem]!r} and {name!r} share a name", "rename one")
            found[stem] = name
    return found


def files_under(folder: Path) -> list[str]:
    """The files in `folder` and its subfolders, as sorted names relative to `folder`; hidden ones are passed
    over.

    Linked folders are entered, but for those inside `folder`, which are found in their own place. Who reads a
    label file asks `refuse_leaving` first.

    Raises:
        DataError: a folder is not readable, or a link leads to a folder that holds it.
    """
    top = os.path.realpath(folder)
    found: list[str] = []
    waiting, links = [""], list[str]()
    entered = {top}  # real paths of linked folders
    while waiting or links:
        here = waiting.pop() if waiting else _enter(folder, links.pop(0), entered)
        if here is None:
            continue
        name = here
        try:
            for entry in os.scandir(folder / here):
                if entry.name.startswith("."):
                    continue
                name = posixpath.join(here, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(name)
                elif not entry.is_dir():
                    found.append(name)
                elif not Path(os.path.realpath(entry.path)).is_relative_to(top):
                    links.append(name)
        except OSError as error:  # also of links that lead in a circle
            raise RecordError(folder / name, (error.strerror or "not readable").lower(), "check it") from None
        links.sort()
    return sorted(found)


def _enter(folder: Path, name: str, entered: set[str]) -> str | None:
    """The linked folder `name`, or None where another link has led there."""
    target = os.path.realpath(folder / name)
    if Path(os.path.realpath((folder / name).parent)).is_relative_to(target):
        raise RecordError(folder / name, "a symbolic link to a folder that holds it", "delete it")
    if target in entered:
        return None
    entered.add(target)
    return name
