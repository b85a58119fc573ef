"""An image with its labels beside the same with what was found: green what agrees, red what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskrcnn.errors import DataError
from maskrcnn.evaluate.found import Result
from maskrcnn.images.draw import draw_instances
from maskrcnn.images.write import encoded
from maskrcnn.instances import Instances, Masks
from maskrcnn.labels.annotation_masks import annotation_window
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.masks.rle import json_rle
from maskrcnn.pages import as_base64

SIDE = 640  # pixels of a drawn image's long side
AGREES, WRONG = (46, 160, 90), (225, 50, 50)


@dataclass
class Example:
    """What is drawn of an image."""

    index: int  # in the data set
    labels: list[tuple[Annotation, bool]]  # objects, and whether each was found
    found: list[tuple[Result, bool]]  # detections, and whether each is an object's


def draw_example(dataset: Dataset, example: Example) -> tuple[str, str] | None:
    """JPEGs, base64, of the labels and of what was found; None where the image cannot be read."""
    image = dataset.image(example.index)
    try:
        pixels = dataset.pixels(example.index)
    except (DataError, OSError):
        return None
    labels = as_instances([label for label, _ in example.labels], image, dataset)
    answers = [as_annotation(result, image, dataset) for result, _ in example.found]
    found = as_instances(answers, image, dataset, [result["score"] for result, _ in example.found])
    drawn = []
    for instances, each in ((labels, example.labels), (found, example.found)):
        colours = [AGREES if agrees else WRONG for _, agrees in each]
        names = len(dataset.classes) > 1
        picture = draw_instances(
            pixels,
            instances,
            colours=colours or None,
            labels=names,
            scores=instances is found,
            boxes=instances.masks is None,
        )
        picture.thumbnail((SIDE, SIDE))
        drawn.append(as_base64(encoded(picture, "JPEG", 82)))
    return drawn[0], drawn[1]


def as_instances(
    annotations: Sequence[Annotation],
    image: LabelledImage,
    dataset: Dataset,
    scores: Sequence[float] | None = None,
) -> Instances:
    """Labelled objects as if they had been found, with certainty unless there are `scores`."""
    count, labels = len(annotations), np.array([a.label for a in annotations], np.int64)
    boxes = np.array([a.box for a in annotations], np.float32).reshape(-1, 4)
    windows = {row: annotation_window(a, image) for row, a in enumerate(annotations)}
    known = {row: window for row, window in windows.items() if window is not None}
    masks = Masks(np.zeros((count, 1, 1), np.float32), boxes, image.size, known=known) if known else None
    points = None
    if dataset.keypoints is not None:
        none = np.zeros((len(dataset.keypoints.names), 3))
        given = [none if a.keypoints is None else a.keypoints for a in annotations]
        points = np.array(given, np.float32).reshape(-1, *none.shape)
        points[..., 2] = np.minimum(points[..., 2], 1)
    return Instances(
        boxes=boxes,
        scores=np.ones(count, np.float32) if scores is None else np.array(scores, np.float32),
        labels=labels,
        names=[dataset.classes[label] for label in labels],
        size=image.size,
        masks=masks,
        keypoints=points,
        keypoint_schema=None if points is None else dataset.keypoints,
    )


def as_annotation(result: Result, image: LabelledImage, dataset: Dataset) -> Annotation:
    """A detection, as COCO's results have it, as a label."""
    x, y, width, height = result["bbox"]
    rle = result.get("segmentation")
    points = result.get("keypoints")
    if points is not None:
        points = np.reshape(points, (-1, 3)) + [0.5, 0.5, 0.0]
    return Annotation(
        box=(x, y, x + width, y + height),
        label=dataset.class_ids.index(result["category_id"]),
        rle=None if rle is None else json_rle(rle, image.height, image.width),
        keypoints=points,
    )
