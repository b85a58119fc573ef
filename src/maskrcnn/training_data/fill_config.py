"""What a training takes from the data where the recipe leaves it open: classes, keypoints, value range,
side of the images."""

from __future__ import annotations

import numpy as np

from maskrcnn.config.load import Config
from maskrcnn.errors import DataError
from maskrcnn.images.read import ValueRange
from maskrcnn.images.value_range import IMAGES, find_value_range
from maskrcnn.labels.types import Dataset

MOSTLY = 0.75  # share of the images that are no longer than the side that a model is made for


def fill_config(config: Config, dataset: Dataset) -> Config:
    """A copy of `config` whose classes, their ids and keypoint schema come from `dataset` where they were not
    given.

    Raises:
        DataError: the recipe trains masks or keypoints and the labels have none; names the way out.
    """
    model = config.model
    classes = model.classes or dataset.classes
    if not model.class_ids:
        id_of = dict(zip(dataset.classes, dataset.class_ids, strict=True))
        ids = [id_of.get(name, 2**63) for name in classes]
        # what predicts has room for 64 bits; without an id for each of the classes it counts them
        ids = ids if all(abs(number) < 2**63 for number in ids) else []
        model = model.model_copy(update={"classes": list(classes), "class_ids": ids})
    if model.keypoint_head is not None and model.keypoints is None:
        if dataset.keypoints is None:
            raise DataError(
                f"{dataset.name}: the recipe trains keypoints and the labels have none; "
                "add --set model.keypoint_head=null to train without"
            )
        model = model.model_copy(update={"keypoints": dataset.keypoints})
    if model.mask_head is not None and not dataset.has_masks:
        raise DataError(
            f"{dataset.name}: the recipe trains masks and the labels have none; "
            "add --set model.mask_head=null to train boxes only"
        )
    return config.model_copy(update={"model": model})


def fill_value_range(config: Config, dataset: Dataset) -> Config:
    """A copy of `config` with the range of values of the images, where these have more than 8 bits."""
    settings = config.model.input
    if settings.value_range is not None:
        return config
    found = value_range_of(dataset, settings.channels, config.data.value_percentiles)
    settings = settings.model_copy(update={"value_range": found})
    return config.model_copy(update={"model": config.model.model_copy(update={"input": settings})})


def fill_tile_side(config: Config, dataset: Dataset) -> Config:
    """A copy of `config` with the side of the images or tiles that it trains on, where that was not given."""
    settings = config.model.input
    if settings.tile_side is not None:
        return config
    if config.data.tiles is not None:
        side = config.data.tiles.side
    else:
        sides = [max(dataset.size(index)) for index in range(len(dataset))]
        side = int(np.quantile(sides, MOSTLY, method="inverted_cdf")) if sides else 0
    settings = settings.model_copy(update={"tile_side": side})
    return config.model_copy(update={"model": config.model.model_copy(update={"input": settings})})


def value_range_of(
    dataset: Dataset, channels: int, percentiles: tuple[float, float] | None = None
) -> ValueRange | None:
    """What `find_value_range` finds in the images of `dataset`; no more labels are built than it looks at
    images.
    """
    looked_at = range(0, len(dataset), max(1, len(dataset) // IMAGES))
    paths = [path for path in (dataset.image(index).path for index in looked_at) if path is not None]
    return find_value_range(paths, channels, percentiles)
