"""A folder for each image: ID/images/ID.png and ID/masks/*.png, one label image for each object.

The layout of the Data Science Bowl 2018 (bbbc.broadinstitute.org/BBBC038,
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
from maskrcnn.labels.readers.instance_png import IMAGE_SUFFIXES, LABEL_SUFFIXES, looks_like_instance_png
from maskrcnn.labels.readers.label_image import open_label_image, read_object
from maskrcnn.labels.types import DEFAULT_CLASS
from maskrcnn.masks.rle import bitmap_rle
from maskrcnn.shell import counted

TRIED_FOLDERS = 20  # so many are looked at before `looks_like_mask_folders` gives up


def looks_like_mask_folders(source: Path) -> bool:
    """Whether the folder holds folders with images/ and masks/ of one image each."""
    try:
        folders = [path for path in Path(source).iterdir() if path.is_dir()]
    except OSError:
        return False
    return any(
        (path / "images").is_dir() and (path / "masks").is_dir() and not looks_like_instance_png(path)
        for path in sorted(folders)[:TRIED_FOLDERS]
    )


def read_mask_folders(source: Path) -> FileDataset:
    """Read a folder of such folders.

    Raises:
        DataError: a folder with several images or none, a mask that is unreadable or of another size.
    """
    source = Path(source)
    builder = LabelBuilder(source, source)
    builder.add_classes([DEFAULT_CLASS])
    folders = [path for path in _listed(source) if (path / "images").is_dir() or (path / "masks").is_dir()]
    for folder in folders:
        if not (folder / "masks").is_dir():
            builder.problems.note(ProblemKind.FOLDER_WITHOUT_MASKS, f"{folder.name!r}")
            continue
        image = builder.add_image(_only_image(folder).relative_to(source).as_posix())
        for path in _listed(folder / "masks"):
            if path.suffix.lower() in LABEL_SUFFIXES:
                refuse_leaving(source, path)
                builder.add_object(image, 0, f"mask {path.name!r}", rle=bitmap_rle(_mask(path, image.size)))
    return builder.build()


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise RecordError(folder, f"not readable as a folder ({error.strerror})", "check the path") from None


def _only_image(folder: Path) -> Path:
    found = []
    if (folder / "images").is_dir():
        found = [path for path in _listed(folder / "images") if path.suffix.lower() in IMAGE_SUFFIXES]
    if len(found) != 1:
        raise RecordError(
            folder / "images",
            f"{counted(len(found), 'image')} where the masks beside it need one",
            "keep each image in a folder of its own",
        )
    return found[0]


def _mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The object as bool (H, W)."""
    with open_label_image(path, size) as mask:
        if mask.mode in ("RGBA", "LA"):
            return read_object(mask.convert(mask.mode[:-1]))  # an opaque background is no object
        return read_object(mask)
