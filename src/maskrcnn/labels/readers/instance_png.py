"""Label images: beside each image one of the same stem whose pixel values are instance ids, 0 for
background.
"""

from __future__ import annotations

from pathlib import Path

from maskrcnn.errors import DataError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problems import ProblemKind
from maskrcnn.labels.readers.label_image import read_ids, rles_by_id
from maskrcnn.labels.types import DEFAULT_CLASS

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
LABEL_SUFFIXES = {".png", ".tif", ".tiff"}


def read_instance_labels(folder: Path) -> FileDataset:
    """Read `folder`/images and `folder`/labels. Images are numbered from 1 in the order of their names.

    Args:
        folder: holds `images` and `labels`.

    Raises:
        DataError: no images, a label image that is unreadable, in colour, without its image or of another
            size, or a symbolic link out of `labels`.
    """
    folder = Path(folder)
    name = str(folder)
    images = _by_stem(folder / "images", IMAGE_SUFFIXES)
    labels = _by_stem(folder / "labels", LABEL_SUFFIXES)
    orphans = sorted(labels.keys() - images.keys())
    if orphans:
        raise DataError(
            f"{name}: {len(orphans)} label images have no image in images, the first is"
            f" {labels[orphans[0]].name!r}; restore the images or delete the labels"
        )
    builder = LabelBuilder(folder, folder / "images")
    builder.add_classes([DEFAULT_CLASS])
    for stem in sorted(images.keys() - labels.keys()):
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_LABELS, f"{images[stem].name!r}")
    for stem in sorted(labels):
        refuse_leaving(folder / "labels", labels[stem])
        ids = read_ids(labels[stem], images[stem])
        image = builder.add_image(images[stem].name, size=ids.shape)
        for value, rle in rles_by_id(ids).items():
            builder.add_object(image, 0, f"id {value}", rle=rle)
    if not builder.images:
        raise DataError(f"{name}: empty data set; put images into images and label images into labels")
    if not any(image.annotations for image in builder.images):
        raise DataError(
            f"{name}: all {len(labels)} label images are 0 everywhere; label at least one instance"
        )
    return builder.build()


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    """The images in a folder by the stem of their name."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; label images lie in labels, beside images")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise DataError(
                    f"{folder}: {found[path.stem].name!r} and {path.name!r} share a stem; rename one"
                )
            found[path.stem] = path
    return found
