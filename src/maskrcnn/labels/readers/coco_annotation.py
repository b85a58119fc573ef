"""One annotation of a COCO file, repaired where it can be."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from maskrcnn.config.model import KeypointSchema
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.problems import Problem, ProblemKind, Problems, Refused
from maskrcnn.labels.readers.shapes import drawable
from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.rle import MIN_POINTS, Rle, json_rle, rle_area, rle_box

Box = tuple[float, float, float, float]

# COCO writes coordinates with two decimals: a box may leave its image by this much and still be right
ROUNDING = 0.05
MEASURED = "measured"  # a bbox or area that is to be taken from the mask and is not missing


class Dropped(Exception):
    """The annotation cannot be used."""

    def __init__(self, kind: ProblemKind) -> None:
        super().__init__(kind.text)
        self.kind = kind


class AnnotationReader:
    """Reads annotations one by one and tallies what it repaired."""

    def __init__(
        self,
        name: str,
        classes: list[str],
        schema: KeypointSchema | None,
        with_schema: set[int],
        problems: Problems,
    ) -> None:
        """
        Args:
            name: the file, for messages.
            schema: what keypoints are; `with_schema` are the labels whose keypoints these are.
        """
        self.name = name
        self.classes = classes
        self.schema = schema
        self.with_schema = with_schema
        self.problems = problems
        self.next_id = 1  # for annotations without an id of their own
        self.refused_images: set[int | str] = set()  # ids of images that are there and cannot be used
        self._ids: set[int] = set()

    def read_into(
        self, raw: Any, position: int, images: dict[int | str, LabelledImage], label_of: dict[int, int]
    ) -> None:
        """Append the annotation at `position` of the file to its image, or count why not.

        Raises:
            Refused: an unknown class, an RLE that does not fit, keypoints of another number.
        """
        if not isinstance(raw, dict):
            record = f"entry {position} of annotations"
            what = f"{record} is not an object"
            raise Refused(Problem(ProblemKind.ANNOTATION_NO_OBJECT, record, what=what), self.name)
        record = f"annotation {raw['id']!r}" if "id" in raw else f"annotation at position {position}"
        record = raw.get("source", record)
        image_id, category_id = raw.get("image_id"), raw.get("category_id")
        image = images.get(image_id) if isinstance(image_id, (int, str)) else None
        if image is None and isinstance(image_id, (int, str)) and image_id in self.refused_images:
            return
        if image is None:
            self.problems.note(ProblemKind.ANNOTATION_WITHOUT_IMAGE, f"{record}, image_id {image_id!r}")
            return
        record = f"{record} of image {image.file_name!r}"
        label = label_of.get(category_id) if isinstance(category_id, int) else None
        if label is None:
            known = ", ".join(f"{i} {self.classes[k]}" for i, k in list(label_of.items())[:10])
            what = f"{record} has category_id {category_id!r}, which is not in categories ({known})"
            raise Refused(Problem(ProblemKind.UNKNOWN_CLASS, record, image.file_name, what), self.name)
        try:
            image.annotations.append(self._read(raw, record, image, label))
        except Dropped as why:
            self.problems.note(why.kind, record, image.file_name)

    def _read(self, raw: dict[str, Any], record: str, image: LabelledImage, label: int) -> Annotation:
        polygons, rle = self._mask(raw.get("segmentation"), record, image)
        annotation = Annotation((0.0, 0.0, 0.0, 0.0), label, polygons, rle)
        annotation.box = self._box(raw.get("bbox"), record, image, annotation)
        annotation.keypoints = self._keypoints(raw.get("keypoints"), record, image, label)
        annotation.crowd = bool(raw.get("iscrowd"))
        if raw.get("iscrowd") is None:
            self.problems.note(ProblemKind.ISCROWD_ASSUMED, record, image.file_name)
        annotation.area = self._area(raw.get("area"), record, image, annotation)
        annotation.id = self._id(raw.get("id"), record, image)
        return annotation

    def _mask(self, raw: Any, record: str, image: LabelledImage) -> tuple[list[np.ndarray] | None, Rle | None]:
        """Rings or an RLE, at most one of them."""
        if not raw:
            return None, None
        if isinstance(raw, dict):
            try:
                rle = json_rle(raw, image.height, image.width)
            except ValueError as error:
                what = f"the RLE of {record} cannot be used: {error}"
                raise Refused(Problem(ProblemKind.UNUSABLE_RLE, record, image.file_name, what), self.name) from None
            if rle_area(rle) == 0:
                self.problems.note(ProblemKind.EMPTY_MASK, record, image.file_name)
                return None, None
            return None, rle
        if not isinstance(raw, list):
            what = f"the segmentation of {record} is neither polygons nor an RLE"
            raise Refused(Problem(ProblemKind.SEGMENTATION_NO_MASK, record, image.file_name, what), self.name)
        if not isinstance(raw[0], list):
            self.problems.note(ProblemKind.FLAT_POLYGON, record, image.file_name)
            raw = [raw]
        rings = []
        for numbers in raw:
            ring = _floats(numbers)
            if ring is None or ring.ndim != 1 or len(ring) % 2 or len(ring) < 2 * MIN_POINTS:
                self.problems.note(ProblemKind.SHORT_POLYGON, record, image.file_name)
                continue
            if not np.isfinite(ring).all():
                raise Dropped(ProblemKind.NON_FINITE)
            points = ring.reshape(-1, 2)
            if not drawable(points):
                raise Dropped(ProblemKind.OVERLONG_OUTLINE)
            rings.append(points)
        return rings or None, None

    def _box(self, raw: Any, record: str, image: LabelledImage, annotation: Annotation) -> Box:
        """xyxy inside the image."""
        if raw is None or raw == [] or raw == MEASURED:
            rle = annotation_rle(annotation, image.height, image.width)
            if rle is None or rle_area(rle) == 0:
                raise Dropped(ProblemKind.NO_BOX)
            if raw != MEASURED:
                self.problems.note(ProblemKind.BOX_FROM_MASK, record, image.file_name)
            return rle_box(rle)
        if type(raw) is list and len(raw) == 4 and all(type(value) is float for value in raw):
            x, y, width, height = raw  # as nearly all are; an array of them would take longer than all else here
        else:
            numbers = _floats(raw)
            if numbers is None or numbers.shape != (4,):
                raise Dropped(ProblemKind.NO_BOX)
            x, y, width, height = numbers.tolist()
        if not all(map(math.isfinite, (x, y, width, height))):
            raise Dropped(ProblemKind.NON_FINITE)
        x0, x1 = sorted((x, x + width))
        y0, y1 = sorted((y, y + height))
        if x0 == x1 or y0 == y1:  # also a side so short that it is lost in the rounding
            raise Dropped(ProblemKind.ZERO_AREA_BOX)
        if width < 0 or height < 0:
            self.problems.note(ProblemKind.REVERSED_BOX, record, image.file_name)
        if _inside((x0, y0, x1, y1), image):
            return (x0, y0, x1, y1)
        if _inside((y0, x0, y1, x1), image) and (
            x0 >= image.width or y0 >= image.height or self._mask_says_swapped((x0, y0, x1, y1), image, annotation)
        ):
            raise Dropped(ProblemKind.SWAPPED_BOX)
        clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, float(image.width)), min(y1, float(image.height)))
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            raise Dropped(ProblemKind.BOX_OUTSIDE)
        self.problems.note(ProblemKind.CLIPPED_BOX, record, image.file_name)
        return clipped

    def _mask_says_swapped(self, box: Box, image: LabelledImage, annotation: Annotation) -> bool:
        rle = annotation_rle(annotation, image.height, image.width)
        if rle is None or rle_area(rle) == 0:
            return False
        found = rle_box(rle)
        return box_iou(found, box) < 0.2 < 0.5 < box_iou(found, (box[1], box[0], box[3], box[2]))

    def _keypoints(self, raw: Any, record: str, image: LabelledImage, label: int) -> np.ndarray | None:
        """(K, 3) with continuous x, y; zeros where the visibility is 0."""
        if not raw:
            return None
        if self.schema is None or label not in self.with_schema:
            self.problems.note(ProblemKind.FOREIGN_KEYPOINTS, record, image.file_name)
            return None
        numbers = _floats(raw)
        count = len(self.schema.names)
        if numbers is None or numbers.shape != (3 * count,):
            what = (
                f"the keypoints of {record} must be {3 * count} numbers, x, y and visibility for each of {count} names"
            )
            raise Refused(Problem(ProblemKind.KEYPOINT_COUNT, record, image.file_name, what), self.name)
        keypoints = numbers.reshape(count, 3)
        broken = ~np.isfinite(keypoints).all(axis=1)
        if broken.any():
            self.problems.note(ProblemKind.NON_FINITE_KEYPOINT, record, image.file_name)
        keypoints[broken | (keypoints[:, 2] <= 0)] = 0.0
        keypoints[keypoints[:, 2] > 0, :2] += 0.5
        return keypoints

    def _area(self, raw: Any, record: str, image: LabelledImage, annotation: Annotation) -> float:
        if isinstance(raw, (int, float)) and 0 < raw <= sys.float_info.max:
            return float(raw)
        if raw != MEASURED:
            self.problems.note(ProblemKind.AREA_COMPUTED, record, image.file_name)
        rle = annotation_rle(annotation, image.height, image.width)
        x0, y0, x1, y1 = annotation.box
        return (x1 - x0) * (y1 - y0) if rle is None else float(rle_area(rle))

    def _id(self, raw: Any, record: str, image: LabelledImage) -> int:
        if type(raw) is not int or raw in self._ids:
            self.problems.note(ProblemKind.ID_RENUMBERED, record, image.file_name)
            raw = self.next_id
            self.next_id += 1
        self._ids.add(raw)
        return int(raw)


def box_iou(a: Box, b: Box) -> float:
    """Overlap of two boxes xyxy over their union."""
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / total if total > 0 else 0.0


def _inside(box: Box, image: LabelledImage) -> bool:
    x0, y0, x1, y1 = box
    right, lower = image.width + ROUNDING, image.height + ROUNDING
    return x0 >= -ROUNDING and y0 >= -ROUNDING and x1 <= right and y1 <= lower


def _floats(values: Any) -> np.ndarray | None:
    """A new float64 array with NaN for null, or None when the values are not numbers."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
