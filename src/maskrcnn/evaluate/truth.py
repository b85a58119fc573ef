"""Labels as columns for COCO's evaluator, gone through once and used for every kind that is scored.

Two traps of COCO's own evaluator are kept out by renumbering everything: an annotation with id 0 counts as never found,
and a missing area puts the object in no size range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pycocotools import mask as coco_mask

from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage

if TYPE_CHECKING:
    import hotcoco

Kind = Literal["bbox", "segm", "keypoints"]


@dataclass
class Truth:
    """P images with A objects; images and classes are numbered from 1."""

    name: str  # of the data set, for messages
    images: dict[int | str, int]  # the user's image id -> number, in the order of the ids
    categories: dict[int, int]  # the user's class id -> number
    classes: list[str]
    sizes: np.ndarray  # int64 (P, 2): height and width of image 1, 2, ...
    image: np.ndarray  # int64 (A,) number of the image
    category: np.ndarray  # int64 (A,)
    boxes: np.ndarray  # float64 (A, 4) x, y, width, height
    areas: np.ndarray  # float64 (A,)
    crowd: np.ndarray  # bool (A,)
    masked: np.ndarray  # bool (A,): has a mask
    masks: list[Any] | None  # RLE, of the box where there is no mask; None unless asked for
    keypoints: list[np.ndarray | None]  # (K, 3) x, y, visibility of each object
    points: int  # K; 0 where the data set has none
    sigmas: list[float] | None  # of the keypoints

    def coco(self, kind: Kind) -> hotcoco.COCO:
        """The labels as `kind` is scored on them.

        For masks, an object that is only a box becomes a crowd over that box: it need not be found, and what is found
        there is no mistake.
        """
        import hotcoco

        images = [
            {"id": number, "height": height, "width": width}
            for number, (height, width) in enumerate(self.sizes.tolist(), 1)
        ]
        categories = [{"id": number, "name": name} for number, name in enumerate(self.classes, 1)]
        crowd = self.crowd | ~self.masked if kind == "segm" else self.crowd
        if kind != "keypoints":
            masks = self.masks if kind == "segm" else None
            return hotcoco.COCO.from_arrays(
                images, categories, self.image, self.category, self.boxes,
                area=self.areas, iscrowd=crowd, segmentation=masks,
            )  # fmt: skip
        # keypoints have no column form
        columns = zip(
            self.image.tolist(), self.category.tolist(), self.boxes.tolist(), self.areas.tolist(), crowd.tolist(),
            self.keypoints, strict=True,
        )  # fmt: skip
        annotations = [
            {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": int(many)}
            | _keypoints(points, self.points)
            for number, (image, category, box, area, many, points) in enumerate(columns, 1)
        ]
        return hotcoco.COCO({"images": images, "annotations": annotations, "categories": categories})


def read_truth(dataset: Dataset, *, masks: bool) -> Truth:
    """The labels of `dataset`.

    Args:
        masks: also take the masks, as run-length codes.
    """
    shapes: list[tuple[int | str, int, int, int]] = []  # id, height, width, objects
    category, areas, crowd, masked = list[int](), list[float](), list[bool](), list[bool]()
    boxes, keypoints, codes = list[tuple[float, ...]](), list[np.ndarray | None](), list[dict[str, Any]]()
    for image in images_of(dataset):
        shapes.append((image.image_id, image.height, image.width, len(image.annotations)))
        for annotation in image.annotations:
            category.append(annotation.label + 1)
            boxes.append(annotation.box)
            areas.append(annotation.area if annotation.area > 0 else _measure(annotation, image))
            crowd.append(annotation.crowd)
            masked.append(has_mask(annotation))
            keypoints.append(annotation.keypoints)
            if masks:
                codes.append(_mask(annotation, image))
    images = _numbers([image_id for image_id, *_ in shapes])
    sizes = np.zeros((len(shapes), 2), np.int64)
    numbers = np.array([images[image_id] for image_id, *_ in shapes], np.int64)
    sizes[numbers - 1] = [shape[1:3] for shape in shapes]
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    corners[:, 2:] -= corners[:, :2]
    return Truth(
        name=dataset.name,
        images=images,
        categories={class_id: number for number, class_id in enumerate(dataset.class_ids, 1)},
        classes=dataset.classes,
        sizes=sizes,
        image=np.repeat(numbers, [shape[3] for shape in shapes]),
        category=np.array(category, np.int64),
        boxes=corners,
        areas=np.array(areas, np.float64),
        crowd=np.array(crowd, bool),
        masked=np.array(masked, bool),
        masks=codes if masks else None,
        keypoints=keypoints,
        points=len(dataset.keypoints.names) if dataset.keypoints else 0,
        sigmas=list(dataset.keypoints.sigmas) if dataset.keypoints else None,
    )


def images_of(dataset: Dataset) -> Iterator[LabelledImage]:
    return (dataset.image(index) for index in range(len(dataset)))


def has_mask(annotation: Annotation) -> bool:
    return bool(annotation.polygons) or annotation.rle is not None


def _numbers(ids: list[int | str]) -> dict[int | str, int]:
    """A number from 1 for every image id, in the order of the ids: COCO breaks ties between equal scores by it."""
    ordered = sorted(ids) if all(isinstance(i, int) for i in ids) else sorted(ids, key=str)  # type: ignore[type-var]
    return {image_id: number for number, image_id in enumerate(ordered, 1)}


def _mask(annotation: Annotation, image: LabelledImage) -> dict[str, Any]:
    """The object's mask, or its box where it has none, as RLE."""
    rle = annotation_rle(annotation, image.height, image.width)
    if rle is None:
        x0, y0, x1, y1 = annotation.box
        ring = [x0, y0, x1, y0, x1, y1, x0, y1]
        rle = coco_mask.merge(coco_mask.frPyObjects([ring], image.height, image.width))
    return rle


def _measure(annotation: Annotation, image: LabelledImage) -> float:
    """Area of an object whose label does not state it."""
    if has_mask(annotation):
        return float(coco_mask.area(_mask(annotation, image)))
    x0, y0, x1, y1 = annotation.box
    return float((x1 - x0) * (y1 - y0))


def _keypoints(found: np.ndarray | None, count: int) -> dict[str, Any]:
    """Keypoints as COCO counts them: pixel indices, half a pixel less than the continuous coordinates inside."""
    points = np.zeros((count, 3)) if found is None else np.array(found, dtype=float)
    labelled = points[:, 2] > 0
    points[labelled, :2] -= 0.5
    return {"keypoints": points.ravel().tolist(), "num_keypoints": int(labelled.sum())}
