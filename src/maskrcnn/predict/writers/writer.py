"""The one shape of all that writes what was found: image by image, and files as results come."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from maskrcnn.images.regions import RegionImage
from maskrcnn.instances import Instances


@dataclass(frozen=True)
class WrittenImage:
    """An image as writers know it."""

    number: int  # from 1, in the order of `find_images`
    name: str  # as the person gave it
    path: Path
    stem: str  # of the names of its files; no other image of the run has it
    size: tuple[int, int]  # height and width
    pixels: RegionImage
    done: bool = False  # an earlier run finished it: files of its own that are there stay as they are
    more: tuple[object, ...] = ()  # cells of further columns of the tables, of a frame its number and time


class Writer(Protocol):
    """Called in this order: `begin`, `add` once or more and `end` for each image, and `close` whatever comes.

    Each raises OSError where the disk is full or may not be written to.
    """

    def begin(self, image: WrittenImage) -> None:
        """What comes now is of this image."""
        ...

    def add(self, found: Instances) -> None:
        """Objects of the image, in its own pixels: all of an ordinary one, of a large one by tiles."""
        ...

    def end(self) -> None:
        """The image has no more objects."""
        ...

    def close(self) -> None:
        """The files become whole; where formats allow, an image that has begun and not ended is left out."""
        ...
