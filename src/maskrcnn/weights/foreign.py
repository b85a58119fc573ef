"""Weights from other libraries into our network and back: one table of names per library, one place for the
layouts.

Three layouts differ. The first fully connected layer reads features flattened channel first there, channel
last here. The background class is torchvision's first, ours and the others' last. torchvision keeps box
deltas and a mask for the background, which nothing reads: they are dropped here and written as zeros there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.backbone.vit import PRETRAINED
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.shell import first_of
from maskrcnn.weights import detectron2, mmdet, torchvision

# what has no counterpart because it is computed or only counted here
UNREAD = (
    "*.num_batches_tracked",
    "*.relative_position_index",
    "*.attn_mask",
    "pixel_mean",
    "pixel_std",
    "*.cell_anchors.*",
    "data_preprocessor.*",
)


@dataclass(frozen=True)
class Library:
    name: str
    their_name: Callable[[str, ModelConfig], str]  # of one of our tensors
    background_first: bool = False
    modern_name: Callable[[str], str] = str  # of one of their tensors whose name may be an old one


LIBRARIES = {
    "torchvision": Library("torchvision", torchvision.their_name, True, torchvision.modern_name),
    "detectron2": Library("detectron2", detectron2.their_name),
    "mmdet": Library("mmdet", mmdet.their_name),
}


def guess_library(names: Mapping[str, Tensor]) -> Library:
    """The library whose detector has tensors of these names.

    Raises:
        UserError: none of them.
    """
    for library, mark in (
        ("detectron2", "proposal_generator."),
        ("mmdet", "rpn_head."),
        ("torchvision", "rpn.head."),
    ):
        if any(name.startswith(mark) for name in names):
            return LIBRARIES[library]
    shown = first_of(sorted(names), 3)
    raise UserError(f"not a detector of {', '.join(LIBRARIES)}: its tensors are {shown}")


def load_foreign(model: MaskRCNN, state: Mapping[str, Tensor], library: Library, where: str) -> None:
    """Fills every tensor of `model` from `state`, under that library's names, and leaves none of `state`
    over.

    Raises:
        UserError: tensors that are missing, left over or of another shape; the first of them are named.
    """
    theirs = {library.modern_name(name): tensor for name, tensor in state.items()}
    expected = model.state_dict()
    ours, used, wrong = {}, set(), []
    for name, wanted in expected.items():
        source = library.their_name(name, model.config)
        used.add(source)
        tensor = theirs.get(source)
        if tensor is None:
            if not _unread(source):
                wrong.append(f"{source} is missing")
            continue
        with suppress(RuntimeError, IndexError):  # of a shape that has no such layout, which is told below
            tensor = _to_ours(name, tensor, model.config, library)
        if wanted.is_floating_point() and not tensor.is_floating_point():
            wrong.append(f"{source} holds {tensor.dtype}, as of a quantised network".replace("torch.", ""))
        if tensor.shape != wanted.shape:
            wrong.append(
                f"{source} is {tuple(tensor.shape)} in our layout, the settings make it {tuple(wanted.shape)}"
            )
        ours[name] = tensor.to(wanted.dtype)
    wrong += [f"{name} has no place" for name in theirs if name not in used and not _unread(name)]
    if wrong:
        raise UserError(f"{where}: does not fit its settings: {first_of(wrong, 3, '; ')}")
    model.load_state_dict(ours, strict=False)


def foreign_state(model: MaskRCNN, library: Library) -> dict[str, Tensor]:
    """The tensors of `model` as that library names and arranges them."""
    return {
        library.their_name(name, model.config): _to_theirs(name, tensor.detach().cpu(), model.config, library)
        for name, tensor in model.state_dict().items()
    }


def _unread(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in UNREAD)


def _to_ours(name: str, tensor: Tensor, config: ModelConfig, library: Library) -> Tensor:
    if name == "box_head.fcs.0.weight" and config.box_head is not None:
        size = config.box_head.size
        return tensor.view(tensor.shape[0], -1, size, size).permute(0, 2, 3, 1).flatten(1).contiguous()
    if name == "backbone.stem.positions" and tensor.shape[1] == 1 + PRETRAINED**2:  # a class token's is first
        return tensor[:, 1:].unflatten(1, (PRETRAINED, PRETRAINED))
    if not library.background_first:
        return tensor
    if name.startswith("box_head.score."):
        return torch.cat([tensor[1:], tensor[:1]])
    if name.startswith("box_head.deltas."):
        return tensor[4:]
    if name.startswith("mask_head.predict."):
        return tensor[1:]
    return tensor


def _to_theirs(name: str, tensor: Tensor, config: ModelConfig, library: Library) -> Tensor:
    if name == "box_head.fcs.0.weight" and config.box_head is not None:
        size = config.box_head.size
        return tensor.view(tensor.shape[0], size, size, -1).permute(0, 3, 1, 2).flatten(1).contiguous()
    if not library.background_first:
        return tensor.contiguous()
    if name.startswith("box_head.score."):
        return torch.cat([tensor[-1:], tensor[:-1]])
    if name.startswith("box_head.deltas."):
        return torch.cat([torch.zeros_like(tensor[:4]), tensor])
    if name.startswith("mask_head.predict."):
        return torch.cat([torch.zeros_like(tensor[:1]), tensor])
    return tensor.contiguous()
