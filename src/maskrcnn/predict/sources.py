"""Which image files a person means by a file, a folder or a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from maskrcnn.errors import UserError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.images.multichannel import ARRAY_SUFFIX


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """The image files that a person named, in the order named, each once.

    A file is taken as it is, whatever its suffix. A folder gives the images directly in it, sorted by name; a
    pattern (`shots/*.jpg`, `shots/**/*.png`) what it matches, sorted. In both, hidden files and other
    suffixes are passed over. The part of a pattern that exists is no pattern: in `shots[1]/*.jpg` the folder
    may be called shots[1].

    Raises:
        UserError: no source at all, one that does not exist, or one with no image in it.
    """
    found: dict[Path, None] = {}
    for source in sources:
        found.update(dict.fromkeys(_images_of(str(source))))
    if not found:
        raise UserError("no images given; name files, folders or patterns such as 'shots/*.jpg'")
    return list(found)


def is_many(source: str | Path) -> bool:
    """Whether a source stands for a list of images, however many it turns out to hold: a folder or a
    pattern.
    """
    path = Path(os.path.expanduser(source))
    return path.is_dir() or (not path.exists() and _pattern(path) is not None)


def _images_of(source: str) -> list[Path]:
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        images = _choose(path.iterdir())
        if not images:
            raise UserError(
                f"{source}: no images in this folder ({' '.join(SUFFIXES)}); subfolders: '{path}/**/*'"
            )
        return images
    if path.exists():
        return [path]
    pattern = _pattern(path)
    if pattern is None:
        raise UserError(f"{source}: no such file or folder; check the name")
    images = _choose(Path(match) for match in glob.glob(pattern, recursive=True))
    if not images:
        raise UserError(f"{source}: the pattern matches no image ({' '.join(SUFFIXES)}); check it with ls")
    return images


def _pattern(path: Path) -> str | None:
    """A path that does not exist as a pattern, its existing folders taken literally; None where it is no
    pattern.
    """
    folder = next(parent for parent in path.parents if parent.exists())
    rest = str(path.relative_to(folder))
    return str(Path(glob.escape(str(folder)), rest)) if glob.has_magic(rest) else None


def _choose(paths: Iterable[Path]) -> list[Path]:
    """The images among some files, sorted; arrays only where there is nothing else, since they may be
    anything.
    """
    shown = [path for path in paths if not path.name.startswith(".")]
    images = sorted(path for path in shown if path.suffix.lower() in SUFFIXES and path.is_file())
    return images or sorted(path for path in shown if path.suffix.lower() == ARRAY_SUFFIX and path.is_file())
