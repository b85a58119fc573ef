"""What the mask and keypoint branches cost at test time (He et al. 2017, section 4.4): networks with and
without them take turns on the same image.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from maskrcnn.config.keypoints import coco_keypoints
from maskrcnn.config.model import ModelConfig
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.model.optimise import optimise

SIDE = (800, 1344)  # 800 x 1333 padded to whole cells
PAPER = "about 20% for the mask branch (section 4.4); ResNet-101-FPN, a Tesla M40"


def network(classes: int, masks: bool = False, keypoints: bool = False) -> MaskRCNN:
    """ResNet-50-FPN with random weights, which always finds 100 objects."""
    settings: dict[str, Any] = {"classes": [f"class {n}" for n in range(classes)], "test": {"score": 0.0}}
    if not masks:
        settings["mask_head"] = None
    if keypoints:
        settings |= {"keypoints": coco_keypoints().model_dump(), "keypoint_head": {}}
    torch.manual_seed(0)
    return optimise(build(ModelConfig.model_validate(settings)))


def measure(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Milliseconds of each network, and what the branches add, percent: medians over rounds in which all
    take turns, with quartiles.
    """
    networks = {
        "Faster R-CNN": network(80),
        "Mask R-CNN": network(80, masks=True),
        "Faster R-CNN of people": network(1),
        "Faster R-CNN of people with keypoints": network(1, keypoints=True),
    }
    images = torch.randint(0, 256, (1, 3, *SIDE), dtype=torch.uint8)
    sizes = torch.tensor([SIDE])
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.no_grad():
        for number in range(rounds + 1):  # the first is a warm-up
            for name, one in networks.items():
                begun = time.perf_counter()
                found = one.detect(images, sizes)
                taken = 1000 * (time.perf_counter() - begun)
                assert bool(found.valid.all())
                if number:
                    times[name].append(taken)
            say(f"round {number} of {rounds}")
    adds = {
        "the mask branch": ("Mask R-CNN", "Faster R-CNN"),
        "the keypoint branch": ("Faster R-CNN of people with keypoints", "Faster R-CNN of people"),
    }
    return {
        "paper": PAPER,
        "milliseconds": {name: _quartiles(values) for name, values in times.items()},
        "adds percent": {
            what: _quartiles([100 * (a / b - 1) for a, b in zip(times[one], times[other], strict=True)])
            for what, (one, other) in adds.items()
        },
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def _quartiles(values: list[float]) -> list[float]:
    return [round(float(value), 1) for value in np.percentile(values, [25, 50, 75])]
