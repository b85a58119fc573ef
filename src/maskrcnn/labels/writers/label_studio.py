"""Label Studio's tasks (labelstud.io/guide/task_format): tasks.json, images/, and the labelling set-up.

Coordinates are percent of the image's sides. Holes and parts of an object become one ring by lines of no
width, since a polygon has one there. Images are named for its local storage, with the split's folder as root.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from maskrcnn.files import write_text
from maskrcnn.labels.annotation_masks import annotation_ring
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.labels.writers.growing_file import GrowingFile


class LabelStudioWriter(FormatWriter):
    """tasks.json of each split, whole after every image; drafts are predictions there, to be accepted."""

    def image_folder(self, split: str) -> Path:
        return self.folder / split / "images"

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        if not self.name or split != self.split:
            self.close()
            folder = self.folder / split
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "labelling.xml", _set_up(info.classes))
            self._file = GrowingFile(folder / "tasks.json", "[\n", "\n]\n")
            self._tasks = 0
        super().begin(split, name, image, info)
        self._regions: list[dict[str, Any]] = []
        self._scores: list[float] = []

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        shown = [None] * len(annotations) if scores is None else scores
        for annotation, score in zip(annotations, shown, strict=True):
            if self.left_out.is_crowd(annotation):
                continue
            self.left_out.note_keypoints(annotation)
            region = self._region(annotation)
            if score is not None:
                region["score"] = score
                self._scores.append(score)
            self._regions.append(region)

    def end(self) -> None:
        self._tasks += 1
        result: dict[str, Any] = {"result": self._regions}
        if self.drafts:
            result |= {"model_version": "maskrcnn", "score": min(self._scores, default=1.0)}
        task = {
            "id": self._tasks,
            "data": {"image": f"/data/local-files/?d={quote('images/' + self.name, errors='replace')}"},
            "predictions" if self.drafts else "annotations": [result],
        }
        self._file.add([json.dumps(task, allow_nan=False)])

    def close(self) -> None:
        if self.name:
            self._file.close()

    def _region(self, annotation: Annotation) -> dict[str, Any]:
        width, height = self.image.width, self.image.height
        region: dict[str, Any] = {
            "id": f"object-{len(self._regions) + 1}",
            "from_name": "outline",
            "to_name": "image",
            "type": "polygonlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
        }
        names = [self.class_name(annotation)]
        ring = annotation_ring(annotation, self.image, self.tolerance)
        if ring is not None:
            points = (ring * (100 / width, 100 / height)).tolist()
            return region | {"value": {"points": points, "closed": True, "polygonlabels": names}}
        x0, y0, x1, y1 = map(float, annotation.box)
        value = {
            "x": 100 * x0 / width,
            "y": 100 * y0 / height,
            "width": 100 * (x1 - x0) / width,
            "height": 100 * (y1 - y0) / height,
            "rotation": 0,
            "rectanglelabels": names,
        }
        return region | {"from_name": "box", "type": "rectanglelabels", "value": value}


def _set_up(classes: Sequence[str]) -> str:
    """What a project's labelling interface must be."""
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in classes)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <PolygonLabels name="outline" toName="image">\n{labels}  </PolygonLabels>\n'
        f'  <RectangleLabels name="box" toName="image">\n{labels}  </RectangleLabels>\n</View>\n'
    )
