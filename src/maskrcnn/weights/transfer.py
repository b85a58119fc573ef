"""One network's weights as the beginning of another's, whose classes may differ: what a fine-tuning starts
from.

Tensors of the same name and shape are copied. Of those that have rows per class, the rows of classes with the
same name are; so a model of COCO's 80 classes gives a model of "person" and "drone" its person. A model of
one class gives it to another of one, whatever the two call it. So with keypoints, which go by their place
where the two have no name in common.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import dotted
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.shell import first_of, set_options
from maskrcnn.weights.first_convolution import STEM, adapt_first_convolution

# the beginnings of tensors, and the settings that they must be told as they were trained, or mean something
# else
SEEN: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("backbone.",), ("input.order", "input.mean", "input.std")),
    (("backbone.",), ("backbone.norm", "backbone.norm_eps", "backbone.stride_in_1x1")),
    (("neck.",), ("neck.norm",)),
    (("rpn.",), ("rpn.sizes", "rpn.ratios", "rpn.round_anchors", "rpn.strides_of_image")),
    (("box_head.deltas.",), ("box_head.box_weights",)),
    (("box_head.convs.",), ("box_head.norm",)),
    (("mask_head.convs.",), ("mask_head.norm", "mask_head.size")),
    # the layers that see what is pooled
    (
        (
            *("box_head.convs.0.", "box_head.fcs.0.", "mask_head.convs.0.", "mask_head.fcs.0."),
            *("keypoint_head.convs.0.", "box_head.stage.0."),
        ),
        (
            *("roi.op", "roi.aligned", "roi.sampling_ratio", "roi.reduce"),
            *("roi.canonical_size", "roi.canonical_level"),
        ),
    ),
)
BATCH_NORMS = ("frozen", "batch", "sync")  # of the same weights
BACKGROUND = "the background"
COUNT = ".num_batches_tracked"  # of a batch norm: no weight
Tensors = Mapping[str, Tensor]
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
    otherwise: dict[str, list[str]] = field(default_factory=dict)  # parts: settings that the other's have

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
            lines.append(f"  {name}: rows of {first_of(classes, 5)}; the rest start anew")
        fresh = Counter(map(_part, self.fresh))
        lines += [f"  {part}: {count} tensors start anew" for part, count in fresh.items()]
        lines += [
            f"  {part}: {count} tensors of {source} are not used"
            for part, count in Counter(map(_part, self.unused)).items()
        ]
        return lines + [
            f"  {parts}: trained with other settings; to start from that as it is: {set_options(settings)}"
            for parts, settings in self.otherwise.items()
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
            if name.endswith(COUNT):
                if given is not None:
                    tensor.copy_(given)
            elif given is None or not _goes_with_it(name, own, theirs):
                done.fresh.append(name)
            elif name.startswith("mask_head.predict.") and _loss(network) != _loss(other):
                done.fresh.append(name)  # a softmax's logits and a sigmoid's
            elif rows[0] is not None and rows[1] is not None and not one_to_one:
                _by_rows(done, name, tensor, given, rows[0], rows[1])
            elif name.startswith(KEYPOINTS) and not by_place:
                ours, other_rows = (
                    each.transpose(0, 1) if each.ndim > 1 else each for each in (tensor, given)
                )
                _by_rows(done, name, ours, other_rows, points[0], points[1])
            elif tensor.shape == given.shape:
                tensor.copy_(given)
                done.copied.append(name)
            elif name == STEM and tensor.shape[::2] == given.shape[::2]:
                tensor.copy_(_adapted(given, other, tensor.shape[1], network))
                done.adapted = (given.shape[1], tensor.shape[1])
                done.copied.append(name)
            else:
                done.fresh.append(name)
    done.unused = [name for name in theirs if name not in own and not name.endswith(COUNT)]
    done.otherwise = _other_settings(network.config, other.config, done)
    return done


def _goes_with_it(name: str, own: Tensors, theirs: Tensors) -> bool:
    """Whether a tensor that both have may be taken: a bias goes with its weight."""
    weight = name.removesuffix("bias") + "weight"
    if not name.endswith(".bias") or weight == STEM or weight not in own or weight not in theirs:
        return True
    shapes = [list(each[weight].shape) for each in (own, theirs)]
    for shape in shapes:
        del shape[1 if name.startswith(KEYPOINTS) else 0]  # the rows
    return shapes[0] == shapes[1]


def _loss(network: MaskRCNN) -> str | None:
    return network.config.mask_head.loss if network.config.mask_head else None


def _adapted(given: Tensor, other: MaskRCNN, channels: int, network: MaskRCNN) -> Tensor:
    """The first convolution for other channels; weights of BGR are turned to RGB first, and back."""
    rgb = given.flip(1) if other.config.input.order == "bgr" else given
    found = adapt_first_convolution(rgb, channels)
    return found.flip(1) if network.config.input.order == "bgr" else found


def _other_settings(own: ModelConfig, theirs: ModelConfig, done: Transfer) -> dict[str, list[str]]:
    """What `theirs` says otherwise of what the copied tensors depend on, by the parts that they are in."""
    mine, other = (dotted(each.model_dump(mode="json")) for each in (own, theirs))
    taken = [*done.copied, *done.by_class]
    found: dict[str, list[str]] = {}
    for begins, keys in SEEN:
        seen = [
            begin
            for begin in begins
            if any(name.startswith(begin) for name in taken)
            and not any(name.startswith(begin) for name in done.fresh)
            and not (done.adapted and begin == "backbone.")
        ]
        differ = [key for key in keys if _family(mine.get(key)) != _family(other.get(key))]
        if seen and differ:
            parts = ", ".join(dict.fromkeys(map(_part, seen)))
            settings = [f"model.{key}={str(other.get(key)).lower()}" for key in differ]
            found.setdefault(parts, []).extend(settings)
    return found


def _family(value: object) -> object:
    """The same for norms that compute the same."""
    return BATCH_NORMS if value in BATCH_NORMS else value


def _rows(name: str, network: MaskRCNN) -> list[str] | None:
    """The class of each group of rows of the tensor `name`; None where it has no rows per class."""
    config = network.config
    if name.startswith("box_head.score."):
        return [*config.classes, BACKGROUND]
    if name.startswith("box_head.deltas.") and config.box_head and not config.box_head.class_agnostic:
        return config.classes
    masks = config.mask_head
    if name.startswith("mask_head.predict.") and masks and not masks.class_agnostic:
        return [*config.classes, BACKGROUND] if masks.loss == "softmax" else config.classes
    return None


def _by_rows(
    done: Transfer, name: str, tensor: Tensor, given: Tensor, mine: list[str], theirs: list[str]
) -> None:
    """Copies the rows of the names that both have."""
    own, other = tensor.unflatten(0, (len(mine), -1)), given.unflatten(0, (len(theirs), -1))
    shared = [each for each in mine if each in theirs]
    if not shared or own.shape[1:] != other.shape[1:]:
        done.fresh.append(name)
        return
    for each in shared:
        own[mine.index(each)] = other[theirs.index(each)]
    done.by_class[name] = shared


def _part(name: str) -> str:
    """The part of the network that a tensor belongs to."""
    return name.partition(".")[0]
