"""Numbers as JSON and XML files of other tools have them; what is none becomes NaN or -1, for others to
refuse.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


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


def points(values: Any) -> np.ndarray:
    """(n, 2) of a list of pairs; a pair that is none becomes NaN."""
    pairs = values if isinstance(values, list) else []
    rows = [
        [number(pair[0]), number(pair[1])]
        if isinstance(pair, list) and len(pair) == 2
        else [math.nan, math.nan]
        for pair in pairs
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)
