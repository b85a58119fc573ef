"""Label images: beside each image a 16-bit PNG of instance ids, 0 for background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.types import Dataset, LabelledImage
from maskrcnn.labels.writers.image_copy import copy_image
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.masks.rle import rle_bitmap


def write_instance_png(datasets: dict[str, Dataset], folder: Path, left_out: LeftOut) -> None:
    """Writes every split into `folder`/SPLIT/images and `folder`/SPLIT/labels."""
    for split, dataset in datasets.items():
        taken: set[str] = set()
        for index, image in enumerate(dataset):
            name = copy_image(dataset, index, folder / split / "images", taken, flat=True)
            path = (folder / split / "labels" / name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(instance_ids(image, left_out)).save(path)
            if len(dataset.classes) > 1:
                left_out.note("class name", sum(a.has_mask and not a.crowd for a in image.annotations))


def instance_ids(image: LabelledImage, left_out: LeftOut, most: int = 65_535) -> np.ndarray:
    """(H, W) uint16: the number of the object, from 1, that owns each pixel; later objects lie on top."""
    ids = np.zeros((image.height, image.width), np.uint16)
    number = 0
    for annotation in image.annotations:
        if left_out.is_crowd(annotation):
            continue
        rle = annotation_rle(annotation, image.height, image.width)
        left_out.note_keypoints(annotation)
        if rle is None:
            left_out.note("object without a mask")
            continue
        number += 1
        if number > most:
            left_out.note(f"object beyond number {most} of its image")
            continue
        bitmap = rle_bitmap(rle) > 0
        left_out.note("pixels that two objects share", int((ids[bitmap] > 0).sum()))
        ids[bitmap] = number
    present = len(np.unique(ids[ids > 0]))
    left_out.note("object hidden by others", min(number, most) - present)
    return ids
