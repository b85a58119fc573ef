"""What a training takes from the labels when the recipe leaves it open: the classes and the keypoints."""

from __future__ import annotations

from maskrcnn.config.load import Config
from maskrcnn.errors import DataError
from maskrcnn.labels.types import Dataset


def fill_config(config: Config, dataset: Dataset) -> Config:
    """A copy of `config` whose classes and keypoint schema come from `dataset` where they were not given.

    Raises:
        DataError: the recipe trains masks or keypoints and the labels have none; the message says how to leave that head
            out.
    """
    model = config.model.model_copy()
    if not model.classes:
        model.classes = list(dataset.classes)
        model.class_ids = list(dataset.class_ids)
    if model.keypoint_head is not None and model.keypoints is None:
        if dataset.keypoints is None:
            raise DataError(
                f"{dataset.name}: the recipe trains keypoints and the labels have none; "
                "add --set model.keypoint_head=null to train without"
            )
        model.keypoints = dataset.keypoints
    if model.mask_head is not None and not _any_mask(dataset):
        raise DataError(
            f"{dataset.name}: the recipe trains masks and the labels have none; "
            "add --set model.mask_head=null to train boxes only"
        )
    return config.model_copy(update={"model": model})


def _any_mask(dataset: Dataset) -> bool:
    images = (dataset.image(index) for index in range(len(dataset)))
    return any(a.polygons or a.rle is not None for image in images for a in image.annotations)
