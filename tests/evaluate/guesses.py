"""Detections made of labels, right and wrong ones."""

from __future__ import annotations

import numpy as np

from maskrcnn.evaluate.found import Result
from maskrcnn.labels.types import Dataset


def guesses(dataset: Dataset, seed: int) -> list[Result]:
    """The labels' boxes, masks and keypoints of other images now and then, with random scores."""
    rng = np.random.default_rng(seed)
    results: list[Result] = []
    for index in range(len(dataset)):
        for source in (index, index, (index + 1) % len(dataset)):
            for annotation in dataset.image(source).annotations:
                if rng.random() < 0.3:
                    continue
                x0, y0, x1, y1 = np.asarray(annotation.box) + rng.normal(0, 3, 4)
                label = annotation.label if rng.random() < 0.8 else int(rng.integers(len(dataset.classes)))
                result = {
                    "image_id": dataset.image(index).image_id,
                    "category_id": dataset.class_ids[label],
                    "score": round(float(rng.random()), 2),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": annotation.rle,
                }
                if annotation.keypoints is not None:
                    result["keypoints"] = (annotation.keypoints + rng.normal(0, 2, (17, 3))).ravel().tolist()
                results.append(result)
    return results
