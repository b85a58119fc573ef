"""What `maskrcnn check` looks for beyond what a reader repairs or refuses, and what a person can do about
each.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

Severity = Literal["error", "warning"]

FEW = 10  # objects of a class that no training can learn from
IMBALANCE = 100  # times as many objects as the rarest class
LAID_OVER_WHITE = "it is laid over white"
SCALED = "its values are scaled to 8 bits by one range for the whole data set (model.input.value_range)"


class CheckKind(Enum):
    """What a finding has in common with others like it; of an empty remedy each finding has its own."""

    # labels
    UNREADABLE_LABELS = "labels that cannot be read", "", "error"
    UNREADABLE_TEST = "test split that cannot be read", ""
    EMPTY_MASK = "mask without a pixel", "label the object again"
    SWAPPED_BOX = "box with x and y swapped", "write x before y, width before height", "error"
    MASK_LEAVES_BOX = "mask that leaves its box", "take the box from the mask"
    LOOSE_BOX = "box more than twice as large as its mask", "take the box from the mask"
    WRONG_AREA = (
        "area that does not match the mask",
        "COCO sorts objects into small, medium and large by it: write the mask's pixels",
    )
    DUPLICATE_OBJECT = "object labelled twice", "delete one of the two"
    # classes
    UNUSED_CLASS = "class without an object", "label some, or remove the class"
    SMALL_CLASS = f"class of fewer than {FEW} objects", "label more of it, or join it to another"
    RARE_CLASS = (
        "rare class",
        f"over {IMBALANCE} times rarer than the commonest: label more, or repeat it (data.repeat_threshold)",
    )
    CLASS_OF_VAL_ALONE = (
        "class of the val split that is not in train",
        "use the same classes in both, or it counts as never found",
        "error",
    )
    NOT_OF_RECIPE = (
        "class that the recipe does not name",
        "add it to model.classes, or leave it out with data.classes: train refuses it",
        "error",
    )
    UNKNOWN_UNUSED_CLASS = ("class that neither train nor an object has", "nothing to do: it is passed over")
    MOSTLY_CROWDS = (
        "crowd regions that are more than the objects",
        "nothing to do if these are crowds; else set iscrowd to 0, or --set data.crowds=objects",
    )
    # image files
    UNUSABLE_IMAGE = "image that cannot be used", "", "error"
    BITS_16 = "image of 16 bits", SCALED
    BITS_32 = "image of 32 bits", SCALED
    FLOATING_POINT = "image of floating point", SCALED
    PALETTE = "image with a palette", "its colours are looked up"
    TRANSPARENCY = "image with transparency", LAID_OVER_WHITE
    CMYK = "image in CMYK", "it is converted without a colour profile"
    TURNED = (
        "image turned by its EXIF tag",
        "its labels must be for the upright image; the size agrees with that",
    )
    ONE_COLOUR = "image of one colour", "look whether it was exported right"
    IN_BOTH_SPLITS = "image in both splits", "it makes the figures on val too good: keep it in one split only"
    # anchors
    BELOW_ANCHORS = "object less than half as large as the smallest anchor", ""
    NO_ANCHOR = "object that no anchor matches", ""
    # training
    STEP_REFUSED = "training step that was refused", "a training would be refused too", "error"

    def __init__(self, text: str, remedy: str, severity: Severity = "warning") -> None:
        self.text = text
        self.remedy = remedy
        self.severity: Severity = severity
