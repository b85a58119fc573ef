"""Picture files that labels name: where they are, that they are there, and their size before they are decoded."""

from __future__ import annotations

import mmap
import os
import posixpath
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from PIL import Image, UnidentifiedImageError

from maskrcnn.errors import DataError
from maskrcnn.images.multichannel import ARRAY_SUFFIX, is_tiff, open_array, tiff_shape
from maskrcnn.images.read import FORMATS
from maskrcnn.labels.types import Dataset, Picture

CHECKED_HEADERS = 20  # pictures whose size is compared with the labels on opening; the others when they are read
EXIF_ORIENTATION = 0x0112


def relative_name(file_name: str) -> str | None:
    """`file_name` normalised, or None when it is absolute or leads out of the folder it is relative to.

    Judged by its letters alone: a symbolic link in the folder was put there by the person, not by the label file.
    """
    windows = PureWindowsPath(file_name)
    # a backslash separates folders on Windows only, but ".." behind one is never an honest name
    if windows.drive or windows.root or PurePosixPath(file_name).is_absolute():
        return None
    if ".." in posixpath.normpath(file_name.replace("\\", "/")).split("/"):
        return None
    name = posixpath.normpath(file_name)
    return None if name == "." else name


def pictures_folder(json_path: Path, file_names: Sequence[str]) -> Path:
    """The folder of the pictures that a COCO file names.

    Args:
        json_path: the COCO file, X.json.
        file_names: normalised names of some of its pictures; the folder that holds the first of them wins, and the
            later ones are asked only when no folder holds the earlier.

    Raises:
        DataError: no folder beside the file holds any of the pictures.
    """
    here = json_path.parent
    stem = json_path.stem
    split = stem.removeprefix("instances_").removeprefix("person_keypoints_")
    candidates = [here / stem, here / "images", here, here.parent / "images", here.parent / split]
    for file_name in file_names:
        for folder in candidates:
            if os.path.isfile(folder / file_name):  # unlike Path.is_file it does not raise on a name too long
                return folder
    looked = ", ".join(str(folder) for folder in dict.fromkeys(candidates))
    raise DataError(
        f"{json_path}: picture {file_names[0]!r} not found in {looked}; put the pictures into one of these folders"
    )


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as a person sees it (EXIF orientation applied), from its header only.

    Raises:
        DataError: not a picture that can be opened.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        height, width, _ = open_array(path).shape
        return height, width
    try:
        # Pillow warns of large pictures that we allow; what matters raises
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(path, formats=FORMATS)
        with picture:
            width, height = picture.size
            # orientations 5 to 8 lie on their side; of a TIFF Pillow already tells the upright size
            turned = orientation(picture, path) in (5, 6, 7, 8)
    # parsers raise whatever they stumble over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception as error:  # noqa: BLE001
        # Pillow knows no TIFF of five bands, nor some of four
        if isinstance(error, UnidentifiedImageError) and is_tiff(path):
            return tiff_shape(path)[:2]
        raise DataError(f"{path}: not readable as a picture ({' '.join(str(error).split())}); replace it") from None
    return (width, height) if turned else (height, width)


def orientation(picture: Image.Image, path: Path) -> int:
    """The EXIF orientation that is still to be applied to an open picture, 1 to 8."""
    if picture.format == "TIFF":  # already applied
        return 1
    if picture.format == "PNG" and not _mentions(path, (b"eXIf", b"Raw profile type exif")):
        return 1  # Pillow would decode all of the picture, in case that the tag lies behind it
    found = picture.getexif().get(EXIF_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _mentions(path: Path, words: Sequence[bytes]) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(word) >= 0 for word in words)


def size_disagreement(picture: Picture, height: int, width: int) -> str | None:
    """One line that says how a picture's real size differs from its labels', or None when it does not."""
    if (height, width) == (picture.height, picture.width):
        return None
    line = (
        f"{picture.path}: the picture is {width} x {height} (width x height) but its labels are for"
        f" {picture.width} x {picture.height}"
    )
    if (height, width) == (picture.width, picture.height):
        return f"{line}: labelled without its EXIF orientation? Save the picture as labelled, with the EXIF tag removed"
    return f"{line}; correct the size in the labels, or use the picture that was labelled"


def check_sizes(dataset: Dataset) -> None:
    """Compare the size of the first pictures with their labels'.

    Raises:
        DataError: one is unreadable or of another size.
    """
    for index in range(min(CHECKED_HEADERS, len(dataset))):
        picture = dataset.picture(index)
        if picture.path is not None:
            wrong = size_disagreement(picture, *upright_size(picture.path))
            if wrong:
                raise DataError(wrong)
