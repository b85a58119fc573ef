"""Sample images of a run: what training sees, labels drawn, and what the network finds in images of the val
split.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.images.batch import Batch, Targets
from maskrcnn.images.draw import draw_instances
from maskrcnn.images.write import save_image
from maskrcnn.instances import Instances, Masks
from maskrcnn.labels.types import Dataset

SAMPLES = 8
SCORE = 0.5  # of the detections that are drawn


def draw_training(batch: Batch, targets: Targets, config: ModelConfig, folder: Path, first: int = 0) -> int:
    """Write the images of a training batch with their labels to `folder`/train_N.jpg.

    Returns:
        How many were written, with `first` of them before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = min(len(batch.images), SAMPLES - first)
    for row in range(count):
        height, width = batch.sizes[row].tolist()
        pixels = batch.images[row, :, :height, :width].permute(1, 2, 0).to(torch.uint8).contiguous().numpy()
        labels = labels_as_instances(targets, row, (height, width), config)
        save_image(draw_instances(pixels, labels, scores=False), folder / f"train_{first + row}.jpg")
    return first + count


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
    """Write what `network` finds in images spread over `dataset` to `folder`/val_N.jpg."""
    from maskrcnn.predict.predictor import predict_pixels

    folder.mkdir(parents=True, exist_ok=True)
    step = max(1, len(dataset) // SAMPLES)
    for number, index in enumerate(range(0, len(dataset), step)[:SAMPLES]):
        pixels = dataset.pixels(index)
        (found,) = predict_pixels(network, [pixels], score=SCORE)  # type: ignore[arg-type]
        save_image(draw_instances(pixels, found), folder / f"val_{number}.jpg")
