"""YOLO's label files (docs.ultralytics.com/datasets): a data.yaml, and a .txt beside each image with a line
per object.

Objects of several parts, and holes, become one ring by lines of no width, as Ultralytics' own converter does
it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from maskrcnn.files import write_text
from maskrcnn.labels.annotation_masks import annotation_rings
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.labels.writers.image_copy import copy_image
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.masks.polygons import one_ring


def write_yolo(datasets: dict[str, Dataset], folder: Path, left_out: LeftOut) -> None:
    """Writes every split into `folder`/images/SPLIT and `folder`/labels/SPLIT, and data.yaml.

    A data set with keypoints and no masks is written as poses, else as polygons; an object without a mask as
    a box.
    """
    first = next(iter(datasets.values()))
    masks = any(
        a.polygons or a.rle for d in datasets.values() for i in range(len(d)) for a in d.image(i).annotations
    )
    keypoints = 0 if first.keypoints is None or masks else len(first.keypoints.names)
    settings: dict[str, object] = {"path": ".", **{split: f"images/{split}" for split in datasets}}
    settings["names"] = dict(enumerate(first.classes))
    if keypoints and first.keypoints is not None:
        settings |= {"kpt_shape": [keypoints, 3], "flip_idx": first.keypoints.flip}
        settings["kpt_names"] = {index: first.keypoints.names for index in range(len(first.classes))}
    for split, dataset in datasets.items():
        taken: set[str] = set()
        for index in range(len(dataset)):
            image = dataset.image(index)
            name = copy_image(dataset, index, folder / "images" / split, taken)
            lines = [
                line for a in image.annotations if (line := _line(a, image, keypoints, left_out)) is not None
            ]
            path = folder / "labels" / split / Path(name).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, "".join(f"{line}\n" for line in lines), flush=False)
    write_text(folder / "data.yaml", yaml.safe_dump(settings, sort_keys=False))


def _line(annotation: Annotation, image: LabelledImage, keypoints: int, left_out: LeftOut) -> str | None:
    """An object as a line, None for a crowd.

    Args:
        keypoints: of each line where lines are poses, else 0. An object without any has none that are
            visible.
    """
    if annotation.crowd:
        left_out.note("crowd region")
        return None
    x0, y0, x1, y1 = annotation.box
    width, height = image.width, image.height
    box = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
    if keypoints:
        points = np.zeros((keypoints, 3)) if annotation.keypoints is None else annotation.keypoints
        return _text(annotation.label, box + (points / (width, height, 1)).reshape(-1).tolist())
    if annotation.keypoints is not None and (annotation.keypoints[:, 2] > 0).any():
        left_out.note("keypoints of an object")
    parts = annotation_rings(annotation, image)
    if not parts:
        return _text(annotation.label, box)
    ring = one_ring(parts) / (width, height)
    return _text(annotation.label, ring.clip(0, 1).reshape(-1).tolist())


def _text(label: int, numbers: list[float]) -> str:
    return " ".join([str(label), *(f"{number:.7g}" for number in numbers)])
