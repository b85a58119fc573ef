"""A network that finds every bright blob of an image, exactly: what of an image in tiles goes wrong is ours."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from fixed_model import Raw
from torch import Tensor, nn

from maskrcnn.config.model import InputConfig, ModelConfig, TestConfig

SIDE = 64  # of its tiles, at which nothing is resized


class BlobModel(nn.Module):
    """Bright 8-connected pixels in a tile of `SIDE` are an object, whose map covers the whole tile."""

    def __init__(self, most: int = 100, channels: int = 3) -> None:
        super().__init__()
        form = InputConfig(
            channels=channels, mean=[0.0] * channels, std=[1.0] * channels, short_side=SIDE, long_side=SIDE,
            divisor=32, tile_side=SIDE,
        )  # fmt: skip
        self.config = ModelConfig(classes=["blob"], input=form, test=TestConfig(detections=most))
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = 0  # images

    def forward(self, images: Tensor, sizes: Tensor) -> Raw:
        self.seen += len(images)
        most = self.config.test.detections
        boxes, masks = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, SIDE, SIDE)
        valid = torch.zeros(len(images), most, dtype=torch.bool)
        for number, (image, (height, width)) in enumerate(zip(images, sizes.tolist(), strict=True)):
            bright = np.zeros((SIDE, SIDE), np.uint8)
            bright[:height, :width] = image[-1, :height, :width].numpy() > 127
            count, labelled = cv2.connectedComponents(bright)
            for row in range(min(count - 1, most)):
                boxes[number, row] = torch.tensor([0, 0, SIDE, SIDE])
                masks[number, row] = torch.from_numpy((labelled == row + 1).astype(np.float32))
                valid[number, row] = True
        return Raw(
            boxes, torch.full(valid.shape, 0.9), torch.zeros(valid.shape, dtype=torch.int64), valid, masks
        )


def blobs(height: int, width: int, seed: int = 0, channels: int = 3) -> tuple[np.ndarray, int]:
    """An image with ellipses that do not touch, and their number."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, channels), np.uint8)
    count = 0
    for y in range(8, height - 8, 17):
        for x in range(8, width - 8, 17):
            if rng.random() < 0.7:
                axes = tuple(int(v) for v in rng.integers(2, 8, 2))
                colour = [200] * channels
                drawn = np.zeros((height, width), np.uint8)
                cv2.ellipse(drawn, (x, y), axes, int(rng.integers(0, 180)), 0, 360, 1, -1)
                pixels[drawn > 0] = colour
                count += 1
    return pixels, count
