"""LabelMe's files (github.com/wkentaro/labelme): beside each image a JSON with its shapes.

The parts of an object share a `group_id`; a mask with holes is a shape of type "mask", a PNG inside its box.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from maskrcnn.files import write_text
from maskrcnn.labels.annotation_masks import annotation_rings, annotation_window
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.format_writer import FormatWriter


class LabelMeWriter(FormatWriter):
    """Images and JSON files in the folder of each split."""

    def own_file(self, split: str, name: str) -> Path:
        return (self.image_folder(split) / name).with_suffix(".json")

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        super().begin(split, name, image, info)
        self._shapes: list[dict[str, Any]] = []
        self._number = 0

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        for annotation in annotations:
            self._number += 1
            if not self.is_crowd(annotation):
                self.note_keypoints(annotation)
                self._shapes += self._shapes_of(annotation)

    def end(self) -> None:
        document: dict[str, Any] = {
            "version": "5.4.1",
            "flags": {},
            "shapes": self._shapes,
            "imagePath": Path(self.name).name,
            "imageData": None,
            "imageHeight": self.image.height,
            "imageWidth": self.image.width,
        }
        write_text(self.own_file(self.split, self.name), json.dumps(document, indent=1), flush=False)

    def _shapes_of(self, annotation: Annotation) -> list[dict[str, Any]]:
        parts = annotation_rings(annotation, self.image, self.tolerance)
        common = {
            "label": self.class_name(annotation),
            "group_id": self._number,
            "description": "",
            "flags": {},
        }
        if not parts:
            x0, y0, x1, y1 = (float(v) for v in annotation.box)
            return [common | {"shape_type": "rectangle", "points": [[x0, y0], [x1, y1]], "mask": None}]
        if any(holes for _, holes in parts):
            return [common | _mask_shape(annotation, self.image)]
        return [
            common | {"shape_type": "polygon", "points": ring.tolist(), "mask": None} for ring, _ in parts
        ]


def _mask_shape(annotation: Annotation, image: LabelledImage) -> dict[str, Any]:
    """A PNG over the box of whole pixels around the mask; the second point is its last pixel."""
    window = annotation_window(annotation, image)
    assert window is not None
    x0, y0, bitmap = window
    buffer = io.BytesIO()
    Image.fromarray(bitmap).save(buffer, "PNG")
    png = base64.b64encode(buffer.getvalue()).decode("ascii")
    last = [float(x0 + bitmap.shape[1] - 1), float(y0 + bitmap.shape[0] - 1)]
    return {"shape_type": "mask", "points": [[float(x0), float(y0)], last], "mask": png}
