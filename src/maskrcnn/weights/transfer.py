"""One network's weights as the beginning of another's, whose classes may differ: what a fine-tuning starts
from.

Tensors of the same name and shape are copied. Of those that have rows per class, the rows of classes with the
same name are; so a model of COCO's 80 classes gives a model of "person" and "drone" its person. A model of
one class gives it to another of one, whatever the two call it. So with keypoints, which go by their place
where the two have no name in common.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import dotted
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.shell import first_of, set_options
from maskrcnn.weights.first_convolution import STEM, adapt_first_convolution

# what a part must be told as it was trained, or its weights mean something else
SEEN = {
    "backbone": ("input.order", "input.mean", "input.std", "backbone.stride_in_1x1", "backbone.norm_eps"),
    "rpn": ("rpn.sizes", "rpn.ratios", "rpn.round_anchors", "rpn.strides_of_image"),
    "box_head": ("box_head.box_weights", "roi.op", "roi.aligned", "roi.reduce", "roi.canonical_size"),
}
KEYPOINTS = "keypoint_head.deconv."  # has rows per keypoint; the weight along its second axis


@dataclass
class Transfer:
    """What was copied."""

    copied: list[str] = field(default_factory=list)  # whole tensors
    by_class: dict[str, list[str]] = field(default_factory=dict)  # tensor: the classes whose rows were copied
    # input channels of the other and ours, where the first convolution differs
    adapted: tuple[int, int] | None = None
    fresh: list[str] = field(default_factory=list)  # tensors that start anew
    unused: list[str] = field(default_factory=list)  # the other's tensors that have no place
    otherwise: dict[str, list[str]] = field(default_factory=dict)  # part: settings that the other's has

    @property
    def whole(self) -> bool:
        """Whether nothing of the network is new: it finds what the other finds, but for other settings."""
        return not (self.by_class or self.adapted or self.fresh or self.otherwise)

    def lines(self, source: str) -> list[str]:
        """For the terminal: one line for each part of the network that does not start from `source` as a
        whole.
        """
        total = len(self.copied) + len(self.by_class) + len(self.fresh)
        lines = [f"{source}: {len(self.copied)} of {total} tensors copied"]
        if self.adapted:
            lines.append(f"  {STEM}: adapted from {self.adapted[0]} input channels to {self.adapted[1]}")
        for name, classes in self.by_class.items():
            lines.append(f"  {name}: rows of {first_of(classes, 5) or 'no class'}; the rest start anew")
        fresh = Counter(map(_part, self.fresh))
        lines += [f"  {part}: {count} tensors start anew" for part, count in fresh.items()]
        lines += [
            f"  {part}: {count} tensors of {source} are not used"
            for part, count in Counter(map(_part, self.unused)).items()
        ]
        return lines + [
            f"  {part}: was trained with other settings; to start from it as it is: {set_options(settings)}"
            for part, settings in self.otherwise.items()
        ]


def transfer(network: MaskRCNN, other: MaskRCNN) -> Transfer:
    """Copies into `network` what fits of `other`."""
    done = Transfer()
    own, theirs = network.state_dict(), other.state_dict()
    classes = network.config.classes, other.config.classes
    one_to_one = classes[0] == classes[1] or len(classes[0]) == len(classes[1]) == 1
    points = [each.config.keypoints.names if each.config.keypoints else [] for each in (network, other)]
    by_place = points[0] == points[1] or not set(points[0]) & set(points[1])
    with torch.no_grad():
        for name, tensor in own.items():
            given = theirs.get(name)
            rows = _rows(name, network), _rows(name, other)
            if given is None:
                done.fresh.append(name)
            elif rows[0] is not None and rows[1] is not None and not one_to_one:
                done.by_class[name] = _copy_rows(tensor, given, rows[0], rows[1])
            elif name.startswith(KEYPOINTS) and not by_place:
                ours, other_rows = (
                    each.transpose(0, 1) if each.ndim > 1 else each for each in (tensor, given)
                )
                done.by_class[name] = _copy_rows(ours, other_rows, points[0], points[1])
            elif tensor.shape == given.shape:
                tensor.copy_(given)
                done.copied.append(name)
            elif name == STEM and tensor.shape[::2] == given.shape[::2]:
                # a convolution of BGR, in RGB's order
                own_order = given.flip(1) if other.config.input.order == "bgr" else given
                tensor.copy_(adapt_first_convolution(own_order, tensor.shape[1]))
                done.adapted = (given.shape[1], tensor.shape[1])
                done.copied.append(name)
            else:
                done.fresh.append(name)
    done.unused = [name for name in theirs if name not in own]
    parts = set(map(_part, [*done.copied, *done.by_class])) - set(map(_part, done.fresh))
    done.otherwise = _other_settings(network.config, other.config, parts)
    return done


def _other_settings(own: ModelConfig, theirs: ModelConfig, parts: set[str]) -> dict[str, list[str]]:
    """What `theirs` says otherwise of what each of the `parts` depends on."""
    mine, other = (dotted(each.model_dump(mode="json")) for each in (own, theirs))
    same_channels = own.input.channels == theirs.input.channels
    differ = {
        part: [f"model.{key}={str(other[key]).lower()}" for key in keys if mine[key] != other[key]]
        for part, keys in SEEN.items()
        if part in parts and (part != "backbone" or same_channels)
    }
    return {part: settings for part, settings in differ.items() if settings}


def _rows(name: str, network: MaskRCNN) -> list[str] | None:
    """The class of each group of rows of the tensor `name`; None where it has no rows per class."""
    config = network.config
    if name.startswith("box_head.score."):
        return [*config.classes, ""]  # the background
    if name.startswith("box_head.deltas.") and config.box_head and not config.box_head.class_agnostic:
        return config.classes
    masks = config.mask_head
    # the rows of an MLP's masks are pixels: they are copied whole, where the classes are the same, or not
    if name.startswith("mask_head.predict.") and masks and masks.kind == "fcn" and not masks.class_agnostic:
        return [*config.classes, ""] if masks.loss == "softmax" else config.classes
    return None


def _copy_rows(tensor: Tensor, given: Tensor, mine: list[str], theirs: list[str]) -> list[str]:
    """Copies the rows of the names that both have; returns those names but the background."""
    if tensor.shape[1:] != given.shape[1:]:
        return []
    own, other = tensor.unflatten(0, (len(mine), -1)), given.unflatten(0, (len(theirs), -1))
    shared = [name for name in mine if name in theirs]
    for name in shared:
        own[mine.index(name)] = other[theirs.index(name)]
    return [name for name in shared if name]


def _part(name: str) -> str:
    """The part of the network that a tensor belongs to."""
    return name.partition(".")[0]
