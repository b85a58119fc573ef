"""Any data set as COCO JSON, with the ids of the user's own file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from maskrcnn.files import new_file, write_text
from maskrcnn.labels.keypoint_schema import write_schema
from maskrcnn.labels.types import Annotation, Dataset, DatasetInfo, LabelledImage, of_each_class
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.labels.writers.image_copy import copy_image
from maskrcnn.labels.writers.left_out import LeftOut

DECIMALS = 6  # of keypoints: adding and taking away half a pixel leaves noise behind


def write_coco_copies(datasets: Mapping[str, Dataset], folder: Path) -> None:
    """Each split as COCO JSON beside a folder of its images, which are copied as they are.

    Errors are those of `write_coco`.
    """
    for split, dataset in datasets.items():
        write_coco(dataset, folder / f"{split}.json", folder / split)


def write_coco(
    dataset: Dataset,
    json_path: Path,
    image_folder: Path | None = None,
    *,
    file_names: list[str] | None = None,
) -> None:
    """Write a data set as COCO JSON: polygons as they are, RLE compressed.

    Annotation ids are the data set's own where they are all different, else numbers from 1. The file appears
    whole or not at all.

    Args:
        json_path: the file; its folder is made.
        image_folder: where to copy the images to (`copy_image`); None: no images, and `file_name` stays.
        file_names: what to call the images, where they are not copied.

    Raises:
        DataError: an image cannot be read.
        OSError: the disk is full or may not be written to.
    """
    json_path = Path(json_path)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    taken: set[str] = set()
    with_keypoints: set[int] = set()
    for index, image in enumerate(dataset):
        file_name = image.file_name if file_names is None else file_names[index]
        if image_folder is not None:
            file_name = copy_image(dataset, index, image_folder, taken)
        images.append(
            {"id": image.image_id, "file_name": file_name, "height": image.height, "width": image.width}
            | _searched(image, dataset.info)
        )
        with_keypoints |= {
            annotation.label for annotation in image.annotations if annotation.keypoints is not None
        }
        each = of_each_class(image.annotations, len(dataset.classes))
        annotations += [_annotation(annotation, image, dataset.info) for annotation in each]
    if len({annotation["id"] for annotation in annotations}) < len(annotations):
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
    categories = _categories(dataset.info, with_keypoints)
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_text(json_path, json.dumps(document, allow_nan=False))


class CocoWriter(FormatWriter):
    """SPLIT.json, written as annotations come, and the images in the folder of that name.

    A file appears when all is written, whole; annotations are numbered from 1.
    """

    def __init__(
        self, folder: Path, left_out: LeftOut, *, tolerance: float = 0.0, drafts: bool = False
    ) -> None:
        super().__init__(folder, left_out, tolerance=tolerance, drafts=drafts)
        self._file: TextIO | None = None
        self._open = contextlib.ExitStack()
        self._of = ""  # the split that the file is of
        self._count = 0  # annotations in it
        self._images: list[dict[str, Any]] = []
        self._with_keypoints: set[int] = set()

    def image_folder(self, split: str) -> Path:
        return self.folder / (split or "train")

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        if self._file is not None and self._of != split:
            self.close()
        super().begin(split, name, image, info)
        if self._file is None:
            self._of = split
            unfinished = self._open.enter_context(new_file(self.folder / f"{split or 'train'}.json"))
            self._file = self._open.enter_context(unfinished.open("w", encoding="utf-8"))
            self._file.write('{"annotations": [')
        self._begun = self._file.tell(), self._count
        self._images.append(
            {"id": image.image_id, "file_name": name, "height": image.height, "width": image.width}
            | _searched(image, info)
        )

    def leave_out(self) -> None:
        assert self._file is not None
        place, self._count = self._begun
        self._file.seek(place)
        self._file.truncate()
        self._images.pop()

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        assert self._file is not None
        shown = [None] * len(annotations) if scores is None else scores
        for annotation, score in zip(annotations, shown, strict=True):
            for one in of_each_class([annotation], len(self.info.classes)):
                self._file.write(",\n" if self._count else "\n")
                self._count += 1
                if one.keypoints is not None:
                    self._with_keypoints.add(one.label)
                record = _annotation(one, self.image, self.info) | {"id": self._count}
                if score is not None:
                    record["score"] = score
                self._file.write(json.dumps(record, allow_nan=False))

    def close(self) -> None:
        if self._file is not None:
            categories = _categories(self.info, self._with_keypoints)
            images, classes = (json.dumps(part, allow_nan=False) for part in (self._images, categories))
            self._file.write(f'\n],\n"images": {images},\n"categories": {classes}}}\n')
            self._file.close()
            self._open.close()
        self._file, self._count, self._images, self._with_keypoints = None, 0, [], set()


def _searched(image: LabelledImage, info: DatasetInfo) -> dict[str, list[int]]:
    """What LVIS says of an image in which not every class was looked for."""
    if image.negative is None and not image.not_exhaustive:
        return {}
    lists = {"neg_category_ids": image.negative or [], "not_exhaustive_category_ids": image.not_exhaustive}
    return {key: [info.class_ids[label] for label in labels] for key, labels in lists.items()}


def _annotation(annotation: Annotation, image: LabelledImage, info: DatasetInfo) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(value) for value in annotation.box)
    record: dict[str, Any] = {
        "id": int(annotation.id),
        "image_id": image.image_id,
        "category_id": info.class_ids[annotation.label],
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": float(annotation.area),
        "iscrowd": int(annotation.crowd),
        "segmentation": [],
    }
    if annotation.rle is not None:
        counts = annotation.rle["counts"]
        text = counts.decode("ascii") if isinstance(counts, bytes) else counts
        record["segmentation"] = {"size": [int(side) for side in annotation.rle["size"]], "counts": text}
    elif annotation.polygons is not None:
        record["segmentation"] = [ring.reshape(-1).tolist() for ring in annotation.polygons]
    if annotation.keypoints is not None:
        labelled = annotation.keypoints[:, 2] > 0
        keypoints = annotation.keypoints.astype(float)
        keypoints[labelled, :2] -= 0.5  # COCO's keypoints are pixel indices
        keypoints[~labelled] = 0.0
        record["keypoints"] = [round(value, DECIMALS) for value in keypoints.reshape(-1).tolist()]
        record["num_keypoints"] = int(labelled.sum())
    return record


def _categories(info: DatasetInfo, with_keypoints: set[int]) -> list[dict[str, Any]]:
    """Every class; the keypoint names go to the classes `with_keypoints`, or to all when there is none."""
    categories: list[dict[str, Any]] = [
        {"id": class_id, "name": name} for class_id, name in zip(info.class_ids, info.classes, strict=True)
    ]
    if info.keypoints is None:
        return categories
    for label in with_keypoints or range(len(categories)):
        categories[label] |= write_schema(info.keypoints)
    return categories
