"""Labels as COCO's evaluator takes them, gone through once and used for every kind that is scored.

Two traps of that evaluator are kept out by renumbering everything from 1: an annotation with id 0 counts as
never found, and a missing area puts the object in no size range.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn.errors import DataError
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage, of_each_class, refuse_unfit

if TYPE_CHECKING:
    import hotcoco

Kind = Literal["bbox", "segm", "keypoints"]
KINDS: tuple[Kind, ...] = get_args(Kind)
KIND_NAMES: dict[str, str] = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}  # box AP, mask AP


@dataclass
class Truth:
    """P images with A objects; images and classes are numbered from 1."""

    name: str  # of the data set, for messages
    images: dict[int | str, int]  # the user's image id -> number, in the order of the ids
    categories: dict[int, int]  # the user's class id -> number
    classes: list[str]
    sizes: np.ndarray  # int64 (P, 2): height and width of image 1, 2, ...
    annotations: list[dict[str, Any]]  # COCO's records of the A objects
    crowd: np.ndarray  # bool (A,)
    masked: np.ndarray  # bool (A,): has a mask
    points: int  # keypoints of an object; 0 where the data set has none
    sigmas: list[float] | None  # of the keypoints
    # the categories that were looked for in an image of LVIS; of another image all were
    searched: dict[int, set[int]] = field(default_factory=dict)

    def coco(self, kind: Kind) -> hotcoco.COCO:
        """The labels as `kind` is scored on them.

        For masks, an object that is only a box becomes a crowd over that box: it need not be found, and what
        is found there is no mistake.
        """
        import hotcoco

        crowd = self.crowd | ~self.masked if kind == "segm" else self.crowd
        sizes = enumerate(self.sizes.tolist(), 1)
        return hotcoco.COCO(
            {
                "images": [
                    {"id": number, "height": height, "width": width} for number, (height, width) in sizes
                ],
                "categories": [{"id": number, "name": name} for number, name in enumerate(self.classes, 1)],
                "annotations": [
                    a | {"iscrowd": int(c)} for a, c in zip(self.annotations, crowd, strict=True)
                ],
            }
        )


def read_truth(dataset: Dataset, *, masks: bool) -> Truth:
    """The labels of `dataset`.

    Args:
        masks: also take the masks, as run-length codes.
    """
    points = len(dataset.keypoints.names) if dataset.keypoints else 0
    sizes: dict[int | str, tuple[int, int]] = {}
    records, crowd, masked = list[dict[str, Any]](), list[bool](), list[bool]()
    searched: dict[int | str, set[int]] = {}
    for image in dataset:
        if image.image_id in sizes:
            line = f"its image_id {image.image_id!r} is another image's too; give each its own"
            raise DataError(f"{dataset.name}: {image.file_name}: {line}")
        refuse_unfit(image, len(dataset.classes))
        sizes[image.image_id] = (image.height, image.width)
        if image.negative is not None:
            labels = {annotation.label for annotation in image.annotations}
            searched[image.image_id] = {label + 1 for label in labels.union(image.negative)}
        annotations = of_each_class(image.annotations, len(dataset.classes))
        for annotation in [*annotations, *_not_exhaustive(image)]:
            record = _record(annotation, image, masks, points)
            records.append({"id": len(records) + 1, "image_id": image.image_id} | record)
            crowd.append(annotation.crowd)
            masked.append(annotation.has_mask)
    # COCO breaks ties between equal scores by the order of the images' ids
    ids = in_order(sizes)
    images = {image_id: number for number, image_id in enumerate(ids, 1)}
    for record in records:
        record["image_id"] = images[record["image_id"]]
    return Truth(
        name=dataset.name,
        images=images,
        categories={class_id: number for number, class_id in enumerate(dataset.class_ids, 1)},
        classes=dataset.classes,
        sizes=np.array([sizes[image_id] for image_id in ids], np.int64).reshape(-1, 2),
        annotations=records,
        crowd=np.array(crowd, bool),
        masked=np.array(masked, bool),
        points=points,
        sigmas=list(dataset.keypoints.sigmas) if dataset.keypoints else None,
        searched={images[image_id]: labels for image_id, labels in searched.items()},
    )


def _not_exhaustive(image: LabelledImage) -> list[Annotation]:
    """A crowd all over the image for each class of which LVIS labels some objects only (Gupta et al. 2019):
    what else is found of it is neither right nor wrong.
    """
    box = (0.0, 0.0, float(image.width), float(image.height))
    return [Annotation(box, label, crowd=True) for label in image.not_exhaustive]


def in_order(ids: Iterable[int | str]) -> list[int | str]:
    """The ids of images in the order in which they are numbered."""
    ids = list(ids)
    return sorted(ids) if all(isinstance(i, int) for i in ids) else sorted(ids, key=str)  # type: ignore[type-var]


def labelled_kinds(dataset: Dataset) -> list[Kind]:
    """What there is to score."""
    there = {"bbox": True, "segm": dataset.has_masks, "keypoints": dataset.keypoints is not None}
    return [kind for kind in KINDS if there[kind]]


def _record(annotation: Annotation, image: LabelledImage, masks: bool, points: int) -> dict[str, Any]:
    """An object as COCO's files have it."""
    x0, y0, x1, y1 = map(float, annotation.box)
    record: dict[str, Any] = {"category_id": annotation.label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
    area = float(annotation.area)
    if area <= 0:  # the label does not state it
        area = (x1 - x0) * (y1 - y0)
        if annotation.has_mask:
            area = float(coco_mask.area(_mask(annotation, image)))
    if masks:
        record["segmentation"] = _mask(annotation, image)
    return record | {"area": area} | (_keypoints(annotation.keypoints, points) if points else {})


def _mask(annotation: Annotation, image: LabelledImage) -> dict[str, Any]:
    """The object's mask, or its box where it has none, as RLE."""
    rle = annotation_rle(annotation, image.height, image.width)
    if rle is None:
        x0, y0, x1, y1 = annotation.box
        ring = [x0, y0, x1, y0, x1, y1, x0, y1]
        rle = coco_mask.merge(coco_mask.frPyObjects([ring], image.height, image.width))
    return rle


def _keypoints(found: np.ndarray | None, count: int) -> dict[str, Any]:
    """Keypoints as COCO counts them: pixel indices, half a pixel less than the continuous coordinates
    inside.
    """
    points = np.zeros((count, 3)) if found is None else np.array(found, dtype=float)
    labelled = points[:, 2] > 0
    points[labelled, :2] -= 0.5
    return {"keypoints": points.ravel().tolist(), "num_keypoints": int(labelled.sum())}
