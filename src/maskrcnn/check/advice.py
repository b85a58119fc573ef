"""What to train with, from the sizes of the objects: image side, anchors, schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from maskrcnn.check.statistics import Statistics
from maskrcnn.config.load import Config, load_config
from maskrcnn.labels.options import PLAIN, LabelOptions
from maskrcnn.shell import counted, shell_command
from maskrcnn.weights.published import published_checkpoints
from maskrcnn.weights.trunk import shipped_trunks

WANTED_SIDE = (
    24.0  # pixels of the network's input that three in four objects should have: less costs masks, more time
)
SIDES = (256, 1024)  # short sides that are reasonable on the machines people have
MOST_ENLARGED = 2.0
TILED = 1600  # long side of the network's input above which tiles are better
OBJECT_VIEWS = 30_000  # views of objects after which narrow networks have stopped learning fast
STRIDES = (4, 8, 16, 32, 64)
MOSAIC_MORE = 64  # pixels by which a mosaic's canvas passes the short side
WIDEST_STEP = 2.5  # between the anchors of two levels


@dataclass
class Advice:
    """Settings to train with, as overrides of a recipe, and what they cost on this machine."""

    recipe: str
    overrides: list[str]
    command: str
    reasons: list[str]
    seconds_per_image: float | None = None  # of a training step, measured
    hours: float | None = None
    memory_gb: float | None = None  # the most that this process held while a step ran

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def advise(
    source: str,
    stats: Statistics,
    recipe: str | None = None,
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    options: LabelOptions = PLAIN,
) -> Advice:
    """Overrides of a recipe that fit the data.

    Args:
        stats: of the train split, which has objects.
        recipe: None: the shipped one that fits.
        mean, std: of the images' channels, where these are not RGB's three.
        options: what was said of the labels, for the command.
    """
    if recipe is None:
        recipe = "person-mobilenet" if stats.with_keypoints else "nuclei-mobilenet"
    config = load_config(recipe)
    draft = _Draft()
    _advise_trunk(draft, config)
    if len(mean) not in (0, 3):
        _advise_channels(draft, mean, std)
    scale = _advise_sides(draft, stats, config)
    _advise_anchors(draft, stats, config, scale)
    epochs = int(np.clip(math.ceil(OBJECT_VIEWS / max(stats.objects, 1)), 5, 200))
    views = f"{counted(epochs * stats.objects, 'view')} of {counted(stats.objects, 'object')}"
    draft.add(f"{counted(epochs, 'epoch')}: {views}", f"train.epochs={epochs}")
    if not stats.with_mask:
        draft.overrides.append("model.mask_head=null")
    if not stats.with_keypoints and config.model.keypoint_head is not None:
        draft.overrides.append("model.keypoint_head=null")
    sets = [word for override in draft.overrides for word in ("--set", override)]
    command = shell_command(
        ["maskrcnn", "train", source, *options.words(config.data), "--recipe", recipe, *sets]
    )
    return Advice(recipe, draft.overrides, command, draft.reasons)


@dataclass
class _Draft:
    """Overrides and why, while they are found."""

    reasons: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)

    def add(self, reason: str, *overrides: str) -> None:
        self.reasons.append(reason)
        self.overrides += overrides


def _advise_trunk(draft: _Draft, config: Config) -> None:
    """Weights for a frozen backbone, which `train` refuses to leave at random ones."""
    backbone = config.model.backbone
    if config.train.trunk or config.train.init or not backbone.freeze:
        return
    trunks = [*shipped_trunks(), *(entry.name for entry in published_checkpoints() if entry.kind == "trunk")]
    fitting = [name for name in trunks if name.rpartition("/")[2].startswith(backbone.kind)]
    if fitting:
        draft.add(
            "the recipe freezes a part of the backbone and names no weights", f"train.trunk={fitting[0]}"
        )
    else:
        draft.add("there are no weights for this backbone, so all of it learns", "model.backbone.freeze=0")


def _advise_channels(draft: _Draft, mean: Sequence[float], std: Sequence[float]) -> None:
    draft.add(
        f"images of {counted(len(mean), 'channel')}: the first convolution is adapted, and learns",
        f"model.input.channels={len(mean)}",
        f"model.input.mean={_listed(mean)}",
        f"model.input.std={_listed(std)}",
        "model.backbone.freeze=0",
    )


def _advise_sides(draft: _Draft, stats: Statistics, config: Config) -> float:
    """Sides of the input, or tiles; returns the network's pixels per pixel of the image."""
    side, long, scale = _side(stats)
    tiles = _tiles(stats)
    quarter = stats.sides[1]
    if tiles is None:
        draft.add(
            f"short side {side}: a quarter of the objects are under {quarter:.0f} pixels, "
            f"{quarter * scale:.0f} then"
        )
    else:
        side = long = SIDES[1]
        scale = side / tiles[0]
        draft.add(
            f"tiles of {tiles[0]} pixels: a quarter of the objects are under {quarter:.0f} pixels in images "
            "of up to "
            f"{stats.long_sides[4]:.0f}, {quarter * scale:.0f} in a tile; they overlap by {tiles[1]}, as "
            "large objects",
            f"data.tiles.side={tiles[0]}",
            f"data.tiles.overlap={tiles[1]}",
            *_ignored_remnants(config),
        )
    draft.overrides += [f"model.input.short_side={side}", f"model.input.long_side={long}"]
    sides = _around(side)  # of square images the largest passes the long side at which they are tested
    draft.overrides += [f"data.augment.short_sides={_compact(sides)}"]
    draft.overrides += [f"data.augment.long_side={max(long, *sides)}"]
    if config.data.augment.jitter is not None:  # it would be taken instead of the short sides
        draft.overrides += ["data.augment.jitter=null", "data.augment.crop=null"]
    if config.data.augment.mosaic:  # as large as an image, whose long side is cut
        draft.overrides.append(f"data.augment.mosaic_canvas=[{side + MOSAIC_MORE},{side + MOSAIC_MORE}]")
    return scale


def _advise_anchors(draft: _Draft, stats: Statistics, config: Config, scale: float) -> None:
    small, large = stats.sides[0] * scale, stats.sides[4] * scale
    anchors = _anchor_sizes(small, large)
    if len(config.model.rpn.sizes) == 1:  # C4 and DC5 have one level
        anchors = [[size for level in anchors for size in level]]
    draft.add(
        f"anchors from {anchors[0][0]} to {anchors[-1][-1]}: nine in ten objects are {small:.0f} to "
        f"{large:.0f} then",
        f"model.rpn.sizes={_compact(anchors)}",
    )
    low, high = stats.ratios[0], stats.ratios[4]
    if 0.6 <= low and high <= 1.7:
        ratios = [1.0]
    elif 0.3 <= low and high <= 3.5:
        ratios = [0.5, 1.0, 2.0]
    else:
        ratios = [0.25, 0.5, 1.0, 2.0, 4.0]
    draft.add(
        f"anchor ratios {ratios}: height / width is {low:.2f} to {high:.2f} (5 to 95%)",
        f"model.rpn.ratios={_compact(ratios)}",
    )


def _anchor_sizes(small: float, large: float) -> list[list[int]]:
    """Anchors for objects of these sides: one a level and twice as large on each, or in larger steps to reach
    the large.

    A step beyond WIDEST_STEP would leave objects between two sizes that neither overlaps by half: then there
    are two of each level.
    """
    levels = len(STRIDES)
    power = math.log2(max(small, 4.0))
    below = 2 ** int(np.clip(math.floor(power), 3, 5))
    first = below if below << (levels - 1) >= large else 2 ** int(np.clip(round(power), 3, 5))
    step = max(2.0, (large / first) ** (1 / (levels - 1)))
    if step <= WIDEST_STEP:
        return [[_even(first * step**level)] for level in range(levels)]
    half = (large / first) ** (1 / (2 * levels - 1))
    return [
        [_even(first * half ** (2 * level)), _even(first * half ** (2 * level + 1))]
        for level in range(levels)
    ]


def _even(side: float) -> int:
    return max(4, 4 * round(side / 4))


def _side(stats: Statistics) -> tuple[int, int, float]:
    """Short and long side of the network's input for whole images, and its pixels per pixel of a middling
    one.
    """
    short, small = stats.short_sides[2], stats.sides[1]
    scale = min(MOST_ENLARGED, WANTED_SIDE / max(small, 1e-6)) if small < WANTED_SIDE else 1.0
    side = int(np.clip(round(short * scale / 32) * 32, *SIDES))
    scale = side / short
    long = int(math.ceil(max(stats.long_sides[4] * scale, side) / 32) * 32)
    return side, min(long, TILED), scale


def _tiles(stats: Statistics) -> tuple[int, int] | None:
    """Side and overlap of tiles; None where whole images show their small objects large enough."""
    needed = min(MOST_ENLARGED, WANTED_SIDE / max(stats.sides[1], 1e-6))  # the network's pixels per pixel
    if stats.long_sides[4] * needed <= TILED:
        return None
    side = round(SIDES[1] / needed / 32) * 32
    return side, int(np.clip(math.ceil(stats.sides[4] / 32) * 32, 64, side // 2))


def _ignored_remnants(config: Config) -> list[str]:
    """What a recipe must have for tiles: the remnants of objects at their borders are ignored."""
    return [
        f"model.{n}.ignore_iou=0.5" for n in ("rpn", "roi") if getattr(config.model, n).ignore_iou is None
    ]


def _listed(values: Sequence[float]) -> str:
    return "[" + ",".join(f"{value:g}" for value in values) + "]"


def _compact(values: list[Any]) -> str:
    return str(values).replace(" ", "")


def _around(side: int) -> list[int]:
    """Short sides to train on about the one to test at."""
    return sorted(
        {int(np.clip(round(side * factor / 32) * 32, 128, SIDES[1])) for factor in (0.7, 0.8, 0.9, 1.0, 1.1)}
    )
