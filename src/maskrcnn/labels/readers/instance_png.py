"""Label images: beside each image one of the same stem, or with _mask after it, whose pixel values, or
colours, are instance ids, 0 or black for background.
"""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

from maskrcnn.errors import RecordError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.json_file import JSONS
from maskrcnn.labels.readers.label_image import add_instances, ids_of_colours, read_ids
from maskrcnn.labels.split_names import SPLITS, split_of
from maskrcnn.labels.types import DEFAULT_CLASS
from maskrcnn.shell import counted

IMAGE_SUFFIXES = set(SUFFIXES)
LABEL_SUFFIXES = {".png", ".tif", ".tiff"}
MARKS = ("_mask", "_masks", "_label", "_labels")  # how the name of a label image may go on after its image's


def read_instance_labels(folder: Path, split: str | None = None, split_parts: bool = False) -> FileDataset:
    """Read `folder`/images and `folder`/labels or masks. Images are numbered from 1 in the order of their
    names.

    Args:
        folder: holds `images` and `labels`, or `masks` as for StarDist.
        split: "train", "val" or "test": in `images`/train and `labels`/train. None: `images` itself.
        split_parts: each separate part of an id is an object of its own.

    Raises:
        DataError: no images, a label image that is unreadable, without its image or of another size, or a
            symbolic link out of `labels`.
    """
    folder = Path(folder)
    name = str(folder)
    places = None if split is None else _split_folders(folder, split)
    photos, beside = places or (folder / "images", folder / ("masks" if _holds_masks(folder) else "labels"))
    images = _by_stem(photos, IMAGE_SUFFIXES)
    labels = _by_image(_by_stem(beside, LABEL_SUFFIXES), images)
    orphans = sorted(labels.keys() - images.keys())
    if orphans:
        what = (
            f"{counted(len(orphans), 'label image')} without an image in images, the first is "
            f"{labels[orphans[0]].name!r}"
        )
        raise RecordError(name, what, "restore the images or delete the labels")
    builder = LabelBuilder(folder, photos)
    builder.add_classes([DEFAULT_CLASS])
    for stem in sorted(images.keys() - labels.keys()):
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_LABELS, f"{images[stem].name!r}")
    for stem in sorted(labels):
        refuse_leaving(beside, labels[stem])
        ids = read_ids(labels[stem], images[stem], ids_of_colours)
        image = builder.add_image(images[stem].name, size=ids.shape)
        add_instances(ids, image, 0, builder, split_parts)
    if not builder.images:
        raise RecordError(name, "empty data set", "put images into images and label images into labels")
    if not any(image.annotations for image in builder.images):
        raise RecordError(
            name, f"all {len(labels)} label images are 0 everywhere", "label at least one instance"
        )
    return builder.build()


def has_instance_split(folder: Path, split: str) -> bool:
    """Whether images/ and labels/ or masks/ have a folder each for "train", "val" or "test"."""
    return _split_folders(folder, split) is not None


def _split_folders(folder: Path, split: str) -> tuple[Path, Path] | None:
    """images/train and labels/train or masks/train; None where others may say what the labels are."""
    if (folder / "annotations").is_dir() or next(folder.glob(JSONS), None) is not None:
        return None
    named = [path for path in sorted((folder / "images").glob("*/")) if split_of(path.name) == split]
    pairs = ((path, folder / name / path.name) for path in named for name in ("labels", "masks"))
    return next((pair for pair in pairs if _pairs(*pair)), None)


def looks_like_instance_png(source: Path) -> bool:
    """Whether `source` is a folder with images/ beside labels/ or masks/, and label images in the latter."""
    if any(has_instance_split(source, split) for split in SPLITS):
        return True
    labels = source / "labels"
    if not (source / "images").is_dir() or not labels.is_dir():
        return _holds_masks(source)
    suffixes = {file.suffix.lower() for file in labels.iterdir() if not file.name.startswith(".")}
    return bool(suffixes & LABEL_SUFFIXES) or not suffixes


def _holds_masks(folder: Path) -> bool:
    """Whether masks/ instead of labels/ has a label image for one of images/."""
    if (folder / "labels").is_dir():
        return False
    return _pairs(folder / "images", folder / "masks")


def _pairs(images: Path, labels: Path) -> bool:
    """Whether a folder has a label image for one of the images of another."""
    found = _stems(labels, LABEL_SUFFIXES)
    beside = _stems(images, IMAGE_SUFFIXES) if found else set()  # of YOLO there may be a million
    return not beside.isdisjoint(_image_stem(stem, beside) for stem in found)


def _stems(folder: Path, suffixes: set[str]) -> set[str]:
    try:
        split = [os.path.splitext(name) for name in os.listdir(folder)]
    except OSError:
        return set()
    return {stem for stem, suffix in split if suffix.lower() in suffixes}


def _image_stem(stem: str, images: Container[str]) -> str:
    """The stem of a label image's image: the same, or without a mark."""
    bare = next((stem.removesuffix(mark) for mark in MARKS if stem.endswith(mark)), stem)
    return bare if stem not in images and bare in images else stem


def _by_image(labels: dict[str, Path], images: Container[str]) -> dict[str, Path]:
    """Label images by the stem of their image."""
    found: dict[str, Path] = {}
    for stem, path in labels.items():
        image = _image_stem(stem, images)
        if image in found:
            what = f"{found[image].name!r} and {path.name!r} are for the same image"
            raise RecordError(path.parent, what, "delete one")
        found[image] = path
    return found


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    """The images in a folder by the stem of their name."""
    if not folder.is_dir():
        raise RecordError(folder, "no such folder", "label images lie in labels, beside images")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in found:
                raise RecordError(
                    folder, f"{found[path.stem].name!r} and {path.name!r} share a stem", "rename one"
                )
            found[path.stem] = path
    return found
