"""Lines of tables."""

from __future__ import annotations

import csv
import io
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what begins one


def table_line(*cells: Any) -> str:
    """A row of a table; no cell is a formula to a spreadsheet, which could run programs: a ' is before it."""
    text = io.StringIO()
    plain = [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells]
    csv.writer(text).writerow(plain)
    return text.getvalue()
