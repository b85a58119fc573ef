"""QuPath's GeoJSON (qupath-core's QuPathTypeAdapters): beside each image NAME.geojson, a feature an object.

Coordinates are pixels of the whole image. Holes and parts are kept; a box without a mask is an outline.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.labels.annotation_masks import annotation_rings
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.labels.writers.growing_file import GrowingFile
from maskrcnn.masks.polygons import signed_area

GOLDEN = 0.618034  # hues so far apart never look alike


class GeoJsonWriter(FormatWriter):
    """Images and .geojson files in the folder of each split; a file is whole after every row of tiles."""

    with_images = False  # QuPath has the image open

    def own_file(self, split: str, name: str) -> Path:
        return (self.image_folder(split) / name).with_suffix(".geojson")

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        self.close()
        super().begin(split, name, image, info)
        path = self.own_file(split, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = GrowingFile(path, '{"type": "FeatureCollection", "features": [\n', "\n]}\n")

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        shown = [None] * len(annotations) if scores is None else scores
        pairs = zip(annotations, shown, strict=True)
        self._file.add([json.dumps(self._feature(*pair)) for pair in pairs if not self.is_crowd(pair[0])])

    def end(self) -> None:
        self._file.close()

    def close(self) -> None:
        if self.name:
            self._file.close()

    def _feature(self, annotation: Annotation, score: float | None) -> dict[str, Any]:
        self.note_keypoints(annotation)
        parts = annotation_rings(annotation, self.image, self.tolerance)
        if not parts:
            self.left_out.note("box drawn as an outline")
            x0, y0, x1, y1 = map(float, annotation.box)
            parts = [(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), [])]
        polygons = [
            [_closed(outer, True), *(_closed(hole, False) for hole in holes)] for outer, holes in parts
        ]
        measurements = {"Area px^2": float(annotation.area)} | ({} if score is None else {"Score": score})
        whole = len(polygons) == 1
        return {
            "type": "Feature",
            "geometry": {
                "type": "Polygon" if whole else "MultiPolygon",
                "coordinates": polygons[0] if whole else polygons,
            },
            "properties": {
                "objectType": "detection" if self.drafts else "annotation",
                "classification": {"name": self.class_name(annotation), "color": _colour(annotation.label)},
                "measurements": measurements,
            },
        }


def _closed(ring: np.ndarray, outer: bool) -> list[list[float]]:
    """Its points with the first again at the end, the right way round (RFC 7946, section 3.1.6)."""
    ring = ring if (signed_area(ring) > 0) == outer else ring[::-1]
    points: list[list[float]] = ring.tolist()
    return [*points, points[0]]


def _colour(label: int) -> list[int]:
    """RGB, the same for a class in every file."""
    return [round(255 * part) for part in colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.8, 0.9)]
