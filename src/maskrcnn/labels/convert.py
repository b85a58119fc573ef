"""`maskrcnn convert data`: any labels that we read, in another tool's form, with everything lost counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from maskrcnn.errors import DataError, UserError
from maskrcnn.files import new_folder, refuse_filled
from maskrcnn.images.header import refuse_stack
from maskrcnn.labels.choose import with_classes
from maskrcnn.labels.open import open_dataset, open_split
from maskrcnn.labels.options import PLAIN, LabelOptions
from maskrcnn.labels.split_names import SPLITS
from maskrcnn.labels.types import Dataset
from maskrcnn.labels.writers.coco import write_coco_copies
from maskrcnn.labels.writers.cvat import CvatWriter
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.labels.writers.geojson import GeoJsonWriter
from maskrcnn.labels.writers.image_copy import copy_image
from maskrcnn.labels.writers.instance_png import write_instance_png
from maskrcnn.labels.writers.label_studio import LabelStudioWriter
from maskrcnn.labels.writers.label_tiff import LabelTiffWriter
from maskrcnn.labels.writers.labelme import LabelMeWriter
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.labels.writers.voc import write_voc
from maskrcnn.labels.writers.yolo import YoloWriter
from maskrcnn.stop import telling

Writer = Callable[[dict[str, Dataset], Path, LeftOut], None]


def _write_yolo(datasets: dict[str, Dataset], folder: Path, left_out: LeftOut) -> None:
    """Data sets with keypoints and no masks as poses."""
    writer = YoloWriter(folder, left_out)
    writer.poses = not any(dataset.has_masks for dataset in datasets.values())
    _write_each(datasets, writer)


def _write_each(datasets: dict[str, Dataset], writer: FormatWriter) -> None:
    """Every image of every split, with its copy."""
    for split, dataset in datasets.items():
        taken: set[str] = set()
        for index, image in enumerate(dataset):
            images = writer.image_folder(split)
            name = copy_image(dataset, index, images, taken, flat=writer.flat, plain=writer.plain)
            writer.begin(split, name, image, dataset.info)
            writer.add(image.annotations)
            writer.end()
    writer.close()


def _by(kind: type[FormatWriter]) -> Writer:
    return lambda datasets, folder, left_out: _write_each(datasets, kind(folder, left_out))


WRITERS: dict[str, Writer] = {
    "coco": lambda datasets, folder, left_out: write_coco_copies(datasets, folder),
    "yolo": _write_yolo,
    "labelme": _by(LabelMeWriter),
    "voc": write_voc,
    "instance-png": write_instance_png,
    "labels": _by(LabelTiffWriter),
    "cvat": _by(CvatWriter),
    "label-studio": _by(LabelStudioWriter),
    "geojson": _by(GeoJsonWriter),
}


def convert_data(
    source: str, to: str, out: Path, options: LabelOptions = PLAIN, channels: int = 3
) -> tuple[dict[str, Dataset], list[str]]:
    """Writes the labels and images of `source` into the new folder `out` in the form called `to`.

    Args:
        channels: that images are to be read with; 3: a TIFF of several pages is refused.

    Returns:
        the data sets that were written, by split, and a line on each kind of loss.

    Raises:
        UserError: an unknown form, or a folder that is not empty.
        DataError: labels or images that cannot be read.
    """
    if to not in WRITERS:
        raise UserError(f"--to {to}: there are {', '.join(WRITERS)}")
    refuse_filled(out)
    datasets, unread = _splits(source, options)
    for dataset in datasets.values() if channels == 3 else ():
        for image in dataset:
            if image.path is not None:
                refuse_stack(image.path)
    if to != "coco":  # of which each split has a file of its own, with its own classes
        names = list(dict.fromkeys(name for dataset in datasets.values() for name in dataset.classes))
        datasets = {split: with_classes(dataset, names) for split, dataset in datasets.items()}
    left_out = LeftOut()
    with new_folder(out) as unfinished, telling(lambda: f"{out} is not written"):
        WRITERS[to](datasets, unfinished, left_out)
    return datasets, unread + left_out.lines()


def _splits(source: str, options: LabelOptions) -> tuple[dict[str, Dataset], list[str]]:
    """Every split of `source`, and a line for a test split that cannot be read: it may have no labels."""
    datasets: dict[str, Dataset] = {}
    lines: list[str] = []
    for split in SPLITS:
        try:
            dataset = open_split(source, split, options=options)
        except DataError as error:
            if split != "test":
                raise
            lines.append(f"lost: split test, which cannot be read: {error}")
        else:
            if dataset is not None:
                datasets[split] = dataset
    if "train" not in datasets:
        try:
            datasets = {"train": open_dataset(source, "train", options=options)} | datasets
        except UserError as error:  # a source of val or test alone has no other part
            if not datasets or isinstance(error, DataError):
                raise
    return datasets, lines
