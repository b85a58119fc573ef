"""LabelMe's files (github.com/wkentaro/labelme): beside each image a JSON with its shapes.

The parts of an object share a `group_id`; a mask with holes is a shape of type "mask", a PNG inside its box.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskrcnn.files import write_text
from maskrcnn.labels.annotation_masks import annotation_rings, annotation_window
from maskrcnn.labels.types import Annotation
from maskrcnn.labels.writers.format_writer import ShapesWriter
from maskrcnn.masks.labelme import labelme_file, labelme_shapes


class LabelMeWriter(ShapesWriter):
    """Images and JSON files in the folder of each split."""

    def own_file(self, split: str, name: str) -> Path:
        return (self.image_folder(split) / name).with_suffix(".json")

    def end(self) -> None:
        name, (height, width) = Path(self.name).name, (self.image.height, self.image.width)
        document = labelme_file(self.shapes, name, height, width)
        write_text(self.own_file(self.split, self.name), json.dumps(document, indent=1), flush=False)

    def shapes_of(self, annotation: Annotation) -> list[dict[str, Any]]:
        parts = annotation_rings(annotation, self.image, self.tolerance)
        window = annotation_window(annotation, self.image) if any(holes for _, holes in parts) else None
        return labelme_shapes(self.class_name(annotation), self.number, annotation.box, parts, window)
