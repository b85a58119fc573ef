"""Lines of tables, and what tables in Parquet need."""

from __future__ import annotations

import csv
import io
from importlib.util import find_spec
from typing import Any

from maskrcnn.errors import UserError

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what begins one


def table_line(*cells: Any) -> str:
    """A row of a table; no cell is a formula to a spreadsheet, which could run programs: a ' is before it."""
    text = io.StringIO()
    plain = [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells]
    csv.writer(text).writerow(plain)
    return text.getvalue()


def demand_pyarrow(what: str) -> None:
    """
    Raises:
        UserError: pyarrow, which `what` needs, is not installed.
    """
    if find_spec("pyarrow") is None:
        raise UserError(f"{what}: needs pyarrow; pip install 'maskrcnn[parquet]'")
