"""Image files that labels name: where they are, and that they have the size that was labelled."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

import numpy as np

from maskrcnn.errors import ImageError, RecordError
from maskrcnn.images.header import SUFFIXES, upright_size
from maskrcnn.images.read import ValueRange, read_image
from maskrcnn.labels.types import Dataset, LabelledImage

# images whose size is compared with the labels on opening; the others when they are read
CHECKED_HEADERS = 20


def relative_name(file_name: str) -> str | None:
    """`file_name` normalised, or None when it is absolute or leads out of the folder it is relative to.

    Judged by its letters alone: a symbolic link in the folder was put there by the person, not by the label
    file.
    """
    windows = PureWindowsPath(file_name)
    # a backslash separates folders on Windows only, but ".." behind one is never an honest name
    if windows.drive or windows.root or PurePosixPath(file_name).is_absolute():
        return None
    if ".." in posixpath.normpath(file_name.replace("\\", "/")).split("/"):
        return None
    name = posixpath.normpath(file_name)
    return None if name == "." else name


def present_name(folder: Path, file_name: str) -> str | None:
    """`relative_name` of an image; where no file in `folder` has it, with "\\" read as "/" if one has that.

    Tools write backslashes on Windows, and their label files are read elsewhere.
    """
    name = relative_name(file_name)
    if name is not None and "\\" in name and not os.path.isfile(folder / name):
        plain = relative_name(name.replace("\\", "/"))
        if plain is not None and os.path.isfile(folder / plain):
            return plain
    return name


def in_small_letters(name: str) -> str:
    """In small letters, each of which is one code: macOS writes accents apart."""
    return unicodedata.normalize("NFC", name).lower()


class NearNames:
    """Finds images in a folder whose name has other letters, as a.JPG for a.jpg or a b.jpg for a%20b.jpg, or
    another suffix or none.

    Each folder is listed once: systems that pass over the case of letters find the first kind themselves.
    """

    def __init__(self, folder: Path, plain: Callable[[str], str] = in_small_letters) -> None:
        """
        Args:
            plain: what names that mean one file have in common.
        """
        self.folder, self._plain = folder, plain
        self._listed: dict[str, dict[str, list[str]]] = {}

    def find(self, file_name: str, any_suffix: bool = True) -> str | None:
        """The only image that is meant, relative to the folder; None where there is none or several."""
        found, plain = self._find(file_name, any_suffix), relative_name(unquote(file_name))
        return found if found or plain in (None, file_name) else self._find(plain or "", any_suffix)

    def _find(self, file_name: str, any_suffix: bool) -> str | None:
        above, name = posixpath.split(file_name)
        if above not in self._listed:
            self._listed[above] = self._list(above)
        lower = self._plain(name)
        stem, suffix = posixpath.splitext(lower)
        keys = (lower, f"/{stem if suffix in SUFFIXES else lower}") if any_suffix else (lower,)
        found = next((names for key in keys if (names := self._listed[above].get(key))), [])
        return posixpath.join(above, found[0]) if len(found) == 1 else None

    def _list(self, above: str) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        try:
            listed = sorted(os.listdir(self.folder / above))
        except (OSError, ValueError):  # a name that no folder can have
            return names
        for name in listed:
            lower = self._plain(name)
            if lower.endswith(SUFFIXES) and not name.startswith("."):
                names.setdefault(lower, []).append(name)
                names.setdefault(f"/{posixpath.splitext(lower)[0]}", []).append(name)
        return names


def refuse_leaving(folder: Path, path: Path) -> None:
    """Refuse a label file that a symbolic link leads out of the folder. Images may be links.

    Raises:
        DataError: it does.
    """
    try:
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except (ValueError, OSError):  # a name that no file can have
        inside = True
    if not inside:
        raise RecordError(
            path, f"a symbolic link out of {str(folder)!r}", "put the file itself into the folder"
        )


def size_disagreement(image: LabelledImage, height: int, width: int) -> ImageError | None:
    """How an image's real size differs from its labels', or None when it does not."""
    if (height, width) == (image.height, image.width):
        return None
    sizes = f"{width} x {height} (width x height) but its labels are for {image.width} x {image.height}"
    remedy = "correct the size in the labels, or use the image that was labelled"
    if (height, width) == (image.width, image.height):
        remedy = (
            "labelled without its EXIF orientation? Save the image as labelled, with the EXIF tag removed"
        )
    return ImageError(image.path, f"the image is {sizes}", remedy)


def refuse_other_size(image: LabelledImage, height: int, width: int) -> None:
    """
    Raises:
        ImageError: the image has another size than its labels are for.
    """
    wrong = size_disagreement(image, height, width)
    if wrong:
        raise wrong


def labelled_pixels(
    image: LabelledImage, channels: int = 3, value_range: ValueRange | None = None
) -> np.ndarray:
    """The image in a file, as `read_image` gives it: uint8 (H, W, channels), of the size that was labelled.

    Raises:
        DataError: the file is unreadable, of another number of channels, or of another size; or there is no
            file.
    """
    if image.path is None:
        raise RecordError(image.file_name, "generated, not a file", "name a data set of files")
    pixels = read_image(image.path, channels, value_range)
    refuse_other_size(image, *pixels.shape[:2])
    return pixels


def check_sizes(dataset: Dataset) -> None:
    """Compare the size of the first images with their labels'.

    Raises:
        DataError: one is unreadable or of another size.
    """
    for index in range(min(CHECKED_HEADERS, len(dataset))):
        image = dataset.image(index)
        if image.path is not None:
            refuse_other_size(image, *upright_size(image.path))
