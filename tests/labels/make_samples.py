"""Writes tests/labels/samples: twelve generated images in every format that we read. Anyone can run it again:

    python tests/labels/make_samples.py [FOLDER]

Forms that we write come from our writers, the others are written by hand as their tools write them.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import samples_masks
import samples_polygons
from twelve import Twelve

from maskrcnn.labels.convert import WRITERS
from maskrcnn.labels.types import Dataset
from maskrcnn.labels.writers.left_out import LeftOut

SAMPLES = Path(__file__).parent / "samples"
OURS = ("coco", "instance-png", "labelme", "voc", "yolo")  # of the writers; the others' tests read them back
BY_HAND: dict[str, Callable[[Dataset, Path], None]] = {
    "cityscapes": samples_masks.write_cityscapes,
    "coco-panoptic": samples_masks.write_panoptic,
    "cvat": samples_polygons.write_cvat,
    "label-studio": samples_polygons.write_label_studio,
    "lvis": samples_polygons.write_lvis,
    "mask-folders": samples_masks.write_mask_folders,
    "penn-fudan": samples_masks.write_penn_fudan,
    "supervisely": samples_masks.write_supervisely,
    "via-csv": partial(samples_polygons.write_via, form="csv"),
    "via-export": partial(samples_polygons.write_via, form="export"),
    "via-project": partial(samples_polygons.write_via, form="project"),
    "yolo-pose": samples_polygons.write_yolo_pose,
}


def make_samples(folder: Path) -> None:
    """Write every format into a folder of its own in `folder`."""
    dataset = Twelve()
    for name in sorted([*BY_HAND, *OURS]):
        target = folder / name
        target.mkdir(parents=True)
        if name in BY_HAND:
            BY_HAND[name](dataset, target)
        else:
            WRITERS[name]({"train": dataset}, target, LeftOut())


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    if out == SAMPLES:
        shutil.rmtree(out, ignore_errors=True)
    make_samples(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {len(list(out.iterdir()))} formats, {size / 1024:.0f} KB")
