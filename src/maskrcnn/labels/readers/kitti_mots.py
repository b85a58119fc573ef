"""KITTI MOTS and MOTSChallenge: instances/SEQUENCE/FRAME.png beside the sequences' images.

The format: vision.rwth-aachen.de/page/mots. A 16-bit pixel is 1000 times the class (1 car, 2 pedestrian) plus
the object's number; 10000 is a region to ignore, which is read as a crowd of both classes.
"""

from __future__ import annotations

from pathlib import Path

from maskrcnn.errors import RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import images_of_labels
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.label_image import read_ids, rles_by_id
from maskrcnn.labels.split_names import split_of

LABELS = "instances"
IMAGES = ("image_02", "training/image_02", "images", "../image_02", "../training/image_02")
CLASSES = {1: "car", 2: "pedestrian"}
PER_CLASS = 1000
IGNORED = 10


def read_kitti_mots(source: Path) -> FileDataset:
    """Read a folder with instances/ and image_02/ or images/, each with a folder for each sequence.

    Raises:
        DataError: no images, or a label image that cannot be used.
    """
    source = Path(source)
    labels = source / LABELS
    folder = next((source / name for name in IMAGES if (source / name).is_dir()), None)
    if folder is None:
        raise RecordError(
            source, f"none of {', '.join(IMAGES[:3])} is there", "put the sequences' images there"
        )
    builder = LabelBuilder(source, folder)
    builder.add_classes(list(CLASSES.values()), list(CLASSES))
    for label, name in images_of_labels(labels, builder):
        ids = read_ids(labels / label, folder / name)
        image = builder.add_image(name, size=ids.shape)
        for value, rle in rles_by_id(ids).items():
            kind, record = value // PER_CLASS, f"id {value} of {label!r}"
            if kind == IGNORED:
                for one in range(len(CLASSES)):
                    builder.add_object(image, one, record, rle=rle, crowd=True)
            elif kind in CLASSES:
                builder.add_object(image, list(CLASSES).index(kind), record, rle=rle)
            elif kind == 0:
                what = f"has the number {value}; 1000 times a class is added to those of KITTI MOTS"
                remedy = f"if it is not of that, say so: instance-png:{source}"
                raise RecordError(labels / label, what, remedy)
            else:
                builder.problems.note(ProblemKind.MOTS_UNKNOWN_CLASS, record)
    return builder.build()


def looks_like_kitti_mots(source: Path) -> bool:
    """Whether `source` holds instances/ with folders of PNGs, and images."""
    try:
        folders = [path for path in visible(Path(source) / LABELS) if path.is_dir()]
        sequences = [path for path in folders if split_of(path.name) is None]
        return any((Path(source) / name).is_dir() for name in IMAGES) and any(
            next(path.glob("*.png"), None) for path in sequences[:3]
        )
    except OSError:
        return False
