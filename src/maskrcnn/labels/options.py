"""What a person says of labels beyond where they are, for every verb that reads some."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn.config.data import DataConfig
from maskrcnn.errors import UserError

REFUSALS = {
    "image_folder": ("--images", "say where their images are"),
    "class_attribute": ("--class-attribute", "say what the class is"),
    "split_parts": ("--split-parts", "have no label images whose numbers could have parts"),
}
# what labels are taken for
LABEL_SETTINGS = ("data.classes", "data.other_classes", "data.crowds")


@dataclass(frozen=True)
class LabelOptions:
    """One field for each option of the command line that is about reading labels."""

    class_name: str | None = None  # what the objects are, where the format has no names of classes
    images: Path | None = None  # the folder of the images, where it is not found beside the labels
    class_attribute: str | None = None  # which attribute of the objects is the class, where there are several
    split_parts: bool = False  # each separate part of a label image's number is an object of its own
    data: DataConfig | None = None  # of it LABEL_SETTINGS; None: nothing was said

    def reader_arguments(self, format_name: str, takes: tuple[str, ...]) -> dict[str, Any]:
        """What was given for the reader of a format.

        Args:
            takes: the arguments that this reader has.

        Raises:
            UserError: the reader has no use for an option, or no such folder.
        """
        values = {
            "image_folder": self.images,
            "class_attribute": self.class_attribute,
            "split_parts": self.split_parts or None,
        }
        given = {argument: value for argument, value in values.items() if value is not None}
        for argument in given:
            if argument not in takes:
                option, why = REFUSALS[argument]
                raise UserError(f"{option}: labels of the kind {format_name} {why}; leave it out")
        if self.images is not None and not self.images.is_dir():
            raise UserError(f"--images {self.images}: no such folder; name the one that holds the images")
        return given

    def words(self, recipe: DataConfig | None = None) -> list[str]:
        """The options as they are typed beside a recipe of these settings."""
        named = {
            "--class": self.class_name,
            "--images": self.images,
            "--class-attribute": self.class_attribute,
        }
        words = [
            word for option, value in named.items() if value is not None for word in (option, str(value))
        ]
        for setting in LABEL_SETTINGS:
            name = setting.removeprefix("data.")
            value = getattr(self.data or DataConfig(), name)
            if value != getattr(recipe or DataConfig(), name):
                words += ["--set", f"{setting}={json.dumps(value, ensure_ascii=False)}"]
        return words + ["--split-parts"] * self.split_parts


PLAIN = LabelOptions()  # nothing was said
