"""What a person says of labels beyond where they are, for every verb that reads some."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn.errors import UserError


@dataclass(frozen=True)
class LabelOptions:
    """One field for each option of the command line that is about reading labels."""

    class_name: str | None = None  # what the objects are, where the format has no names of classes
    images: Path | None = None  # the folder of the images, where it is not found beside the labels

    def reader_arguments(self, format_name: str, takes: tuple[str, ...]) -> dict[str, Any]:
        """What was given for the reader of a format.

        Args:
            takes: the arguments that this reader has.

        Raises:
            UserError: the reader has no use for an option, or no such folder.
        """
        given = {} if self.images is None else {"image_folder": ("--images", self.images)}
        for argument, (option, value) in given.items():
            if argument not in takes:
                raise UserError(
                    f"{option} {value}: labels of the kind {format_name} say where theirs are; leave it out"
                )
        if self.images is not None and not self.images.is_dir():
            raise UserError(f"--images {self.images}: no such folder; name the one that holds the images")
        return {argument: value for argument, (_, value) in given.items()}

    def words(self) -> list[str]:
        """The options as they are typed."""
        named = [] if self.class_name is None else ["--class", self.class_name]
        return named + ([] if self.images is None else ["--images", str(self.images)])


PLAIN = LabelOptions()  # nothing was said
