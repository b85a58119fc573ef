"""Sample images of a run: what training sees, labels drawn, and what the network finds in images of the val
split.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.evaluate.examples import as_instances
from maskrcnn.images.batch import Batch, Targets
from maskrcnn.images.draw import draw_instances
from maskrcnn.images.font import with_font
from maskrcnn.images.write import save_image
from maskrcnn.instances import Instances, Masks
from maskrcnn.labels.types import Dataset
from maskrcnn.shell import printable

SAMPLES = 8
GAP = 6  # pixels between two images
SCORE = 0.5  # of the detections that are drawn


def draw_share(
    share: Sequence[tuple[Batch, Targets, list[str]]], config: ModelConfig, folder: Path, first: int
) -> None:
    """Write the images of a step with their labels, up to SAMPLES with the `first` that are there."""
    for batch, targets, _ in share:
        first = draw_training(batch, targets, config, folder, first)


def draw_training(batch: Batch, targets: Targets, config: ModelConfig, folder: Path, first: int = 0) -> int:
    """Write the images of a training batch with their labels to `folder`/train_N.jpg.

    Returns:
        How many were written, with `first` of them before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = min(len(batch.images), SAMPLES - first)
    for row in range(count):
        save_image(draw_sample(batch, targets, row, config), folder / f"train_{first + row}.jpg")
    return first + count


def draw_sample(batch: Batch, targets: Targets, row: int, config: ModelConfig) -> Image.Image:
    """One image of a training batch with its labels."""
    height, width = batch.sizes[row].tolist()
    pixels = batch.images[row, :, :height, :width].permute(1, 2, 0).to(torch.uint8).contiguous().numpy()
    labels = labels_as_instances(targets, row, (height, width), config)
    return draw_instances(pixels, labels, scores=False)


def labels_as_instances(targets: Targets, row: int, size: tuple[int, int], config: ModelConfig) -> Instances:
    """The labels of one image of a batch, as if they had been found with certainty."""
    used = targets.valid[row]
    labels = targets.labels[row][used].numpy()
    masks = keypoints = None
    if targets.masks.shape[-1]:
        maps = (targets.masks[row] * targets.has_mask[row][:, None, None])[used]
        masks = Masks(maps.float().numpy(), targets.mask_boxes[row][used].numpy(), size)
    if config.keypoint_head is not None and targets.keypoints.shape[-2]:
        keypoints = targets.keypoints[row][used].numpy().copy()
        keypoints[..., 2] = np.minimum(keypoints[..., 2], 1)
    return Instances(
        boxes=targets.boxes[row][used].numpy(),
        scores=np.ones(len(labels), np.float32),
        labels=labels,
        names=[config.classes[label] for label in labels],
        size=size,
        masks=masks,
        keypoints=keypoints,
        keypoint_schema=config.keypoints,
    )


def draw_found(network: nn.Module, dataset: Dataset, folder: Path) -> None:
    """Write images spread over `dataset` to `folder`/val_N.jpg: the labels, and what `network` finds."""
    step = max(1, len(dataset) // SAMPLES)
    for number, index in enumerate(range(0, len(dataset), step)[:SAMPLES]):
        draw_pair(network, dataset, index, folder / f"val_{number}.jpg")


def draw_worst(
    network: nn.Module, dataset: Dataset | None, worst: list[tuple[int, float]], folder: Path
) -> None:
    """The same of the images of which the least was found, to `folder`/worst_N.jpg."""
    if dataset is None:
        return
    for number, (index, share) in enumerate(worst):
        draw_pair(network, dataset, index, folder / f"worst_{number}.jpg", f": {100 * share:.0f}% found")


def draw_pair(network: nn.Module, dataset: Dataset, index: int, path: Path, said: str = "") -> None:
    """Write an image with its labels, beside it the same with what `network` finds, and its name above."""
    from maskrcnn.predict.predictor import predict_pixels

    path.parent.mkdir(parents=True, exist_ok=True)
    image, pixels = dataset.image(index), dataset.pixels(index)
    (found,) = predict_pixels(network, [pixels], score=SCORE)  # type: ignore[arg-type]
    labels = as_instances([each for each in image.annotations if not each.crowd], image, dataset)
    count = len(found)
    titles = f"{image.file_name}{said}", f"labelled {len(labels)}, found {count} (score {SCORE:g} or more)"
    drawn = [draw_instances(pixels, labels, scores=False), draw_instances(pixels, found)]
    save_image(side_by_side([each.convert("RGB") for each in drawn], titles), path)


def side_by_side(images: list[Image.Image], titles: Sequence[str]) -> Image.Image:
    """Images of one size beside each other, each below its title."""
    width, height = images[0].size
    band = max(18, width // 24)
    sheet = Image.new("RGB", (len(images) * (width + GAP) - GAP, height + band), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (image, title) in enumerate(zip(images, titles, strict=True)):
        left = column * (width + GAP)
        text, font = with_font(printable(title), round(band * 0.6))
        while len(text) > 8 and draw.textlength(text, font) > width:
            text = "..." + text[max(4, len(text) // 12) :]  # the end of a path says most
        draw.text((left + 2, band / 2), text, "black", font, anchor="lm")
        sheet.paste(image, (left, band))
    return sheet
