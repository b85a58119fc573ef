"""Opened data sets as the settings want their images: with the model's channels, and large ones in tiles."""

from __future__ import annotations

from maskrcnn.config.load import Config
from maskrcnn.errors import UserError
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.subset import without_empty
from maskrcnn.labels.types import Dataset
from maskrcnn.training_data.decoded import GIGABYTE, DecodedImages, Progress
from maskrcnn.training_data.tiles import TiledDataset


def fit_images(
    config: Config, train: Dataset, val: Dataset | None = None, progress: Progress | None = None
) -> tuple[Dataset, Dataset | None, list[str]]:
    """What to train and evaluate on, large images decoded; and lines for the terminal about how they were cut.

    Raises:
        UserError: settings that take what is to be ignored for background, or no room for the decoded images.
        DataError: an image cannot be read.
    """
    tiles, channels = config.data.tiles, config.model.input.channels
    lines: list[str] = []
    if config.data.empty == "drop":
        train, lines = without_empty(train)
    train = with_channels(train, channels)
    val = None if val is None else with_channels(val, channels)
    if tiles is None:
        return train, val, lines
    for name in ("rpn", "roi"):
        if getattr(config.model, name).ignore_iou is None:
            raise UserError(
                f"data.tiles: remnants of objects at the borders of tiles are to be ignored, but model.{name}.ignore_iou "
                f"is null; set model.{name}.ignore_iou=0.5"
            )
    decoded = DecodedImages(int(tiles.cache_gb * GIGABYTE))
    tiled = [TiledDataset(train, tiles, channels=channels, decoded=decoded)]
    if val is not None and tiles.val:
        tiled.append(TiledDataset(val, tiles, channels=channels, decoded=decoded, keep_empty=True))
    lines += [dataset.line for dataset in tiled]
    decoded.fill(progress)
    if decoded.bytes:
        lines.append(f"decoded images: {decoded.bytes / GIGABYTE:.2f} GB in {decoded.folder}")
    slow = sum(dataset.counts["not kept"] for dataset in tiled)
    if slow:
        lines.append(
            f"{slow} images are decoded anew for each of their tiles, which is slow and takes the memory of them all: "
            f"{tiles.cache_gb:g} GB hold no more; raise data.tiles.cache_gb"
        )
    return tiled[0], tiled[1] if len(tiled) > 1 else val, lines
