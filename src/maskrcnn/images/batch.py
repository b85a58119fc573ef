"""What goes into the network: images padded to one shape and, for training, what is in them.

Every tensor has a fixed shape and a `valid` beside it (docs/architecture.md, "Fixed shapes and validity
masks"), so images with no object, one or a thousand take the same path. B images, G object slots, m bitmap
side, K keypoints. Boxes are xyxy in the pixels of the padded images, continuous and half-open: a box over the
whole image is (0, 0, width, height).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from maskrcnn.config.model import InputConfig
from maskrcnn.errors import UserError
from maskrcnn.images.view import resized_view, warp_image


@dataclass
class ScaledImage:
    """One image at the size that the network takes it, not padded yet."""

    pixels: Tensor  # (C, H, W) uint8
    scale: tuple[float, float]  # model pixels per original pixel, x then y
    original: tuple[int, int]  # height and width of the original image


@dataclass
class Batch:
    """Images of one shape."""

    images: Tensor  # (B, C, H, W) uint8 or float, RGB, 0 to 255, padded right and below with anything
    sizes: Tensor  # (B, 2) int64: height and width of the image inside its padding
    scales: Tensor  # (B, 2) float: model pixels per original pixel, x then y
    originals: Tensor  # (B, 2) int64: height and width of the original image

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def pin_memory(self) -> Batch:
        """What a data loader calls, so that a GPU fetches the tensors while the processor goes on."""
        return Batch(*(getattr(self, f.name).pin_memory() for f in fields(self)))


@dataclass
class Targets:
    """The objects in a Batch: G slots an image, at least one.

    Slots that are not `valid` hold zeros; none is both valid and ignored.
    """

    boxes: Tensor  # (B, G, 4) float xyxy
    labels: Tensor  # (B, G) int64, 0 .. classes-1
    valid: Tensor  # (B, G) bool: an object to be found
    ignore: Tensor  # (B, G) bool: a crowd region; what lies in it is neither object nor background
    masks: Tensor  # (B, G, m, m) uint8 0/1; m = 0 where there are no masks
    mask_boxes: Tensor  # (B, G, 4) float xyxy: the box that each bitmap covers, not always the object's box
    has_mask: Tensor  # (B, G) bool: false where the label gives only a box
    # (B, G, K, 3) float: x, y, visibility (0 unlabelled, 1 hidden, 2 visible); K = 0 where none
    keypoints: Tensor
    seeds: Tensor  # (B,) int64: what the random choices about this image derive from

    def to(self, device: torch.device | str) -> Targets:
        return Targets(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))

    def pin_memory(self) -> Targets:
        """As `Batch.pin_memory`."""
        return Targets(*(getattr(self, f.name).pin_memory() for f in fields(self)))


def scale_image(pixels: np.ndarray, config: InputConfig) -> ScaledImage:
    """An image uint8 (H, W, C), C as the model has it, at the model's test size.

    Raises:
        UserError: it has another number of channels than the model.
    """
    height, width, channels = pixels.shape
    if channels != config.channels:
        raise UserError(f"the model takes images of {config.channels} channels, this one has {channels}")
    view = resized_view(height, width, config.short_side, config.long_side)
    scale = (view.width / width, view.height / height)
    return ScaledImage(as_tensor(warp_image(pixels, view)), scale, (height, width))


def as_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 (H, W, C) as a tensor (C, H, W); not copied where PyTorch takes it, the batch does that."""
    # a mirrored image of one pixel is contiguous to NumPy, yet has a stride that PyTorch refuses
    odd = min(pixels.strides) < 0 or not pixels.flags.writeable
    whole = pixels.copy() if odd else np.ascontiguousarray(pixels)
    return torch.from_numpy(whole).permute(2, 0, 1)


def pad_batch(
    images: Sequence[ScaledImage], divisor: int, shape: Callable[[int, int], tuple[int, int]] | None = None
) -> Batch:
    """Images padded with zeros, right and below, to the largest height and width of them rounded up to
    `divisor`, or to the `shape` for these.
    """
    sizes = torch.tensor([image.pixels.shape[1:] for image in images], dtype=torch.int64)
    height, width = (round_up(int(side), divisor) for side in sizes.amax(dim=0))
    if shape is not None:
        height, width = shape(height, width)
    padded = torch.zeros(len(images), images[0].pixels.shape[0], height, width, dtype=torch.uint8)
    for place, image in zip(padded, images, strict=True):
        place[:, : image.pixels.shape[1], : image.pixels.shape[2]] = image.pixels
    return Batch(
        images=padded,
        sizes=sizes,
        scales=torch.tensor([image.scale for image in images], dtype=torch.float32),
        originals=torch.tensor([image.original for image in images], dtype=torch.int64),
    )


def batches_of_one_shape(
    sizes: Iterable[tuple[int, int]],
    config: InputConfig,
    most: int,
    shape: Callable[[int, int], tuple[int, int]] | None = None,
) -> list[list[int]]:
    """Which images go through the network together: at most `most`, and only of one padded shape.

    So an image has the padding that it has alone. With more, the RPN would choose among more anchors and the
    convolutions would see another border: detections would depend on the neighbours in the batch.

    Args:
        sizes: height and width of each original image.
        shape: what an image of a height and width is padded to; by default the next multiples of the
            divisor.

    Returns:
        places in `sizes`, the batches by their first image.
    """
    batches: list[list[int]] = []
    open_batch: dict[tuple[int, int], list[int]] = {}
    for place, (height, width) in enumerate(sizes):
        view = resized_view(height, width, config.short_side, config.long_side)
        padded = round_up(view.height, config.divisor), round_up(view.width, config.divisor)
        if shape is not None:
            padded = shape(*padded)
        if len(open_batch.get(padded, ())) % most == 0:
            open_batch[padded] = []
            batches.append(open_batch[padded])
        open_batch[padded].append(place)
    return batches


def round_up(side: int, divisor: int) -> int:
    """The next multiple of `divisor`."""
    return -(-side // divisor) * divisor


def make_batch(pixels: Sequence[np.ndarray], config: InputConfig) -> Batch:
    """Images uint8 (H, W, C), C as the model has it, scaled to the model's test size and padded to one shape.

    Raises:
        UserError: an image has another number of channels than the model.
    """
    return pad_batch([scale_image(image, config) for image in pixels], config.divisor)


def empty_targets(images: int, slots: int, mask_side: int, keypoints: int) -> Targets:
    """Targets of `images` with no object in them, to be filled in place."""
    return Targets(
        boxes=torch.zeros(images, slots, 4, dtype=torch.float32),
        labels=torch.zeros(images, slots, dtype=torch.int64),
        valid=torch.zeros(images, slots, dtype=torch.bool),
        ignore=torch.zeros(images, slots, dtype=torch.bool),
        masks=torch.zeros(images, slots, mask_side, mask_side, dtype=torch.uint8),
        mask_boxes=torch.zeros(images, slots, 4, dtype=torch.float32),
        has_mask=torch.zeros(images, slots, dtype=torch.bool),
        keypoints=torch.zeros(images, slots, keypoints, 3, dtype=torch.float32),
        seeds=torch.zeros(images, dtype=torch.int64),
    )
