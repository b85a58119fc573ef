"""Images to compare engines on, with no, one and many objects, made of nothing or of scikit-image's
photograph.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.export.graph import least_side
from maskrcnn.images.batch import ScaledImage, pad_batch
from maskrcnn.labels.synthetic import PERSON, SHAPES, draw_scene

_SCENES = 3  # per side of the image with many objects


@dataclass
class Case:
    """Images that go through together."""

    name: str
    images: Tensor  # (B, C, H, W) uint8
    sizes: Tensor  # (B, 2)


def cases(config: ModelConfig) -> list[Case]:
    """No, one and many objects, each at the model's own test size and at half of it, alone and two
    together.
    """
    short, long = config.input.short_side, config.input.long_side
    own = (short, min(long, short * 4 // 3))
    least = least_side(config)
    half = (max(least, own[0] // 2), max(least + config.input.divisor, own[1] // 2))
    found = []
    for height, width in (own, half):
        none, one, many = (
            _scale(image, height, width) for image in (_no_object(), _one_object(), _many_objects())
        )
        # a batch is of images of two shapes: the second is padded
        cut = one[: height * 7 // 8, : width * 3 // 4]
        for name, images in (("none", [none]), ("one", [one]), ("many", [many]), ("many, one", [many, cut])):
            found.append(_case(name, images, config))
    return found


def _case(name: str, images: list[np.ndarray], config: ModelConfig) -> Case:
    channels = config.input.channels
    samples = []
    for pixels in images:
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        if channels != image.shape[0]:
            image = image.float().mean(0, keepdim=True).to(torch.uint8).expand(channels, -1, -1)
        samples.append(ScaledImage(image, (1.0, 1.0), pixels.shape[:2]))
    batch = pad_batch(samples, config.input.divisor)
    return Case(name, batch.images, batch.sizes)


def _no_object() -> np.ndarray:
    """Soft patches without an edge. Not one colour: equal scores everywhere leave open which comes first."""
    coarse = np.random.default_rng(0).normal(120, 12, (5, 6, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def _one_object() -> np.ndarray:
    """A person on a photograph, or one that is drawn."""
    try:
        from skimage import data
    except ImportError:
        rng = np.random.default_rng(1)
        scene = draw_scene(rng, (480, 640), [PERSON], first_id=1)
        return scene.pixels
    return np.ascontiguousarray(data.astronaut()[..., :3])


def _many_objects() -> np.ndarray:
    """A sheet of drawn people and shapes."""
    rng = np.random.default_rng(2)
    rows = []
    for _ in range(_SCENES):
        scenes = [draw_scene(rng, (160, 212), [*SHAPES, PERSON], first_id=1).pixels for _ in range(_SCENES)]
        rows.append(np.concatenate(scenes, axis=1))
    return np.concatenate(rows)


def _scale(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The image scaled to fit into (height, width)."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
