"""YAML files that anyone may have written: small, flat and without aliases, which can grow to any size when
read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from maskrcnn.errors import DataError

LARGEST = 1_000_000  # bytes; the names of a thousand classes take a fiftieth of it
MOST_VALUES = 100_000  # PyYAML needs a second for so many where it has no part in C
DEEPEST = 20  # lists and mappings in one another


def parse_yaml(path: Path) -> Any:
    """What a YAML file holds, with plain values only.

    Raises:
        DataError: unreadable, not YAML, larger than `LARGEST`, of more than `MOST_VALUES`, nested deeper than
            `DEEPEST`, or with aliases or tags.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(
                f"{path}: larger than {LARGEST // 10**6} MB; give the small file that describes the data set"
            )
        text = path.read_text(encoding="utf-8-sig")
        _refuse_bombs(text, path)
        return yaml.load(text, Loader=_loader())
    except DataError:
        raise
    # values that look like dates or numbers and are none raise whatever their parsing stumbles over
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not readable as YAML ({reason:.200}); correct the file") from None


def _refuse_bombs(text: str, path: Path) -> None:
    depth = values = 0
    # the parser keeps its own stack: unlike loading, this does not recurse
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.AliasEvent):
            raise DataError(f"{path}: has the alias *{event.anchor}; write its value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        values += 1
        if values > MOST_VALUES:
            raise DataError(
                f"{path}: more than {MOST_VALUES:,} values; put long lists into a text file of their own"
            )
        if depth > DEEPEST:
            raise DataError(f"{path}: nested deeper than {DEEPEST}; write it as a flat list of keys")


def _loader() -> Any:
    """The safe loader in C, ten times as fast, where PyYAML was built with it."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
