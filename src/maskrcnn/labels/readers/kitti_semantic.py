"""KITTI's benchmark of semantic and instance segmentation: instance/NAME.png beside image_2/NAME.png.

The format: the devkit of cvlibs.net/datasets/kitti/eval_instance_seg.php. The upper 8 bits of a 16-bit pixel
are a class of Cityscapes, the lower 8 the number of the object; 0 there is no object of its own: a crowd, as
in Cityscapes. Buildings and the like are numbered too and not read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.readers.cityscapes import (
    CLASSES,
    PER_CLASS,
    UNEVALUATED,
    add_instances,
    instances_of_ids,
)
from maskrcnn.labels.readers.files_by_name import images_of_labels
from maskrcnn.labels.readers.folder_files import has_folders, need_folders
from maskrcnn.labels.readers.label_image import read_ids

FOLDERS = ("instance", "image_2")
THINGS = [*CLASSES.values(), *UNEVALUATED.values()]


def read_kitti_semantic(source: Path) -> FileDataset:
    """Read a folder with instance/ and image_2/, or the one above it.

    Raises:
        UserError: no such folder.
        DataError: a label image cannot be used.
    """
    labels, images = need_folders(_root(Path(source)), *FOLDERS)
    builder = LabelBuilder(Path(source), images)
    builder.add_classes(list(CLASSES), list(CLASSES.values()))
    for label, name in images_of_labels(labels, builder):
        pixels = read_ids(labels / label, images / name).astype(np.int64)
        kinds, numbers = pixels >> 8, pixels & 255
        alone = (numbers == 0) | ~np.isin(kinds, THINGS)
        ids = np.where(alone, np.minimum(kinds, PER_CLASS - 1), kinds * PER_CLASS + numbers)
        image = builder.add_image(name, size=ids.shape)
        add_instances(instances_of_ids(ids, labels / label, builder.problems), image, builder)
    return builder.build()


def looks_like_kitti_semantic(source: Path) -> bool:
    """Whether `source`, or the folder training in it, holds instance/ and image_2/."""
    return has_folders(_root(Path(source)), *FOLDERS)


def _root(source: Path) -> Path:
    return source if has_folders(source, *FOLDERS) else source / "training"
