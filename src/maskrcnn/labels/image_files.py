"""Image files that labels name: where they are, that they are there, and their size before they are decoded."""

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
from maskrcnn.labels.types import Dataset, LabelledImage

CHECKED_HEADERS = 20  # images whose size is compared with the labels on opening; the others when they are read
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


def images_folder(json_path: Path, file_names: Sequence[str]) -> Path:
    """The folder of the images that a COCO file names.

    Args:
        json_path: the COCO file, X.json.
        file_names: normalised names of some of its images; the folder that holds the first of them wins, and the
            later ones are asked only when no folder holds the earlier.

    Raises:
        DataError: no folder beside the file holds any of the images.
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
        f"{json_path}: image {file_names[0]!r} not found in {looked}; put the images into one of these folders"
    )


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as a person sees it (EXIF orientation applied), from its header only.

    Raises:
        DataError: not an image that can be opened.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        height, width, _ = open_array(path).shape
        return height, width
    try:
        # Pillow warns of large images that we allow; what matters raises
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(path, formats=FORMATS)
        with image:
            width, height = image.size
            # orientations 5 to 8 lie on their side; of a TIFF Pillow already tells the upright size
            turned = orientation(image, path) in (5, 6, 7, 8)
    # parsers raise whatever they stumble over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception as error:  # noqa: BLE001
        # Pillow knows no TIFF of five bands, nor some of four
        if isinstance(error, UnidentifiedImageError) and is_tiff(path):
            return tiff_shape(path)[:2]
        raise DataError(f"{path}: not readable as an image ({' '.join(str(error).split())}); replace it") from None
    return (width, height) if turned else (height, width)


def orientation(image: Image.Image, path: Path) -> int:
    """The EXIF orientation that is still to be applied to an open image, 1 to 8."""
    if image.format == "TIFF":  # already applied
        return 1
    if image.format == "PNG" and not _mentions(path, (b"eXIf", b"Raw profile type exif")):
        return 1  # Pillow would decode all of the image, in case that the tag lies behind it
    found = image.getexif().get(EXIF_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _mentions(path: Path, words: Sequence[bytes]) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(word) >= 0 for word in words)


def size_disagreement(image: LabelledImage, height: int, width: int) -> str | None:
    """One line that says how an image's real size differs from its labels', or None when it does not."""
    if (height, width) == (image.height, image.width):
        return None
    line = (
        f"{image.path}: the image is {width} x {height} (width x height) but its labels are for"
        f" {image.width} x {image.height}"
    )
    if (height, width) == (image.width, image.height):
        return f"{line}: labelled without its EXIF orientation? Save the image as labelled, with the EXIF tag removed"
    return f"{line}; correct the size in the labels, or use the image that was labelled"


def check_sizes(dataset: Dataset) -> None:
    """Compare the size of the first images with their labels'.

    Raises:
        DataError: one is unreadable or of another size.
    """
    for index in range(min(CHECKED_HEADERS, len(dataset))):
        image = dataset.image(index)
        if image.path is not None:
            wrong = size_disagreement(image, *upright_size(image.path))
            if wrong:
                raise DataError(wrong)
