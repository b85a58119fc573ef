"""A network of seconds rather than minutes, and a batch for it."""

from __future__ import annotations

import torch

from maskrcnn.config.model import KeypointSchema, ModelConfig
from maskrcnn.config.section import validate
from maskrcnn.images.batch import Targets, empty_targets
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections

POINTS = KeypointSchema(names=["a", "b", "c"], flip=[0, 2, 1], sigmas=[0.05] * 3)


def small_config(**changes: object) -> ModelConfig:
    """MobileNetV2-FPN with all heads, narrow."""
    settings: dict[str, object] = {
        "classes": ["cat", "dog"],
        "keypoints": POINTS,
        "backbone": {"kind": "mobilenetv2", "freeze": 0},
        "neck": {"channels": 16},
        "rpn": {
            "sizes": [[16], [32], [64], [128], [256]],
            "pre_nms_train": 40,
            "post_nms_train": 30,
            "pre_nms_test": 40,
            "post_nms_test": 20,
            "samples": 32,
        },
        "roi": {"samples": 16},
        "box_head": {"fc_channels": 32},
        "mask_head": {"convs": 1, "channels": 16},
        "keypoint_head": {"convs": 1, "channels": 16},
        "test": {"score": 0.0, "detections": 6, "candidates": 40},
    }
    return validate(ModelConfig, settings | changes, "settings")


def small_model(**changes: object) -> MaskRCNN:
    torch.manual_seed(0)
    return build(small_config(**changes))


def noise_images(count: int = 2, height: int = 96, width: int = 128) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, the second image smaller than its padding."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    sizes = torch.tensor([[height, width]] * count)
    sizes[1:] -= 16
    return images, sizes


def objects(count: int = 2, keypoints: int = 3) -> Targets:
    """Two objects and a crowd in the first image, one object in the others."""
    targets = empty_targets(count, 8, 28, keypoints)
    targets.boxes[:, 0] = torch.tensor([10.0, 12.0, 60.0, 70.0])
    targets.boxes[0, 1] = torch.tensor([50.0, 20.0, 110.0, 90.0])
    targets.boxes[0, 2] = torch.tensor([0.0, 0.0, 30.0, 20.0])
    targets.valid[:, 0] = targets.valid[0, 1] = True
    targets.ignore[0, 2] = True
    targets.labels[0, 1] = 1
    targets.mask_boxes.copy_(targets.boxes)
    targets.masks[:, :2, 4:20, 6:24] = 1
    targets.has_mask.copy_(targets.valid)
    middle = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
    targets.keypoints[..., :2] = middle[:, :, None]
    targets.keypoints[..., 2] = targets.valid[..., None] * 2.0
    targets.seeds = torch.arange(count) + 7
    return targets


def same_detections(a: RawDetections, b: RawDetections) -> None:
    assert torch.equal(a.valid, b.valid) and torch.equal(a.labels, b.labels)
    keep = b.valid
    for one, two in zip(a, b, strict=True):
        if two is not None and two.dtype.is_floating_point:
            torch.testing.assert_close(one[keep], two[keep], rtol=1e-4, atol=1e-4)
