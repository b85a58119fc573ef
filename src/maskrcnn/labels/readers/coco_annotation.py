"""One annotation of a COCO file, turned into our conventions.

COCO's boxes are x, y, width, height. Its keypoints are pixel indices, so half a pixel is added.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problem
from maskrcnn.labels.readers.coco_numbers import CocoNumbers
from maskrcnn.labels.refused import Refused
from maskrcnn.labels.shapes import box_around_turned
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import other_kind, turn_of
from maskrcnn.masks.rle import MIN_POINTS, Rle, json_rle, union_rle

CROWD = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}


class AnnotationReader:
    """Hands annotations to a builder, one by one."""

    def __init__(
        self,
        builder: LabelBuilder,
        label_of: dict[int | str, int],
        images: dict[int | str, LabelledImage],
        refused: set[int | str],
        next_id: int,
    ) -> None:
        """
        Args:
            label_of: the labels of the classes by their ids in the file.
            images: by their id in the file.
            refused: ids of images that are in the file and cannot be used.
            next_id: for annotations without an id of their own.
        """
        self.builder, self.images, self.refused, self.next_id = builder, images, refused, next_id
        self.label_of = label_of
        self.numbers = CocoNumbers()
        self._ids: set[int] = set()

    def read(self, raw: Any, position: int) -> None:
        """Add the annotation at `position` of the file to its image, or count why not.

        Raises:
            Refused: an unknown class, an iscrowd that says nothing, a mask that cannot be read, keypoints of
                another number.
        """
        if not isinstance(raw, dict):
            record = f"entry {position} of annotations"
            problem = Problem(ProblemKind.ANNOTATION_NO_OBJECT, record, what=f"{record} is not an object")
            raise Refused(problem, str(self.builder.source))
        record = f"annotation {raw['id']!r}" if "id" in raw else f"annotation at position {position}"
        image = self._image(raw.get("image_id"), record)
        if image is None:
            return
        label = self._label(raw.get("category_id"), record, image)
        polygons, rle = self._mask(raw.get("segmentation"), record, image)
        if raw.get("isbbox") is True and (polygons or rle is not None) and raw.get("bbox"):
            self.builder.note(ProblemKind.BOX_WITH_OUTLINE, record, image)
            polygons = rle = None  # COCO Annotator's boxes have themselves as their outline
        area = stated_area(raw.get("area"))
        box, keypoints = xyxy(raw.get("bbox")), read_keypoints(raw.get("keypoints"))
        self.numbers.add(image, box, polygons, rle, keypoints)
        turn = turn_of(raw.get("attributes"))
        if turn and box and not polygons and rle is None:
            self.builder.note(ProblemKind.TURNED_BOX, record, image)
            box = tuple(box_around_turned(box, turn))
        found = self.builder.add_object(
            image,
            label,
            record,
            box=box,
            polygons=polygons,
            rle=rle,
            keypoints=keypoints,
            crowd=self._crowd(raw.get("iscrowd"), record, image),
            area=area,
        )
        if found is None:
            return
        if raw.get("bbox") in (None, []):
            self.builder.note(ProblemKind.BOX_FROM_MASK, record, image)
        if raw.get("iscrowd") is None:
            self.builder.note(ProblemKind.ISCROWD_ASSUMED, record, image)
        if area is None:
            self.builder.note(ProblemKind.AREA_COMPUTED, record, image)
        found.id = self._id(raw.get("id"), record, image)

    def _image(self, image_id: Any, record: str) -> LabelledImage | None:
        """The image that is meant; None where it cannot be used or, which is counted, there is none."""
        for each in (image_id if type(image_id) in (int, str) else None, other_kind(image_id)):
            if each is not None and each in self.refused:
                return None
            if each is not None and each in self.images:
                image = self.images[each]
                if each is not image_id:
                    self.builder.note(
                        ProblemKind.ID_OF_ANOTHER_KIND, f"{record}, image_id {image_id!r}", image
                    )
                return image
        self.builder.offered += 1
        kind = ProblemKind.ANNOTATION_WITHOUT_IMAGE
        self.builder.problems.note(kind, f"{record}, image_id {image_id!r}")
        return None

    def _crowd(self, raw: Any, record: str, image: LabelledImage) -> bool:
        """Whether it is a crowd region; without an `iscrowd` it is none."""
        if raw is None:
            return False
        found = CROWD.get(raw.strip().lower() if isinstance(raw, str) else raw) if _is_plain(raw) else None
        if found is None:
            raise self._refused(ProblemKind.UNCLEAR_ISCROWD, record, image, "", f" has iscrowd {raw!r:.40}")
        if isinstance(raw, str):
            self.builder.note(ProblemKind.ISCROWD_TEXT, record, image)
        return found

    def _label(self, category_id: Any, record: str, image: LabelledImage) -> int:
        label = self.label_of.get(category_id) if type(category_id) in (int, str) else None
        if label is None and (other := other_kind(category_id)) in self.label_of:
            self.builder.note(ProblemKind.ID_OF_ANOTHER_KIND, f"{record}, category_id {category_id!r}", image)
            label = self.label_of[other]
        if label is None:
            ids = list(self.label_of.items())[:10]
            known = ", ".join(f"{one!r:.40} {self.builder.classes[label]}" for one, label in ids)
            what = f" has category_id {category_id!r}, which is not in categories ({known})"
            raise self._refused(ProblemKind.UNKNOWN_CLASS, record, image, "", what)
        return label

    def _mask(
        self, raw: Any, record: str, image: LabelledImage
    ) -> tuple[list[np.ndarray] | None, Rle | None]:
        """Rings or an RLE, at most one of them; a list of numbers that is no ring becomes one without a
        point.
        """
        if isinstance(raw, str) and raw:  # tables keep it so
            try:
                raw = json.loads(raw)
            except (ValueError, RecursionError):
                pass
            else:
                self.builder.note(ProblemKind.SEGMENTATION_TEXT, record, image)
        if not raw:
            return None, None
        if isinstance(raw, dict):
            return None, self._rle(raw, record, image)
        if not isinstance(raw, list):
            kind, what = ProblemKind.SEGMENTATION_NO_MASK, " is neither polygons nor an RLE"
            raise self._refused(kind, record, image, "the segmentation of ", what)
        if all(isinstance(part, dict) for part in raw):
            self.builder.note(ProblemKind.RLE_IN_LIST, record, image)
            return None, union_rle([self._rle(part, record, image) for part in raw])
        return self._rings(raw, record, image), None

    def _rle(self, raw: dict[str, Any], record: str, image: LabelledImage) -> Rle:
        counts = raw.get("counts")
        if isinstance(counts, str) and counts[:2] in ("b'", 'b"') and counts[1] == counts[-1]:
            self.builder.note(ProblemKind.SEGMENTATION_TEXT, record, image)  # Python's str() of bytes
            raw = raw | {"counts": counts[2:-1].replace("\\\\", "\\")}
        try:
            return json_rle(raw, image.height, image.width)
        except ValueError as error:
            what = f" cannot be used: {error}"
            raise self._refused(ProblemKind.UNUSABLE_RLE, record, image, "the RLE of ", what) from None

    def _rings(self, raw: list[Any], record: str, image: LabelledImage) -> list[np.ndarray]:
        """Rings of a list of polygons, whose points may be pairs, or of a single polygon."""
        if all(isinstance(part, list) and len(part) == 1 and isinstance(part[0], list) for part in raw):
            self.builder.note(ProblemKind.NESTED_POLYGON, record, image)
            raw = [part[0] for part in raw]
        if not isinstance(raw[0], list):
            self.builder.note(ProblemKind.FLAT_POLYGON, record, image)
            raw = [raw]
        elif len(raw) >= MIN_POINTS and all(isinstance(pair, list) and len(pair) == 2 for pair in raw):
            self.builder.note(ProblemKind.FLAT_POLYGON, record, image)
            raw = [raw]
        first = [part[0] for part in raw if isinstance(part, list) and part]
        if any(isinstance(point, dict) or _is_nested(point) for point in first):
            what = " is nested too deep for polygons, or has points that are no numbers"
            kind = ProblemKind.SEGMENTATION_NO_MASK
            raise self._refused(kind, record, image, "the segmentation of ", what)
        if any(isinstance(point, list) for point in first):
            self.builder.note(ProblemKind.PAIRS, record, image)
        return [_ring(numbers) for numbers in raw]

    def _id(self, raw: Any, record: str, image: LabelledImage) -> int:
        if type(raw) is not int or raw in self._ids:
            self.builder.note(ProblemKind.ID_RENUMBERED, record, image)
            raw = self.next_id
            self.next_id += 1
        self._ids.add(raw)
        return int(raw)

    def _refused(
        self, kind: ProblemKind, record: str, image: LabelledImage, before: str, after: str
    ) -> Refused:
        """The record cannot be used, for the reason that `before`, its name and `after` tell."""
        where = f"{record} of image {image.file_name!r}"
        return Refused(
            Problem(kind, where, image.file_name, f"{before}{where}{after}"), str(self.builder.source)
        )


def xyxy(raw: Any) -> tuple[float, ...] | None:
    """COCO's x, y, width, height as xyxy; None where there is nothing, and empty where it is no such
    thing.
    """
    if raw is None or raw == []:
        return None
    if type(raw) is list and len(raw) == 4 and all(type(value) is float for value in raw):
        x, y, width, height = raw  # as nearly all are; an array of them would take longer than all else here
    else:
        numbers = _floats(raw)
        if numbers is None or numbers.shape != (4,):
            return ()
        x, y, width, height = numbers.tolist()
    return (x, y, x + width, y + height)


def stated_area(raw: Any) -> float | None:
    """The area of an annotation; None where it is no number above 0."""
    return float(raw) if isinstance(raw, (int, float)) and 0 < raw <= sys.float_info.max else None


def _is_plain(value: Any) -> bool:
    return isinstance(value, (int, float, str))


def _is_nested(point: Any) -> bool:
    """Whether what should be x, y is a ring, or more."""
    long = isinstance(point, list) and len(point) >= 2 * MIN_POINTS
    return long or (isinstance(point, list) and any(isinstance(value, (list, dict)) for value in point))


def _ring(numbers: Any) -> np.ndarray:
    """float64 (n, 2) of x1, y1, x2, y2, ... or of pairs x, y."""
    ring = _floats(numbers)
    if ring is not None and ring.ndim == 2 and ring.shape[1] == 2:
        return ring
    return np.zeros((0, 2)) if ring is None or ring.ndim != 1 or len(ring) % 2 else ring.reshape(-1, 2)


def read_keypoints(raw: Any) -> np.ndarray | None:
    """(K, 3) of continuous x, y, and visibility; without a row where they are no such numbers."""
    if not raw:
        return None
    numbers = _floats(raw)
    if numbers is not None and numbers.shape[1:] == (3,):  # a list for each
        numbers = numbers.reshape(-1)
    if numbers is None or numbers.ndim != 1 or len(numbers) % 3:
        return np.zeros((0, 3))
    return numbers.reshape(-1, 3) + [0.5, 0.5, 0.0]


def _floats(values: Any) -> np.ndarray | None:
    """A new float64 array with NaN for null, or None when the values are not numbers."""
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
