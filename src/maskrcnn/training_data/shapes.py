"""The few shapes that the batches of a compiled training have."""

from __future__ import annotations

from maskrcnn.config.load import Config
from maskrcnn.images.shapes import Shapes, scaled_sides

FEWEST_SLOTS, SLOT_FACTOR = 32, 4  # object slots of an image are 32, 128, 512, ...
SLOT_KINDS = 4  # of them that are counted on, up to 2,048 objects


def shapes_of(config: Config) -> Shapes:
    """The shapes for the images that `config.data.augment` makes.

    Mosaics and crops have one size. Images scaled to a short side are padded to the largest short side, and
    batches of upright images and lying ones, of which an epoch has two at most, to a square.
    """
    augment = config.data.augment
    sides = set[tuple[int, int]]()
    if augment.mosaic > 0:
        sides.add(augment.canvas)
    if augment.mosaic < 1 and augment.crop is not None:
        sides.add(augment.crop)
    elif augment.mosaic < 1:
        sides |= scaled_sides(max(augment.short_sides), augment.long_side)
        sides.add((augment.long_side, augment.long_side))
    return Shapes.of(sides, config.model.input.divisor)


def most_graphs(shapes: Shapes) -> int:
    """How many shapes of images and numbers of object slots there are together."""
    return len(shapes.sides) * SLOT_KINDS


def slots_holding(count: int) -> int:
    """Object slots for `count` objects."""
    slots = FEWEST_SLOTS
    while slots < count:
        slots *= SLOT_FACTOR
    return slots


def describe_shapes(shapes: Shapes) -> str:
    """A line for people."""
    slots = f"{FEWEST_SLOTS}, {FEWEST_SLOTS * SLOT_FACTOR}, ..."
    return (
        f"compiled: batches are padded to {shapes}, with {slots} object slots an image; at most "
        f"{most_graphs(shapes)} graphs, each compiled when it is first needed"
    )
