"""QuPath's GeoJSON (qupath-core's QuPathTypeAdapters): beside each image NAME.geojson, a feature an object.

Coordinates are pixels of the whole image. Holes and parts are kept; a box without a mask is an outline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.images.draw import instance_colour
from maskrcnn.images.georeference import read_georeference
from maskrcnn.labels.annotation_masks import annotation_rings
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.labels.writers.growing_file import GrowingFile
from maskrcnn.masks.polygons import signed_area


class GeoJsonWriter(FormatWriter):
    """Images and .geojson files in the folder of each split; a file is whole after every tile."""

    _file: GrowingFile | None = None
    with_images = False  # QuPath has the image open

    def own_file(self, split: str, name: str) -> Path:
        return (self.image_folder(split) / name).with_suffix(".geojson")

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        self.close()
        super().begin(split, name, image, info)
        path = self.own_file(split, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = GrowingFile(path, self.head(), "\n]}\n")

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        shown = [None] * len(annotations) if scores is None else scores
        pairs = zip(annotations, shown, strict=True)
        assert self._file is not None
        self._file.add(
            [json.dumps(self._feature(*pair)) for pair in pairs if not self.left_out.is_crowd(pair[0])]
        )

    def end(self) -> None:
        self.close()

    def leave_out(self) -> None:
        if self._file is not None:
            self.close()
            self.own_file(self.split, self.name).unlink(missing_ok=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def head(self) -> str:
        """What stands before the features."""
        return '{"type": "FeatureCollection", "features": [\n'

    def place(self, ring: np.ndarray) -> np.ndarray:
        """A ring (n, 2) of x, y in pixels as coordinates of the file."""
        return ring

    def _feature(self, annotation: Annotation, score: float | None) -> dict[str, Any]:
        self.left_out.note_keypoints(annotation)
        parts = annotation_rings(annotation, self.image, self.tolerance)
        if not parts:
            self.left_out.note("box drawn as an outline")
            x0, y0, x1, y1 = map(float, annotation.box)
            parts = [(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), [])]
        polygons = [
            [_closed(self.place(outer), True), *(_closed(self.place(hole), False) for hole in holes)]
            for outer, holes in parts
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
                "classification": {
                    "name": self.class_name(annotation),
                    "color": list(instance_colour(annotation.label)),
                },
                "measurements": measurements,
            },
        }


class MapWriter(GeoJsonWriter):
    """GeoJSON in the coordinates of the map, for a GIS; images without a georeference are counted."""

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        """
        Raises:
            ImageError: a GeoTIFF that is damaged, or rasterio is not installed.
        """
        self._georeference = None if image.path is None else read_georeference(image.path)
        if self._georeference is None:
            self.left_out.note("image without a georeference")
            FormatWriter.begin(self, split, name, image, info)
        else:
            super().begin(split, name, image, info)

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        if self._georeference is not None:
            super().add(annotations, scores)

    def head(self) -> str:
        """With the reference system by its name, as GDAL and QGIS write and read it (GeoJSON 2008)."""
        crs = self._georeference.crs if self._georeference is not None else None
        if crs is None:
            return super().head()
        name = f"urn:ogc:def:crs:EPSG::{crs[5:]}" if crs.startswith("EPSG:") else crs
        named = json.dumps({"type": "name", "properties": {"name": name}})
        return f'{{"type": "FeatureCollection", "crs": {named}, "features": [\n'

    def place(self, ring: np.ndarray) -> np.ndarray:
        assert self._georeference is not None
        return np.array([self._georeference.point(x, y) for x, y in ring.tolist()])


def _closed(ring: np.ndarray, outer: bool) -> list[list[float]]:
    """Its points with the first again at the end, the right way round (RFC 7946, section 3.1.6)."""
    ring = ring if (signed_area(ring) > 0) == outer else ring[::-1]
    points: list[list[float]] = ring.tolist()
    return [*points, points[0]]
