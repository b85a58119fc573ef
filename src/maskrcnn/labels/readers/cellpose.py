"""Cellpose's folders: beside each image NAME.tif or NAME_img.png its label image, NAME_masks.tif or
NAME_cp_masks.png.

The names are those of cellpose.readthedocs.io (Inputs, Outputs). NAME_seg.npy is a pickle, which may hold a
program; it is not read.
"""

from __future__ import annotations

from pathlib import Path

from maskrcnn.errors import DataError, RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.instance_png import IMAGE_SUFFIXES, LABEL_SUFFIXES
from maskrcnn.labels.readers.label_image import add_instances, ids_of_colours, read_ids
from maskrcnn.labels.types import DEFAULT_CLASS
from maskrcnn.shell import counted

MASKS, PICKLE, IMAGE = "_masks", "_seg.npy", "_img"
OUTPUTS = ("_flows", "_outlines", "_output", "_dP", "_cellprob")  # images that Cellpose writes beside these


def read_cellpose(source: Path, split_parts: bool = False) -> FileDataset:
    """Read a folder of Cellpose. Images are numbered from 1 in the order of their names.

    Args:
        split_parts: each separate part of an id is an object of its own.

    Raises:
        DataError: masks that are missing, unreadable or of another size than their image.
    """
    source = Path(source)
    images, masks, pickles = _files(source)
    for name in sorted(pickles.keys() - masks.keys()):
        raise RecordError(
            pickles[name],
            "a pickle may hold a program and is not read",
            f"open it in Cellpose and save its masks as PNG or TIFF beside it ({name}_cp_masks.png)",
        )
    if orphans := sorted(masks.keys() - images.keys()):
        what = f"{counted(len(orphans), 'label image')} without an image, the first is"
        remedy = "restore the images or delete the labels"
        raise RecordError(source, f"{what} {masks[orphans[0]].name!r}", remedy)
    builder = LabelBuilder(source, source)
    builder.add_classes([DEFAULT_CLASS])
    for name, image in images.items():
        if name not in masks:
            builder.problems.note(ProblemKind.IMAGE_WITHOUT_LABELS, f"{image.name!r}")
            continue
        refuse_leaving(source, masks[name])
        ids = read_ids(masks[name], image, ids_of_colours)
        labelled = builder.add_image(image.name, size=ids.shape)
        add_instances(ids, labelled, 0, builder, split_parts)
    return builder.build()


def looks_like_cellpose(source: Path) -> bool:
    """Whether a folder holds images with masks of Cellpose."""
    try:
        images, masks, pickles = _files(Path(source))
    except (DataError, OSError):
        return False
    return not images.keys().isdisjoint(masks | pickles)


def _files(folder: Path) -> tuple[dict[str, Path], dict[str, Path], dict[str, Path]]:
    """Images, label images and pickles by the name that they share."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    pickles: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem, suffix = path.stem, path.suffix.lower()
        if path.name.startswith(".") or stem.endswith(OUTPUTS):
            continue
        if path.name.endswith(PICKLE):
            pickles[path.name.removesuffix(PICKLE)] = path
        elif suffix in LABEL_SUFFIXES and stem.endswith(MASKS):
            _add(masks, stem.removesuffix(MASKS).removesuffix("_cp"), path)
        elif suffix in IMAGE_SUFFIXES:
            _add(images, stem.removesuffix(IMAGE), path)
    return images, masks, pickles


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    if name in found:
        raise RecordError(path, f"{found[name].name!r} is there too", "delete the one that is wrong")
    found[name] = path
