"""A small network and what its exports are compared with."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import small_model

from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections


def small_network(**changes: object) -> MaskRCNN:
    """Random weights whose scores spread, so that the order of detections does not hang on rounding."""
    network = small_model(**changes).eval()
    network.config.input.short_side, network.config.input.long_side = 128, 192
    with torch.no_grad():
        network.rpn.objectness.weight.mul_(20)
        network.rpn.deltas.weight.mul_(5)
        if network.box_head is not None:
            network.box_head.score.weight.mul_(20)
            network.box_head.deltas.weight.mul_(20)
        if network.mask_head is not None:
            network.mask_head.predict.weight.mul_(50)
        if network.keypoint_head is not None:
            network.keypoint_head.deconv.weight.mul_(
                50
            )  # heatmaps that have a peak: the top of a plain is anywhere
    return network


def no_images_of(batch: int, height: int, width: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Soft noise, the second image smaller than its padding."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(batch, channels, height // 8, width // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    sizes = torch.tensor([[height, width]] * batch)
    sizes[1:] -= 16
    return (smooth * 255).to(torch.uint8), sizes


def objects_above(network: MaskRCNN, images: Tensor, sizes: Tensor, count: int | None) -> float:
    """A threshold that leaves `count` objects of all images; all of them for None."""
    with torch.no_grad():
        found = network.detect(images, sizes, -1.0)
    scores = found.scores[found.valid].sort(descending=True).values
    if count is None:
        return -1.0
    return 2.0 if count == 0 else float((scores[count - 1] + scores[count]) / 2)


def compare(found: RawDetections, expected: RawDetections, tolerance: float) -> None:
    """All parts of all valid detections, in their order; boxes and keypoints to 10 times the tolerance in
    pixels.
    """
    assert torch.equal(found.valid, expected.valid)
    valid = expected.valid
    assert torch.equal(found.labels[valid], expected.labels[valid])
    for name in ("boxes", "scores", "masks", "keypoints", "keypoint_logits"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.shape[2:] == b.shape[2:], name
            scale = (
                b.abs().max().item()
                if name == "keypoint_logits"
                else 10
                if name in ("boxes", "keypoints")
                else 1
            )
            far = (a[valid] - b[valid]).abs().max().item() if valid.any() else 0.0
            assert far <= tolerance * max(scale, 1), f"{name} differ by {far}"
