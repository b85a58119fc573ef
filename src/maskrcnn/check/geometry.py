"""Sides of the network's input, tiles and anchors, from the sizes of the objects."""

from __future__ import annotations

import math

import numpy as np

from maskrcnn.check.draft import Draft, compact
from maskrcnn.check.statistics import Statistics
from maskrcnn.config.load import Config
from maskrcnn.config.model import RpnConfig

# pixels of the network's input that three in four objects should have: less costs masks, more time
WANTED_SIDE = 24.0
PLENTY = 64.0  # pixels from which on an object need not be seen larger
SIDES = (256, 1024)  # short sides that are reasonable on the machines people have
ENOUGH = {"cpu": 480, "mps": 640, "cuda": 800}  # short side that images of large objects are shrunk to
MOST_ENLARGED = 2.0
START_ENLARGED = 3.0  # to the side that a start was made for: small nuclei are found best at 2.5
TILED = 1600  # long side of the network's input above which tiles are better
STRIDES = (4, 8, 16, 32, 64)
WIDEST_STEP = 2.5  # between the anchors of two levels
REACH = 1.6  # factor by which an object may be smaller or larger than every anchor: an IoU of 0.4
RATIO_REACH = 4.0  # the same of height / width: an IoU of a third, above what makes an anchor negative


def advise_sides(draft: Draft, stats: Statistics, device: str) -> float:
    """Sides of the input, or tiles; returns the network's pixels per pixel of the image."""
    config = draft.config
    side = config.model.input.short_side if draft.asks("model.input.short_side") else None
    kept, theirs = scales_of_start(config, stats), draft.unasked
    own = theirs.model.input.short_side if kept else 0
    short, long, scale = _side(stats, device, kept, own, side)
    whole = draft.asks("data.tiles") and config.data.tiles is None
    tiles: tuple[int, int] | None
    if config.data.tiles is not None and (draft.asks("data.tiles.side") or draft.asks("data.tiles")):
        tiles = config.data.tiles.side, _overlap(stats, config.data.tiles.side)
    else:
        tiles = None if side or whole else _tiles(stats)
    quarter = stats.sides[1]
    if tiles is None:
        whose = ", the start's own" if short == own else ""
        draft.add(
            f"short side {short}{whose}: a quarter of the objects are under {quarter:.0f} pixels, "
            f"{quarter * scale:.0f} then"
        )
    else:
        short = long = side or SIDES[1]
        scale = short / tiles[0]
        draft.add(
            f"tiles of {tiles[0]} pixels: a quarter of the objects are under {quarter:.0f} pixels in images "
            f"of up to {stats.long_sides[4]:.0f}, {quarter * scale:.0f} in a tile; they overlap by "
            f"{tiles[1]}, as large objects",
            f"data.tiles.side={tiles[0]}",
            f"data.tiles.overlap={tiles[1]}",
            "model.input.tile_side=null",
            *_ignored_remnants(config),
        )
    draft.overrides += [f"model.input.short_side={short}", f"model.input.long_side={long}"]
    draft.overrides += _training_sides(theirs, stats, short, long, scale, whole=tiles is None)
    return scale


def _training_sides(
    config: Config, stats: Statistics, short: int, long: int, scale: float, whole: bool
) -> list[str]:
    """Sides to train on about those to test at: the recipe's window, as much smaller or larger as the side,
    where objects are small in it, else whole images.

    Args:
        config: the recipe's, whatever a person asks for.
    """
    augment = config.data.augment
    if augment.crop is not None and whole:
        side = max(128, round(augment.crop[0] * short / config.model.input.short_side / 32) * 32)
        if stats.sides[4] * scale <= side / 2:
            return [f"data.augment.crop=[{side},{side}]"]
    sides = _around(short)  # of square images the largest passes the long side at which they are tested
    found = [f"data.augment.short_sides={compact(sides)}", f"data.augment.long_side={max(long, *sides)}"]
    if augment.jitter is not None:  # it would be taken instead of the short sides
        found += ["data.augment.jitter=null", "data.augment.crop=null"]
    if augment.mosaic_canvas is not None:
        found.append("data.augment.mosaic_canvas=null")
    return found


def advise_anchors(draft: Draft, stats: Statistics, scale: float) -> None:
    """The anchors of a start, where they fit; else such as the objects ask for."""
    config = draft.config
    rpn = config.model.rpn
    small, large = stats.sides[0] * scale, stats.sides[4] * scale
    spread = f"nine in ten objects are {small:.0f} to {large:.0f} pixels then"
    limits = scales_of_start(config, stats)
    if limits is not None and limits[0] <= scale <= limits[1]:
        first, last = _ends(rpn)
        draft.add(f"anchors of {first:g} to {last:g}, kept from the start: {spread}")
    else:
        anchors = _anchor_sizes(small, large)
        if len(rpn.sizes) == 1:  # C4 and DC5 have one level
            anchors = [[size for level in anchors for size in level]]
        draft.add(
            f"anchors from {anchors[0][0]} to {anchors[-1][-1]}: {spread}",
            f"model.rpn.sizes={compact(anchors)}",
        )
    low, high = stats.ratios[0], stats.ratios[4]
    shape = f"height / width is {low:.2f} to {high:.2f} (5 to 95%)"
    if config.train.init and min(rpn.ratios) <= low * RATIO_REACH and high <= max(rpn.ratios) * RATIO_REACH:
        draft.add(f"anchor ratios {rpn.ratios}, kept from the start: {shape}")
        return
    if 0.6 <= low and high <= 1.7:
        ratios = [1.0]
    elif 0.3 <= low and high <= 3.5:
        ratios = [0.5, 1.0, 2.0]
    else:
        ratios = [0.25, 0.5, 1.0, 2.0, 4.0]
    draft.add(f"anchor ratios {ratios}: {shape}", f"model.rpn.ratios={compact(ratios)}")


def scales_of_start(config: Config, stats: Statistics) -> tuple[float, float] | None:
    """The network's pixels per pixel of the image, least and most, at which the anchors of a start fit nine
    in ten objects; None where they fit at none, or there is no start.
    """
    if config.train.init is None:
        return None
    first, last = _ends(config.model.rpn)
    least, most = first / REACH / max(stats.sides[0], 1e-6), last * REACH / max(stats.sides[4], 1e-6)
    return (least, most) if least <= most else None


def _ends(rpn: RpnConfig) -> tuple[float, float]:
    """The smallest and the largest anchor."""
    return min(map(min, rpn.sizes)), max(map(max, rpn.sizes))


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


def _side(
    stats: Statistics, device: str, kept: tuple[float, float] | None, own: int, asked: int | None
) -> tuple[int, int, float]:
    """Short and long side of the network's input for whole images, and its pixels per pixel of a middling
    one.

    Args:
        kept: scales at which the anchors of the start fit.
        own: the short side that the start was made for.
        asked: the short side that a person asks for.
    """
    short, small = stats.short_sides[2], max(stats.sides[1], 1e-6)
    if small < WANTED_SIDE:
        scale = min(MOST_ENLARGED, WANTED_SIDE / small)
    else:
        scale = min(1.0, max(PLENTY / small, ENOUGH[device] / short))
    if kept is not None:  # at a smaller side than its own a start finds less
        scale = float(np.clip(max(scale, min(own / short, START_ENLARGED)), *kept))
    side = asked or int(np.clip(round(short * scale / 32) * 32, *SIDES))
    scale = side / short
    long = int(math.ceil(max(stats.long_sides[4] * scale, side) / 32) * 32)
    return side, max(side, min(long, TILED)), scale


def _tiles(stats: Statistics) -> tuple[int, int] | None:
    """Side and overlap of tiles; None where whole images show their small objects large enough."""
    needed = min(MOST_ENLARGED, WANTED_SIDE / max(stats.sides[1], 1e-6))  # the network's pixels per pixel
    if stats.long_sides[4] * needed <= TILED:
        return None
    side = round(SIDES[1] / needed / 32) * 32
    return side, _overlap(stats, side)


def _overlap(stats: Statistics, side: int) -> int:
    """As large objects, of tiles of a side; at most half of it."""
    return int(np.clip(math.ceil(stats.sides[4] / 32) * 32, min(64, side // 2), side // 2))


def _ignored_remnants(config: Config) -> list[str]:
    """What a recipe must have for tiles: the remnants of objects at their borders are ignored."""
    return [
        f"model.{n}.ignore_iou=0.5" for n in ("rpn", "roi") if getattr(config.model, n).ignore_iou is None
    ]


def _around(side: int) -> list[int]:
    """Short sides to train on about the one to test at."""
    return sorted(
        {int(np.clip(round(side * factor / 32) * 32, 128, SIDES[1])) for factor in (0.7, 0.8, 0.9, 1.0, 1.1)}
    )
