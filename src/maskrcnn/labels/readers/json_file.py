"""A JSON file that people's tools wrote, in UTF-8, UTF-16 or UTF-32, with a byte order mark or without: read
once and refused in one line.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from maskrcnn.errors import RecordError, one_line
from maskrcnn.labels.readers.folder_files import visible

JSONS = "*.[jJ][sS][oO][nN]"  # what tools on Windows write is in capitals at times
MOST_FILES = 20  # of JSON in a folder, of which one may be meant
TRAILING = re.compile(r",\s*[\]}]")
GLANCE = 1 << 16  # bytes at either end of a file; divisible by 4, as UTF-32 needs


def load_json(path: Path, remedy: str = "export it anew") -> Any:
    """What a JSON file holds.

    Raises:
        DataError: missing, not JSON, or nested too deep.
    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_without_loss)
    except json.JSONDecodeError as error:
        if TRAILING.match(error.doc, max(error.doc.rfind(",", 0, error.pos + 1), 0)):
            remedy = "delete the comma before the bracket there"
        raise RecordError(
            path, f"not readable as JSON at line {error.lineno}, column {error.colno} ({error.msg})", remedy
        ) from None
    except (OSError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise RecordError(path, f"not readable as JSON ({one_line(error)})", remedy) from None


def _without_loss(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that is there twice Python would keep the last value."""
    found = dict(pairs)
    if len(found) < len(pairs) and (lost := [key for key, value in pairs if found[key] != value]):
        raise ValueError(f"the key {lost[0]!r:.80} is there twice, with two values")
    return found


def only_json(source: Path) -> Path | None:
    """The .json file that is meant: itself, or the only one of a folder but for hidden ones, and but for
    those without lists of images and labels where one has them.
    """
    if source.is_dir():
        found = visible(source, JSONS)
        if 1 < len(found) <= MOST_FILES:
            found = [path for path in found if has_labels(path)]
        return found[0] if len(found) == 1 else None
    return source if source.suffix.lower() == ".json" and source.is_file() else None


def has_labels(path: Path) -> bool:
    """Whether a file of JSON seems to list images, or labels of some."""
    return any(key in glance(path) for key in ('"images"', '"annotations"', '"image_id"'))


def glance(path: Path, count: int = GLANCE) -> str:
    """The first and the last `count` bytes of a JSON file as text, without a byte order mark or space before
    it; "" where there is no such file.
    """
    if not os.path.isfile(path):
        return ""
    try:
        with path.open("rb") as file:
            ends = file.read(count)
            file.seek(max(len(ends), (file.seek(0, os.SEEK_END) - count) // 4 * 4))
            ends += file.read(count + 3)
    except OSError:
        return ""
    return ends.decode(json.detect_encoding(ends), "ignore").lstrip("\ufeff \t\r\n")
