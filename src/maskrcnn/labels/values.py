"""Numbers as JSON and XML files of other tools have them; what is none becomes NaN or -1, for others to
refuse.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LONGEST_ID = 100  # digits


def number(value: Any) -> float:
    """A number of a JSON or XML file; NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def whole(value: Any) -> int:
    """A whole number of a JSON or XML file; -1 where it is none."""
    found = number(value)
    return int(found) if math.isfinite(found) and found == int(found) else -1


def other_kind(value: Any) -> int | str | None:
    """An id as text where it is a whole number, as a number where it is the text of one; else None."""
    if type(value) is int:
        return str(value) if abs(value) < 10**LONGEST_ID else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and len(value) <= LONGEST_ID and value.isascii() and value.isdigit():
        return int(value)
    return None


def points(values: Any) -> np.ndarray:
    """(n, 2) of a list of pairs, or of objects with x and y; what is none becomes NaN."""
    pairs = values if isinstance(values, list) else []
    pairs = [[pair.get("x"), pair.get("y")] if isinstance(pair, dict) else pair for pair in pairs]
    rows = [
        [number(pair[0]), number(pair[1])]
        if isinstance(pair, list) and len(pair) == 2
        else [math.nan, math.nan]
        for pair in pairs
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def short(value: Any) -> str:
    """A value of any kind in a message."""
    if isinstance(value, int):
        return f"{value}" if abs(value) < 10**20 else "beyond measure"
    try:
        return repr(value)[:40]
    except (ValueError, RecursionError):  # a number of more digits than Python writes, or lists too deep
        return "beyond measure"


def turn_of(attributes: Any) -> float:
    """Degrees, clockwise, by which CVAT turned a box about its centre: its attribute "rotation"; else 0."""
    said = attributes.get("rotation") if isinstance(attributes, dict) else None
    degrees = number(said) if type(said) in (int, float) else 0.0
    return degrees if math.isfinite(degrees) else 0.0
