"""The whole network as one graph, images to RawDetections, for any number of images of any size:
`torch.export` of a copy whose frozen norms are folded into their convolutions. NMS and RoIAlign stay one node
each (`maskrcnn::nms`, `maskrcnn::roi_align`), for which every engine has an operator of its own.
"""

from __future__ import annotations

import copy
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError, one_line
from maskrcnn.model.layers import ConvNorm
from maskrcnn.model.optimise import fold_norms

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from maskrcnn.model.mask_rcnn import MaskRCNN

# of fewer cells of the coarsest stride, or fewer pixels, torch.export takes the number for a constant
LEAST_CELLS, LEAST_SIDE = 3, 96


class Detector(nn.Module):
    """The network with tensors in and out; `score` (a scalar) takes the place of `test.score`."""

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, sizes: Tensor, score: Tensor) -> tuple[Tensor, ...]:
        return tuple(part for part in self.network.detect(images, sizes, score) if part is not None)


def least_side(config: ModelConfig) -> int:
    """Pixels that height and width of the padded images have at least."""
    divisor = config.input.divisor
    return divisor if is_square(config) else divisor * max(LEAST_CELLS, -(-LEAST_SIDE // divisor))


def is_square(config: ModelConfig) -> bool:
    """Whether every image is padded to one square, as a ViTDet's: attention sees the padding too."""
    return config.input.divisor >= config.input.long_side


def trace(model: MaskRCNN) -> ExportedProgram:
    """The test-time network of `model`, which is left as it is.

    Inputs are images (B, C, H, W) uint8, sizes (B, 2) int64 and score () float32; B is any number, H and W
    are multiples of `input.divisor` from `least_side` on. Outputs are those of `outputs`.

    Raises:
        UserError: settings that cannot be a graph.
    """
    refuse(model.config)
    network = fold_norms(copy.deepcopy(model).cpu().float().eval().requires_grad_(False))
    _replace_group_norms(network)
    divisor, channels = model.config.input.divisor, model.config.input.channels
    cells = least_side(model.config) // divisor
    sides = (divisor, divisor) if is_square(model.config) else (2 * cells * divisor, 8 * cells // 3 * divisor)
    # two images and two different sides: a 1, or the same number twice, would be taken for a constant
    images = torch.zeros(2, channels, *sides, dtype=torch.uint8)
    inputs = (images, torch.tensor([sides, sides]), torch.tensor(0.5))
    batch = torch.export.Dim("batch", min=1)
    shapes: Any = ({0: batch}, {0: batch}, {})
    if not is_square(model.config):
        rows, columns = (torch.export.Dim(name, min=cells) for name in ("rows", "columns"))
        if divisor > 1:  # torch.export refuses 1 times a number
            rows, columns = divisor * rows, divisor * columns
        shapes[0].update({2: rows, 3: columns})
    try:
        with torch.no_grad():
            return torch.export.export(Detector(network).eval(), inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        if not model.config.backbone.adapted:
            raise
        first = one_line(f"{type(error).__name__}: {error}")[:160]
        kind = model.config.backbone.kind
        raise UserError(
            f"export: model.backbone.kind={kind} is no graph for images of any size: {first}"
        ) from None


def refuse(config: ModelConfig) -> None:
    """Raises a UserError for settings that no engine has an operator for."""
    roi = config.roi
    if roi.op == "pool":
        raise UserError(
            "export: model.roi.op=pool is here to be compared with, no engine's operator rounds as it does"
        )
    if roi.reduce == "max" and roi.sampling_ratio == 0:
        raise UserError(
            "export: model.roi.reduce=max with sampling_ratio=0 takes as many points as a box is large, "
            "which is no fixed graph; set model.roi.sampling_ratio=2"
        )


class _GroupNorm(nn.Module):
    """A group norm that does not ask whether it is given more than one value: of how many RoIs is not known
    in a graph.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.group_norm(x, self.norm.num_groups, self.norm.weight, self.norm.bias, self.norm.eps)


def _replace_group_norms(network: MaskRCNN) -> None:
    for module in list(network.modules()):
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.GroupNorm):
            module.norm = _GroupNorm(module.norm)


def write_program(program: ExportedProgram, path: Path) -> None:
    """Write `program`; whoever loads it imports `maskrcnn.ops.nms` and `maskrcnn.ops.roi_align` first, for
    our two nodes.
    """
    with warnings.catch_warnings(action="ignore"):  # of tensors that share their memory
        # not to the path: torch's own writer ends the process where the disk is full
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
    path.write_bytes(buffer.getbuffer())
