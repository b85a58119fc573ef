"""How many images of a prediction in parts may fail: `--max-failures`."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn.errors import DataError, UserError
from maskrcnn.shell import counted


@dataclass(frozen=True)
class Limit:
    """How many images may fail before the work stops."""

    text: str  # as given: "1%", "100"
    share: bool  # of all, else a number of images
    value: float

    def check(self, failures: int, images: int) -> None:
        """
        Args:
            failures: images that could not be read so far.
            images: of the share in all.

        Raises:
            DataError: too many failed.
        """
        if failures > (self.value * images if self.share else self.value):
            raise DataError(
                f"stopped: {counted(failures, 'image')} of {images:,} could not be read, more than "
                f"--max-failures {self.text}; the parts say why in their column error"
            )


def read_limit(text: str) -> Limit:
    """
    Raises:
        UserError: neither a number of images nor a percentage.
    """
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        value = float(number) if percent else float(int(number))
    except ValueError:
        value = -1.0
    if not 0 <= value <= (100 if percent else float("inf")):
        raise UserError(f"--max-failures {text:.40}: give a number of images, or a share such as 1%")
    return Limit(text, percent, value / 100 if percent else value)
