"""A JSON file that people's tools wrote, read once and refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maskrcnn.errors import DataError


def load_json(path: Path, remedy: str = "export it anew") -> Any:
    """What a JSON file holds.

    Raises:
        DataError: missing, not JSON, or nested too deep.
    """
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not readable as JSON at line {error.lineno}, column {error.colno} ({error.msg}); "
            f"{remedy}"
        ) from None
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON ({' '.join(str(error).split())}); {remedy}") from None
