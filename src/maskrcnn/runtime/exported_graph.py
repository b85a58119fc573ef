"""What the engines of exported graphs share: images as a graph takes them, detections of what it gives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn.errors import UserError
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.runtime.exported_folder import Record, SideRange


def fitted(images: Tensor, sides: SideRange) -> Tensor:
    """Images (B, C, H, W) as the graph takes them: uint8, contiguous, padded to a shape in its range.

    Raises:
        UserError: a side above the range.
    """
    height, width = images.shape[-2:]
    if max(height, width) > sides.most:
        raise UserError(
            f"an image of {height} x {width} pixels is larger than the {sides.most} of the exported graph"
        )
    padding = [
        max(sides.least, -(-side // sides.multiple) * sides.multiple) - side for side in (width, height)
    ]
    if any(padding):
        images = F.pad(images, (0, padding[0], 0, padding[1]))
    if images.dtype != torch.uint8:
        images = images.round().clamp(0, 255).to(torch.uint8)
    return images.contiguous()


def detections(record: Record, arrays: dict[str, Tensor]) -> RawDetections:
    """RawDetections of the graph's outputs by name."""
    return RawDetections(**{name: arrays[name] for name in record.outputs})


def one_line(error: Exception) -> str:
    """What another library says in many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
