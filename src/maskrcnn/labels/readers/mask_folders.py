"""An image file for each object: ID/images/ID.png and ID/masks/*.png, or images/ID.png and masks/ID/*.png,
which images/train and masks/train may have too.

The first is the layout of the Data Science Bowl 2018 (bbbc.broadinstitute.org/BBBC038,
kaggle.com/c/data-science-bowl-2018/data). Everything but 0 is the object.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.instance_png import has_label_images, images_by_stem, stems_in
from maskrcnn.labels.readers.label_image import ARRAYS, open_label_image, read_object
from maskrcnn.labels.readers.label_image_names import (
    IMAGE_FOLDERS,
    IMAGE_SUFFIXES,
    LABEL_FOLDERS,
    LABEL_SUFFIXES,
    image_stem,
    named_folders,
    split_folders,
)
from maskrcnn.labels.split_names import SPLITS, split_of
from maskrcnn.labels.types import DEFAULT_CLASS
from maskrcnn.masks.rle import bitmap_rle
from maskrcnn.shell import counted

TRIED_FOLDERS = 20  # so many are looked at before `looks_like_mask_folders` gives up


def looks_like_mask_folders(source: Path) -> bool:
    """Whether the folder holds folders with images/ and masks/ of one image each, or is a folder with both
    where masks/ has a folder for an image.
    """
    if any(_places(source, split) is not None for split in (None, *SPLITS)):
        return True
    try:
        folders = [path for path in visible(Path(source)) if path.is_dir()]
    except OSError:
        return False
    return any(
        _masks_in(path) is not None and len(_images_in(path)) == 1 and not _is_whole(path)
        for path in sorted(folders)[:TRIED_FOLDERS]
    )


def _masks_in(folder: Path) -> Path | None:
    return next(iter(named_folders(folder, ("masks", "mask"))), None)


def _images_in(folder: Path) -> list[Path]:
    """The images in the folder images in one, or in itself."""
    place = next(iter(named_folders(folder, ("images", "image"))), folder)
    return [path for path in _listed(place) if path.suffix.lower() in IMAGE_SUFFIXES]


def _is_whole(folder: Path) -> bool:
    """Whether a folder of images/ and masks/ is a data set of its own, or holds arrays, as PanNuke's."""
    return has_label_images(folder) or _places(folder) is not None or any(folder.glob("images/**/*.npy"))


def _places(source: Path, split: str | None = None) -> tuple[Path, Path] | None:
    """A folder of images, and the one that has a folder of masks for one of them."""
    word = None if split is None else split_of(split)
    images_at, masks_at = (
        named_folders(source, names) if word is None else split_folders(source, names, word)
        for names in (IMAGE_FOLDERS, LABEL_FOLDERS)
    )
    for photos in images_at:
        for masks in masks_at:
            below = [path.name for path in visible(masks, "*/")]
            images = stems_in(photos, IMAGE_SUFFIXES) if below else set()
            if any(image_stem(name, images) in images for name in below):
                return photos, masks
    return None


def has_mask_folders_split(source: Path, split: str) -> bool:
    """Whether images/ and masks/ have a folder for "train", "val" or "test", with a folder for each image."""
    return _places(source, split) is not None


def read_mask_folders(source: Path, split: str | None = None) -> FileDataset:
    """Read a folder of such folders.

    Args:
        split: "train", "val" or "test": of images/train and masks/train/ID/*.png. None: all.

    Raises:
        DataError: a folder with several images or none, a mask that is unreadable or of another size.
    """
    source = Path(source)
    builder = LabelBuilder(source, source)
    builder.add_classes([DEFAULT_CLASS])
    places = _places(source, split)
    if places is not None:
        _read_beside(*places, builder)
        return builder.build()
    for folder in [path for path in _listed(source) if path.is_dir()]:
        masks = _masks_in(folder)
        if masks is not None:
            _add_image(_only_image(folder), masks, builder)
        elif _images_in(folder):
            builder.problems.note(ProblemKind.FOLDER_WITHOUT_MASKS, f"{folder.name!r}")
    return builder.build()


def _read_beside(photos: Path, masks: Path, builder: LabelBuilder) -> None:
    """images/ID.png with masks/ID/*.png."""
    images = images_by_stem(photos, IMAGE_SUFFIXES)
    folders: dict[str, Path] = {}
    for path in [path for path in _listed(masks) if path.is_dir()]:
        other = folders.setdefault(image_stem(path.name, images), path)
        if other != path:
            raise RecordError(masks, f"{other.name!r} and {path.name!r} are of one image", "merge them")
    if lost := sorted(folders.keys() - images.keys()):
        what = f"{counted(len(lost), 'folder')} of masks without an image, the first is {lost[0]!r}"
        raise RecordError(masks, what, "restore the images or delete the masks")
    for stem, path in images.items():
        if stem in folders:
            _add_image(path, folders[stem], builder)
        else:
            builder.problems.note(ProblemKind.FOLDER_WITHOUT_MASKS, f"{path.name!r}")


def _add_image(photo: Path, masks: Path, builder: LabelBuilder) -> None:
    image = builder.add_image(photo.relative_to(builder.folder).as_posix())
    listed = _listed(masks)
    if below := [path for path in listed if path.is_dir()]:
        what = "a folder where masks are expected; it may be a class"
        remedy = f"move the masks into {masks.name!r}, or write COCO JSON with classes"
        raise RecordError(below[0], what, remedy)
    for path in [path for path in listed if path.suffix.lower() in IMAGE_SUFFIXES | ARRAYS]:
        refuse_leaving(builder.folder, path)
        if path.suffix.lower() not in LABEL_SUFFIXES:
            raise RecordError(path, "a mask in a format that is not read", "export it as PNG or TIFF")
        mask = _mask(path, image.size, alone=len(listed) == 1)
        builder.add_object(image, 0, f"mask {path.name!r}", rle=bitmap_rle(mask))


def _listed(folder: Path) -> list[Path]:
    try:
        return visible(folder)
    except OSError as error:
        raise RecordError(folder, f"not readable as a folder ({error.strerror})", "check the path") from None


def _only_image(folder: Path) -> Path:
    found = _images_in(folder)
    if len(found) != 1:
        raise RecordError(
            next(iter(named_folders(folder, ("images", "image"))), folder),
            f"{counted(len(found), 'image')} where the masks beside it need one",
            "keep each image in a folder of its own",
        )
    return found[0]


def _mask(path: Path, size: tuple[int, int], alone: bool) -> np.ndarray:
    """The object as bool (H, W).

    Args:
        alone: it is the only one of its image: refused where it has the numbers of several objects.
    """
    with open_label_image(path, size) as mask:
        numbers = np.unique(np.asarray(mask)) if alone else np.zeros(0)
        if len(numbers) > 2 and np.array_equal(numbers, np.arange(len(numbers))):
            what = f"the only mask of its image, with the numbers 1 to {len(numbers) - 1}"
            remedy = "give each object a mask of its own, or lay label images, images/ beside labels/"
            raise RecordError(path, what, remedy)
        if mask.mode in ("RGBA", "LA"):
            opaque = np.asarray(mask)[..., -1] != 0
            return read_object(mask.convert(mask.mode[:-1])) & opaque  # an opaque background is no object
        return read_object(mask)
