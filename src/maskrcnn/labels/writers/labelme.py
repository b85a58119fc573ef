"""LabelMe's files (github.com/wkentaro/labelme): beside each image a JSON with its shapes.

The parts of an object share a `group_id`; a mask with holes is a shape of type "mask", a PNG inside its box.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maskrcnn.files import write_text
from maskrcnn.labels.annotation_masks import annotation_rings, annotation_rle
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.labels.writers.image_copy import copy_image
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.masks.rle import rle_bitmap


def write_labelme(datasets: dict[str, Dataset], folder: Path, left_out: LeftOut) -> None:
    """Writes every split into `folder`/SPLIT."""
    for split, dataset in datasets.items():
        taken: set[str] = set()
        for index in range(len(dataset)):
            image = dataset.image(index)
            name = copy_image(dataset, index, folder / split, taken)
            shapes: list[dict[str, Any]] = []
            for number, annotation in enumerate(image.annotations, start=1):
                shapes += _shapes(annotation, image, dataset.classes[annotation.label], number, left_out)
            document: dict[str, Any] = {
                "version": "5.4.1",
                "flags": {},
                "shapes": shapes,
                "imagePath": Path(name).name,
                "imageData": None,
                "imageHeight": image.height,
                "imageWidth": image.width,
            }
            path = (folder / split / name).with_suffix(".json")
            write_text(path, json.dumps(document, indent=1), flush=False)


def _shapes(
    annotation: Annotation, image: LabelledImage, name: str, number: int, left_out: LeftOut
) -> list[dict[str, Any]]:
    if annotation.crowd:
        left_out.note("crowd region")
        return []
    if annotation.keypoints is not None and (annotation.keypoints[:, 2] > 0).any():
        left_out.note("keypoints of an object")
    parts = annotation_rings(annotation, image)
    common = {"label": name, "group_id": number, "description": "", "flags": {}}
    if not parts:
        x0, y0, x1, y1 = (float(v) for v in annotation.box)
        return [common | {"shape_type": "rectangle", "points": [[x0, y0], [x1, y1]], "mask": None}]
    if any(holes for _, holes in parts):
        return [common | _mask_shape(annotation, image)]
    return [common | {"shape_type": "polygon", "points": ring.tolist(), "mask": None} for ring, _ in parts]


def _mask_shape(annotation: Annotation, image: LabelledImage) -> dict[str, Any]:
    """A PNG over the box of whole pixels around the mask; the second point is its last pixel."""
    rle = annotation_rle(annotation, image.height, image.width)
    assert rle is not None
    bitmap = rle_bitmap(rle)
    rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
    buffer = io.BytesIO()
    Image.fromarray(bitmap[y0 : y1 + 1, x0 : x1 + 1].astype(bool)).save(buffer, "PNG")
    png = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"shape_type": "mask", "points": [[float(x0), float(y0)], [float(x1), float(y1)]], "mask": png}
