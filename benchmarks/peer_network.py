"""torchvision's Mask R-CNN and ours with the same weights, and what both are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.weights.foreign import LIBRARIES, load_foreign
from maskrcnn.weights.published import config_for, find_published

HEIGHT, WIDTH = 800, 1333
NAME = "torchvision/maskrcnn_resnet50_fpn"


def state_of(peer: Any) -> dict[str, Tensor]:
    """Random weights in torchvision's naming whose scores spread, so that 100 objects are found in noise."""
    torch.manual_seed(0)
    network = peer.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    state: dict[str, Tensor] = network.state_dict()
    for name, tensor in state.items():
        if name.endswith(("running_var", "running_mean", "num_batches_tracked")):
            continue
        if ".bn" in name or "downsample.1" in name:
            tensor.mul_(0.5)  # else the backbone's features grow from block to block
        if "cls_score.weight" in name or "cls_logits.weight" in name:
            tensor.mul_(10)
    return state


def ours(state: dict[str, Tensor], score: float = 0.0) -> MaskRCNN:
    """Our network with torchvision's weights and settings."""
    config = config_for(find_published(NAME), state)
    config.test.score = score
    network = build(config)
    load_foreign(network, state, LIBRARIES["torchvision"], NAME)
    return network.eval()


def theirs(peer: Any, state: dict[str, Tensor], *, best: bool = False, score: float = 0.0) -> nn.Module:
    """Theirs with the frozen norms of its published weights, which its own builder makes for those alone;
    at its best with plain batch norms and channels-last memory.
    """
    detection = peer.models.detection
    norm = nn.BatchNorm2d if best else peer.ops.FrozenBatchNorm2d
    body = detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=norm
    )
    network: nn.Module = detection.MaskRCNN(body, num_classes=91, box_score_thresh=score)
    network.load_state_dict(state)
    if best:
        network.to(memory_format=torch.channels_last)
    return network.eval()


def image() -> Tensor:
    """(3, H, W) uint8: smooth blobs, so that features differ from place to place."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 25, 42, generator=generator)
    fine = torch.rand(1, 3, HEIGHT, WIDTH, generator=generator)
    smooth = nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic")
    return ((0.8 * smooth + 0.2 * fine).clamp(0, 1) * 255).to(torch.uint8)[0]


def ellipses(boxes: list[list[float]], height: int, width: int) -> Tensor:
    """(N, height, width) uint8: the ellipse that fills each box, xyxy."""
    y, x = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None] + 0.5
    masks = []
    for x1, y1, x2, y2 in boxes:
        across, down = (x - (x1 + x2) / 2) / ((x2 - x1) / 2), (y - (y1 + y2) / 2) / ((y2 - y1) / 2)
        masks.append(across**2 + down**2 <= 1)
    return torch.stack(masks).to(torch.uint8)
