"""DINOv2's ViTs (Oquab et al. 2024; Apache-2.0) as trunks of ours, from the files that its authors publish.

What DINOv2 has and ViTDet's ViT has not becomes part of other weights or is left out: the scale behind each
branch is multiplied into the branch's last layer, which is exact; the class and register tokens and the last
norm are left out, as ViTDet leaves them out of MAE's. Offsets between tokens begin at zero.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn.errors import UserError
from maskrcnn.model.backbone.vit import PATCH, PRETRAINED, STAGES, ViT
from maskrcnn.shell import first_of

MARK = "blocks.0.ls1.gamma"
# of a block: our name of a layer, theirs, and the scale behind it
LAYERS = {
    "norm1": ("norm1", None),
    "attention.qkv": ("attn.qkv", None),
    "attention.proj": ("attn.proj", "ls1.gamma"),
    "norm2": ("norm2", None),
    "mlp.fc1": ("mlp.fc1", None),
    "mlp.fc2": ("mlp.fc2", "ls2.gamma"),
}


def trunk_tensors(theirs: dict[str, Tensor], backbone: ViT, path: Path) -> dict[str, Tensor]:
    """The tensors of `backbone`, under our names, of a state dict of DINOv2's.

    Raises:
        UserError: another file, or a ViT of another depth or kind.
    """
    if MARK not in theirs:
        some = first_of(sorted(theirs), 3)
        raise UserError(f"trunk {path}: not a ViT of DINOv2's: has no {MARK}; its tensors are {some}")
    depth = len({match[0] for name in theirs if (match := re.match(r"blocks\.\d+\.", name))})
    own = len({name.rpartition(".norm1.")[0] for name in backbone.state_dict() if ".norm1." in name})
    if depth != own or "blocks.0.mlp.fc1.weight" not in theirs:
        raise UserError(f"trunk {path}: is a ViT of {depth} blocks that has no place in one of {own} blocks")
    try:
        ours = {
            "stem.conv.weight": resample_patches(theirs["patch_embed.proj.weight"].float(), PATCH),
            "stem.conv.bias": theirs["patch_embed.proj.bias"],
            "stem.positions": resample_positions(theirs["pos_embed"].float(), PRETRAINED),
        }
        for block in range(depth):
            stage, place = divmod(block, depth // STAGES)
            for name, (layer, scale) in LAYERS.items():
                for leaf in ("weight", "bias"):
                    tensor = theirs[f"blocks.{block}.{layer}.{leaf}"].float()
                    if scale is not None:
                        factor = theirs[f"blocks.{block}.{scale}"].float()
                        tensor = tensor * (factor[:, None] if leaf == "weight" else factor)
                    ours[f"stages.{stage}.{place}.{name}.{leaf}"] = tensor
    except KeyError as error:
        raise UserError(f"trunk {path}: has no {error}") from None
    except RuntimeError as error:
        raise UserError(f"trunk {path}: its tensors do not fit one another: {error}") from None
    offsets = (name for name in backbone.state_dict() if name.endswith((".rows", ".columns")))
    return ours | {name: torch.zeros_like(backbone.state_dict()[name]) for name in offsets}


def resample_patches(weight: Tensor, side: int) -> Tensor:
    """(O, C, p, p) to (O, C, side, side): says of a patch that is scaled to `side` what `weight` says of it
    (Beyer et al. 2023, FlexiViT, equation 4).
    """
    old = weight.shape[-1]
    every_pixel = torch.eye(old * old).view(-1, 1, old, old)
    scaled = F.interpolate(every_pixel, size=(side, side), mode="bilinear", align_corners=False)
    inverse = torch.linalg.pinv(scaled.flatten(1).double())  # (side * side, old * old)
    return (weight.flatten(2).double() @ inverse.T).unflatten(2, (side, side)).float()


def resample_positions(positions: Tensor, side: int) -> Tensor:
    """(1, 1 + s * s, C), the class token's first, to (1, side, side, C): as DINOv2 does for small images."""
    grid = positions[:, 1:]
    old = round(grid.shape[1] ** 0.5)
    grid = grid.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).contiguous()
