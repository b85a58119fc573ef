"""From a reader's objects to a data set: every reader hands its images, classes and objects to a
`LabelBuilder`.

Whatever a format's own conventions are, objects arrive here in ours: boxes xyxy, coordinates continuous, in
pixels of the upright image. The builder validates and repairs them, counts what it repaired or dropped, and
packs them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import RecordError
from maskrcnn.images.header import LARGEST, upright_size
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.class_names import names_alike
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import NearNames, present_name
from maskrcnn.labels.keypoint_schema import read_schema
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problem, Problems
from maskrcnn.labels.refused import Refused, RefusedRecords
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.usable_shape import (
    Unusable,
    box_of_mask,
    box_of_outline,
    usable_box,
    usable_keypoints,
    usable_rings,
)
from maskrcnn.labels.values import short, whole
from maskrcnn.masks.rle import MIN_POINTS, Rle, rle_area


class LabelBuilder:
    """Images, classes and objects while a reader adds them; `build` makes the data set."""

    def __init__(self, source: Path, folder: Path) -> None:
        """
        Args:
            source: the file or folder that is read, for messages.
            folder: what the names of the images are relative to.
        """
        self.source, self.folder = source, folder
        self.classes: list[str] = []
        self.class_ids: list[int] = []
        self.keypoints: KeypointSchema | None = None
        self.images: list[LabelledImage] = []
        self.image_count = 0  # those too that are missing or refused
        self.missing: list[str] = []  # file names of images that are not there
        self.refused: list[Refused] = []
        self.problems = Problems(str(source))
        self.offered = 0  # objects, those that were dropped too
        self._with_keypoints: set[int] = set()  # labels
        self._names = NearNames(folder)
        self._paths: set[Path] = set()  # of images

    def add_class(self, name: Any, class_id: Any) -> int:
        """Add a class and return its label.

        Raises:
            DataError: no name, one that cannot be shown, or a name or an id that is there already.
        """
        name = self._bare(name)
        if not isinstance(name, str) or not name:
            raise RecordError(self.source, "has no name", "add it", f"id {short(class_id)} of categories")
        record = f"category {name!r}"
        if not name.isprintable():
            raise RecordError(self.source, "has control characters in its name", "remove them", record)
        if type(class_id) is not int:
            raise RecordError(self.source, f"has the id {class_id!r}", "give it a whole number", record)
        if class_id in self.class_ids:
            raise RecordError(
                self.source, f"has the id {class_id} of another category", "give each its own", record
            )
        if name in self.classes:
            remedy = "classes are told apart by name, so give each its own"
            raise RecordError(self.source, "is there twice", remedy, record)
        self.classes.append(name)
        self.class_ids.append(class_id)
        return len(self.classes) - 1

    def add_classes(self, names: Sequence[str], ids: Sequence[Any] | None = None) -> dict[str, int]:
        """Add classes and return their labels by name.

        Args:
            ids: the format's own. Where they are not different whole numbers, or None: 1, 2, ...
        """
        numbers = own_ids(ids if ids is not None else [None] * len(names))
        labels: dict[str, int] = {}
        for name, number in zip(names, numbers, strict=True):
            bare = self._bare(name)
            seen = bare in self.classes and name not in labels  # spelt with other spaces
            labels[name] = self.classes.index(bare) if seen else self.add_class(bare, number)
        return labels

    def add_keypoints(self, label: int, fields: dict[str, Any]) -> None:
        """Say what the keypoints of a class are. A training has one set: of several the first counts.

        Args:
            fields: as of a COCO category (`read_schema`); without `keypoints` the class has none.

        Raises:
            DataError: a field cannot be understood.
        """
        schema = read_schema(fields, self.source, f"category {self.classes[label]!r}", self.problems)
        self.keypoints = self.keypoints or schema
        if schema is not None and self.keypoints is not None and schema.names == self.keypoints.names:
            self._with_keypoints.add(label)

    def has_keypoints(self, label: int) -> bool:
        """Whether objects of a class may have keypoints."""
        return label in self._with_keypoints

    def add_image(
        self, file_name: str, image_id: int | None = None, size: tuple[Any, Any] | None = None
    ) -> LabelledImage:
        """Add an image.

        Args:
            image_id: None: its position, counted from 1.
            size: height and width as the format states them; None: read from the image.

        Raises:
            DataError: no such image, or one that is too large or outside the folder.
        """
        name = present_name(self.folder, file_name) if file_name else None
        if name is None:
            raise RecordError(
                self.source,
                "leaves the folder of the images",
                f"write its name relative to {str(self.folder)!r}, without '..'",
                f"image {file_name!r}",
            )
        path = self.folder / name
        if not os.path.isfile(path) and (near := self._names.find(name, any_suffix=False)) is not None:
            self.problems.note(ProblemKind.NEAR_NAME, f"image {file_name!r}", near)
            name, path = near, self.folder / near
        stated = upright_size(path) if size is None else size
        height, width = (whole(side) for side in stated)
        if not (0 < height <= LARGEST and 0 < width <= LARGEST and height * width <= LARGEST):
            raise RecordError(
                self.source,
                f"has height {short(stated[0])} and width {short(stated[1])}",
                f"write its real size, at most {LARGEST:,} pixels",
                f"image {file_name!r}",
            )
        self.note_file(name)
        self.image_count += 1
        image = LabelledImage(self.image_count if image_id is None else image_id, name, path, height, width)
        if os.path.isfile(path):
            self.images.append(image)
        else:
            self.missing.append(name)
        return image

    def note_file(self, name: str) -> None:
        """Count an image whose file is that of one before; `name` is relative to the folder."""
        path = self.folder / name
        if path in self._paths:
            self.problems.note(ProblemKind.FILE_TWICE, f"image {name!r}", name)
        self._paths.add(path)

    def add_object(
        self,
        image: LabelledImage,
        label: int,
        record: str,
        *,
        box: Sequence[float] | None = None,
        polygons: Sequence[np.ndarray] | None = None,
        rle: Rle | None = None,
        keypoints: np.ndarray | None = None,
        crowd: bool = False,
        area: float | None = None,
    ) -> Annotation | None:
        """Add an object to its image and return it; None where it cannot be used, which is counted.

        Args:
            label: index of its class.
            record: names it in messages, together with the image.
            box: xyxy, finite or not, in any order; not of four numbers: there is none that can be used. None:
                taken from the mask.
            polygons: float64 (n, 2) rings of x, y whose union is the mask; `rle`: the mask where it is not
                rings.
            keypoints: float64 (K, 3) of x, y and visibility; only where the visibility is above 0 there is
                one.
            area: as the file states it, a number above 0; None: measured.

        Raises:
            Refused: keypoints of another number than the class has.
        """
        self.offered += 1
        note = partial(self.note, record=record, image=image)
        try:
            found = Annotation((0.0, 0.0, 0.0, 0.0), label, crowd=crowd, id=self.offered)
            if polygons:
                found.polygons = usable_rings(polygons, note)
            elif rle is not None and rle_area(rle) > 0:
                found.rle = rle
            elif rle is not None:
                note(ProblemKind.EMPTY_MASK)
            mask = found.rle  # where it is needed it is drawn, once
            if mask is None and found.polygons is not None and (box is None or area is None):
                mask = annotation_rle(found, image.height, image.width)
                if box is not None and mask is not None and rle_area(mask) == 0:
                    note(ProblemKind.EMPTY_MASK)
                    found.polygons = mask = None
            if box is not None:
                found.box = usable_box(box, image, found, note)
            elif found.polygons is None:
                found.box = box_of_mask(mask)
            else:
                found.box = box_of_outline(found.polygons, mask, image, note)
        except Unusable as why:
            note(why.kind)
            return None
        if keypoints is not None:
            found.keypoints = self._keypoints(keypoints, image, record, label)
        x0, y0, x1, y1 = found.box
        found.area = area or (float(rle_area(mask)) if mask is not None else (x1 - x0) * (y1 - y0))
        image.annotations.append(found)
        return found

    def without_short(self, rings: Sequence[np.ndarray], record: str) -> list[np.ndarray]:
        """The rings of three points or more, where there is any; the others, which enclose nothing, are
        counted.
        """
        kept = [ring for ring in rings if len(ring) >= MIN_POINTS]
        if not kept:
            return list(rings)
        if len(kept) < len(rings):
            self.problems.note(ProblemKind.SHORT_POLYGON, record, count=len(rings) - len(kept))
        return kept

    def note(self, kind: ProblemKind, record: str, image: LabelledImage) -> None:
        """Count a problem of a record of an image."""
        self.problems.note(kind, f"{record} of image {image.file_name!r}", image.file_name)

    def build(self) -> FileDataset:
        """The data set.

        Raises:
            RefusedRecords: records cannot be used; with what the others hold.
            DataError: there is no image or no object.
        """
        refused = [*self._missing(), *self.refused]
        counts = ", ".join(
            f"{count} x {problem.kind.text}, first {problem.record:.200}: {problem.remedy}"
            for problem, count in self.problems
        )
        if not self.images and not refused:
            raise RecordError(
                self.source, f"empty data set, no labelled image ({counts or 'none at all'})", "add some"
            )
        if not refused and not any(image.annotations for image in self.images):
            raise RecordError(
                self.source,
                f"no object is usable, none of {self.offered} annotations ({counts or 'there is none'})",
                "label at least one object",
            )
        self._note_only_crowds()
        for one, other in names_alike(self.classes):
            self.problems.note(ProblemKind.CLASSES_ALIKE, f"{one!r} and {other!r}")
        info = DatasetInfo(str(self.source), self.classes, self.class_ids, self.keypoints, self.problems)
        dataset = FileDataset(self.images, info)
        if refused:
            raise RefusedRecords(refused, dataset if self.images else None)
        return dataset

    def _note_only_crowds(self) -> None:
        """Note crowd regions without any object: some tools write iscrowd 1 of all brush masks."""
        if any(not annotation.crowd for image in self.images for annotation in image.annotations):
            return
        labelled = [image for image in self.images if image.annotations]
        if labelled:
            record = f"annotation {labelled[0].annotations[0].id} of image {labelled[0].file_name!r}"
            count = sum(len(image.annotations) for image in labelled)
            self.problems.note(ProblemKind.ONLY_CROWDS, record, labelled[0].file_name, count)

    def _bare(self, name: Any) -> Any:
        """The name of a class without spaces around it, which are counted."""
        bare = (name.strip() or name) if isinstance(name, str) else name
        if bare != name:
            self.problems.note(ProblemKind.CLASS_SPACES, f"category {name!r}")
        return bare

    def _keypoints(
        self, given: np.ndarray, image: LabelledImage, record: str, label: int
    ) -> np.ndarray | None:
        """(K, 3), zeros where there is none."""
        if self.keypoints is None or not self.has_keypoints(label):
            self.note(ProblemKind.FOREIGN_KEYPOINTS, record, image)
            return None
        count = len(self.keypoints.names)
        if given.shape != (count, 3):
            where = f"{record} of image {image.file_name!r}"
            what = (
                f"the keypoints of {where} must be {3 * count} numbers, x, y and visibility for each of"
                f" {count} names"
            )
            raise Refused(Problem(ProblemKind.KEYPOINT_COUNT, where, image.file_name, what), str(self.source))
        return usable_keypoints(given, image, partial(self.note, record=record, image=image))

    def _missing(self) -> list[Refused]:
        if not self.missing:
            return []
        kind = ProblemKind.IMAGE_MISSING
        first = str(self.folder / self.missing[0])
        what = f"{len(self.missing)} of {self.image_count} image files are missing, the first is {first!r}"
        said = RecordError(self.source, what, kind.remedy)
        return [
            Refused(Problem(kind, f"image {name!r}", name), str(self.source), said) for name in self.missing
        ]


def own_ids(ids: Sequence[Any]) -> list[int]:
    """The ids themselves where they are different whole numbers, else 1, 2, ..."""
    if all(type(number) is int and abs(number) < 2**53 for number in ids) and len(set(ids)) == len(ids):
        return list(ids)
    return list(range(1, len(ids) + 1))
