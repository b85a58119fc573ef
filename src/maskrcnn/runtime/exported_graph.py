"""What the engines of exported graphs share: images as a graph takes them, detections of what it gives."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.images.batch import round_up
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.runtime.exported_folder import Record, SideRange

UNLIKE = "its settings are another model's; export it anew"


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
    padding = [max(sides.least, round_up(side, sides.multiple)) - side for side in (width, height)]
    if any(padding):
        images = F.pad(images, (0, padding[0], 0, padding[1]))
    if images.dtype != torch.uint8:
        images = images.round().clamp(0, 255).to(torch.uint8)
    return images.contiguous()


def inputs(
    record: Record,
    config: ModelConfig,
    takes: Collection[str],
    images: Tensor,
    sizes: Tensor,
    score: float | None,
) -> dict[str, np.ndarray]:
    """What `Engine.__call__` is given as the arrays of a graph whose inputs are called `takes`.

    Raises:
        UserError: as `fitted`.
    """
    given = {
        "images": fitted(images, record.sides).numpy(),
        "sizes": sizes.to(torch.int64).numpy(),
        "score": np.array(config.test.score if score is None else score, np.float32),
    }
    return {name: array for name, array in given.items() if name in takes}


def detections(record: Record, config: ModelConfig, arrays: dict[str, Tensor]) -> RawDetections:
    """RawDetections of the graph's outputs by name.

    Raises:
        UserError: they are not what the graph's settings promise.
    """
    found = RawDetections(**{name: arrays[name] for name in record.outputs})
    shape = found.boxes.shape[:2]
    promised = (
        (found.boxes, torch.float32, (4,)),
        (found.scores, torch.float32, ()),
        (found.labels, torch.int64, ()),
        (found.valid, torch.bool, ()),
        (found.masks, torch.float32, None),
        (found.keypoints, torch.float32, (len(config.keypoints.names) if config.keypoints else 0, 3)),
        (found.keypoint_logits, torch.float32, None),
    )
    for part, kind, rest in promised:
        if part is None:
            continue
        if part.dtype != kind or part.shape[:2] != shape or (rest is not None and part.shape[2:] != rest):
            raise UserError(f"the graph answers with {tuple(part.shape)} {part.dtype}; {UNLIKE}")
    chosen = found.labels[found.valid]
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(config.classes):
        raise UserError(f"the graph finds classes that its config.json does not name; {UNLIKE}")
    return found


def last_line(error: Exception) -> str:
    """The last line of what another library says, where its point is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
