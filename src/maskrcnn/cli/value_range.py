"""`--value-range`: which values of images of more than 8 bits become 0 and 255, for a model that does not
say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from maskrcnn.cli.common import one_of, say
from maskrcnn.errors import UserError

if TYPE_CHECKING:
    from maskrcnn.config.model import ModelConfig

ValueRangeOption = Annotated[
    str | None,
    typer.Option(
        "--value-range",
        metavar="LOW,HIGH|Nbit|LOW%,HIGH%|auto",
        autocompletion=one_of("auto", "10bit", "12bit", "14bit", "16bit"),
        help="Of images of more than 8 bits: the values that become 0 and 255, as numbers, bits or"
        " percentiles of the images; auto: what training finds. [default: the model's, else all 16 bits]",
    ),
]
Percentiles = tuple[float, float]
Finder = Callable[[Percentiles | None], tuple[float, float] | None]  # looks at the images

REMEDY = "write two numbers as in 0,4095, bits as in 12bit, percentiles as in 1%,99%, or auto"


class Wanted(NamedTuple):
    """What was typed: a range, percentiles of the images, or neither, which leaves it to their depth."""

    values: tuple[float, float] | None = None
    percentiles: Percentiles | None = None


def parse_value_range(text: str | None) -> Wanted | None:
    """What `--value-range` says; None where it was not given.

    Raises:
        UserError: it is none of its forms.
    """
    if text is None:
        return None
    words = text.strip().strip("[]()").lower()
    if words == "auto":
        return Wanted()
    if bits := re.fullmatch(r"(\d{1,2})[ -]?bits?", words):
        if not 1 <= int(bits[1]) <= 64:
            raise UserError(f"--value-range {text}: samples have 1 to 64 bits")
        return Wanted(values=(0.0, float(2 ** int(bits[1]) - 1)))
    parts = [part for part in re.split(r"[,\s]+", words) if part]
    shares = [part.endswith("%") for part in parts]
    try:
        low, high = (float(part.rstrip("%")) for part in parts)
    except ValueError:
        raise UserError(f"--value-range {text}: {REMEDY}") from None
    if any(shares) != all(shares):
        raise UserError(f"--value-range {text}: {REMEDY}")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"--value-range {text}: the first is not below the second; {REMEDY}")
    if not all(shares):
        return Wanted(values=(low, high))
    if low < 0 or high > 100:
        raise UserError(f"--value-range {text}: percentiles are from 0% to 100%")
    return Wanted(percentiles=(low, high))


def set_value_range(config: ModelConfig, wanted: Wanted | None, find: Finder) -> None:
    """Give the model the range that was asked for, and say what it is; None leaves the model's own.

    A model without one would see images of 10 to 14 bits as nearly black: a line says so.

    Args:
        find: the range of the images, as training finds it, by their depth or by percentiles.
    """
    if wanted is None:
        if config.input.value_range is None:
            _hint(find(None))
        return
    found = wanted.values or find(wanted.percentiles)
    config.input.value_range = found
    if found is None:
        say("value range: none is needed, the images have 8 bits")
    else:
        say(f"value range: {found[0]:g} becomes 0 and {found[1]:g} becomes 255")


def _hint(found: tuple[float, float] | None) -> None:
    if found is None or found[0] != 0 or not 255 <= found[1] < 2**15:
        return
    bits = math.log2(found[1] + 1)
    if bits.is_integer():  # of integers: percentiles of floats are no depth
        say(
            f"warning: all values of these images are below {found[1] + 1:g}, so they look dark to a model"
            f" that takes them as 16 bits; add --value-range {bits:g}bit"
        )
