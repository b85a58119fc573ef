"""YOLO's label files (docs.ultralytics.com/datasets): a data.yaml, and a .txt beside each image with a line
per object.

Objects of several parts, and holes, become one ring by lines of no width, as Ultralytics' own converter does
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from maskrcnn.files import write_text
from maskrcnn.labels.annotation_masks import annotation_ring
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.format_writer import FormatWriter


class YoloWriter(FormatWriter):
    """images/SPLIT, labels/SPLIT and data.yaml. Objects are polygons, those without a mask boxes.

    With `poses` they are boxes with keypoints instead: a file has one or the other.
    """

    poses = False

    def image_folder(self, split: str) -> Path:
        return self.folder / "images" / (split or "train")

    def own_file(self, split: str, name: str) -> Path:
        return self.folder / "labels" / (split or "train") / Path(name).with_suffix(".txt")

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        if not self.name:
            self._first, self._splits = info, dict[str, None]()
        super().begin(split, name, image, info)
        self._splits[split or "train"] = None
        self._lines: list[str] = []

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        self._lines += [self._line(one) for one in annotations if not self.left_out.is_crowd(one)]

    def end(self) -> None:
        path = self.own_file(self.split, self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(f"{line}\n" for line in self._lines), flush=False)

    def close(self) -> None:
        if not self.name:
            return
        settings: dict[str, object] = {"path": ".", **{split: f"images/{split}" for split in self._splits}}
        settings["names"] = dict(enumerate(self._first.classes))
        schema = self._first.keypoints
        if self.poses and schema is not None:
            settings |= {"kpt_shape": [len(schema.names), 3], "flip_idx": schema.flip}
            settings["kpt_names"] = {index: list(schema.names) for index in range(len(self._first.classes))}
        write_text(self.folder / "data.yaml", yaml.safe_dump(settings, sort_keys=False))

    def _line(self, annotation: Annotation) -> str:
        """An object as a line; in poses one without keypoints has none that are visible."""
        x0, y0, x1, y1 = annotation.box
        width, height = self.image.width, self.image.height
        box = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
        if self.poses and self._first.keypoints is not None:
            none = np.zeros((len(self._first.keypoints.names), 3))
            points = none if annotation.keypoints is None else annotation.keypoints
            return _text(annotation.label, box + (points / (width, height, 1)).reshape(-1).tolist())
        self.left_out.note_keypoints(annotation)
        ring = annotation_ring(annotation, self.image, self.tolerance)
        if ring is None:
            return _text(annotation.label, box)
        return _text(annotation.label, (ring / (width, height)).clip(0, 1).reshape(-1).tolist())


def _text(label: int, numbers: list[float]) -> str:
    return " ".join([str(label), *(f"{number:.7g}" for number in numbers)])
