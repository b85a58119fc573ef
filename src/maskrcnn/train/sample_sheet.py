"""A sheet of training samples as the network gets them, labels drawn: what to look at before a training."""

from __future__ import annotations

from PIL import Image

from maskrcnn.config.load import Config
from maskrcnn.labels.match_classes import labels_for
from maskrcnn.labels.types import Dataset
from maskrcnn.train.sample_images import GAP, draw_sample
from maskrcnn.training_data.loader import train_loader

COLUMNS = 4
WIDTH = 420  # pixels of each sample, and its height


def draw_sheet(dataset: Dataset, config: Config, count: int) -> Image.Image:
    """The first `count` samples of a training, four in a row.

    Args:
        config: with the classes of the data filled in.
    """
    config = config.model_copy(deep=True)
    config.data.workers = 0
    config.train.accumulate = 1
    batches = iter(train_loader(dataset, labels_for(dataset, config.model.classes), config, endless=True))
    drawn: list[Image.Image] = []
    while len(drawn) < count:
        batch, targets, _ = next(batches)
        for row in range(min(len(batch.images), count - len(drawn))):
            drawn.append(draw_sample(batch, targets, row, config.model).convert("RGB"))
    return _sheet(drawn)


def _sheet(images: list[Image.Image]) -> Image.Image:
    """The images beside and below one another, each fitted into its square."""
    rows = -(-len(images) // COLUMNS)
    cell = WIDTH + GAP
    sheet = Image.new("RGB", (min(COLUMNS, len(images)) * cell + GAP, rows * cell + GAP), "white")
    for place, image in enumerate(images):
        image.thumbnail((WIDTH, WIDTH))
        row, column = divmod(place, COLUMNS)
        corner = (
            column * cell + GAP + (WIDTH - image.width) // 2,
            row * cell + GAP + (WIDTH - image.height) // 2,
        )
        sheet.paste(image, corner)
    return sheet
