"""Cellpose's folders: beside each image NAME.tif or NAME_img.png its label image, NAME_masks.tif or
NAME_cp_masks.png, or what its window saves, NAME_seg.npy. Label images of other programs, as NAME_mask.png or
NAME_label.tif, are read alike where no other labels are in the folder.

The names are those of cellpose.readthedocs.io (Inputs, Outputs). NAME_seg.npy is a pickle, which may hold a
program: nothing but its arrays is read (`maskrcnn.array_pickle`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.array_pickle import REMEDY, PickledArray, PickleReader, line
from maskrcnn.errors import DataError, RecordError, UserError
from maskrcnn.images.header import upright_size
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.label_image import add_instances, ids_of_colours, read_ids, refuse_size
from maskrcnn.labels.readers.label_image_names import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    bare_stem,
    refuse_classes,
)
from maskrcnn.labels.types import DEFAULT_CLASS
from maskrcnn.shell import counted

MASKS, PICKLE, IMAGE = "_masks", "_seg.npy", "_img"
OTHER_LABELS = {".json", ".geojson", ".xml", ".txt"}  # beside which a.png and a_mask.png may both be images
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
    labels = pickles | masks
    if orphans := sorted(labels.keys() - images.keys()):
        what = f"{counted(len(orphans), 'label file')} without an image, the first is"
        remedy = "restore the images or delete the labels"
        raise RecordError(source, f"{what} {labels[orphans[0]].name!r}", remedy)
    refuse_classes(source, source)
    builder = LabelBuilder(source, source)
    builder.add_classes([DEFAULT_CLASS])
    for name, image in images.items():
        if name not in labels:
            builder.problems.note(ProblemKind.IMAGE_WITHOUT_LABELS, f"{image.name!r}")
            continue
        ids = _ids(source, image, masks.get(name), pickles.get(name))
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


def _ids(source: Path, image: Path, mask: Path | None, pickle: Path | None) -> np.ndarray:
    """The ids (H, W) of an image; a label image and a pickle that do not agree are refused."""
    for path in (mask, pickle):
        if path is not None:
            refuse_leaving(source, path)
    if mask is None:
        assert pickle is not None
        return _pickled_ids(pickle, image)
    ids = read_ids(mask, image, ids_of_colours)
    try:
        later = ids if pickle is None else _pickled_ids(pickle, image)
    except DataError:  # the label image is what was saved in its place
        return ids
    if not np.array_equal(ids, later):
        remedy = "delete the one that is older, or save the masks again in Cellpose"
        raise RecordError(pickle, f"its masks are not those of {mask.name!r}", remedy)
    return ids


def _pickled_ids(path: Path, image: Path) -> np.ndarray:
    """The ids (H, W) of NAME_seg.npy: a dict with an array called masks, saved by numpy.save."""
    name = path.name.removesuffix(PICKLE)
    remedy = f"open it in Cellpose and save its masks as PNG or TIFF beside it ({name}_cp_masks.png)"
    try:
        with path.open("rb") as file:
            ids = _masks_of(PickleReader(path, path.stat().st_size, saved_object=True), file)
    except UserError as refused:
        what = str(refused).removeprefix(f"{path}: ").removesuffix(f"; {REMEDY}")
        raise RecordError(path, what, remedy) from None
    except Exception as error:  # noqa: BLE001 - of damaged bytes NumPy and pickle raise whatever they meet
        why = f"{type(error).__name__}: {line(error)}"
        raise RecordError(path, f"damaged, or not Cellpose's ({why})", remedy) from None
    ids = ids[0] if ids.ndim == 3 and len(ids) == 1 else ids
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        what = f"its masks are {ids.dtype} of the shape {ids.shape}, not the whole numbers of one image"
        raise RecordError(path, what, "save each plane as a label image, beside its image")
    refuse_size(path, upright_size(image), ids.shape, "masks")
    return ids + 1 if ids.size and ids.min() == -1 else ids  # old files count from -1


def _masks_of(reader: PickleReader, file: Any) -> np.ndarray:
    """The masks in an open file of numpy.save."""
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    _, _, dtype = header[version](file)
    if not dtype.hasobject:
        raise ValueError(f"an array of {dtype} and no dict with masks")
    saved = reader.read(file)
    masks = saved.content["masks"]
    if not isinstance(masks, PickledArray):
        raise ValueError("masks that are no array")
    return masks.numbers()


def _files(folder: Path) -> tuple[dict[str, Path], dict[str, Path], dict[str, Path]]:
    """Images, label images and pickles by the name that they share."""
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    pickles: dict[str, Path] = {}
    paths = visible(folder)
    alone = not any(path.suffix.lower() in OTHER_LABELS for path in paths)
    stems = {path.stem.removesuffix(IMAGE) for path in paths if path.suffix.lower() in IMAGE_SUFFIXES}
    for path in paths:
        stem, suffix = path.stem, path.suffix.lower()
        if stem.endswith(OUTPUTS):
            continue
        owner = bare_stem(stem, stems) if alone and suffix in LABEL_SUFFIXES else stem
        if path.name.endswith(PICKLE):
            pickles[path.name.removesuffix(PICKLE)] = path
        elif suffix in LABEL_SUFFIXES and stem.endswith(MASKS):
            _add(masks, stem.removesuffix(MASKS).removesuffix("_cp"), path)
        elif owner != stem:
            _add(masks, owner, path)
        elif suffix in IMAGE_SUFFIXES:
            _add(images, stem.removesuffix(IMAGE), path)
    return images, masks, pickles


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    if name in found:
        raise RecordError(path, f"{found[name].name!r} is there too", "delete the one that is wrong")
    found[name] = path
