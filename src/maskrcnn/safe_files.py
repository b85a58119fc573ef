"""Small YAML and JSON files that anyone may have written: settings and descriptions, never labels.

They are short, flat, of plain values and without aliases, which can grow to any size when read.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from maskrcnn.errors import UserError, one_line

LARGEST = 1_000_000  # bytes; the names of a thousand classes take a fiftieth of it
LARGEST_JSON = 8_000_000  # a model's settings hold all its classes, each on a line of its own
MOST_VALUES = 100_000  # PyYAML needs a second for so many where it has no part in C
DEEPEST = 20  # lists and mappings in one another
TUPLE = "tag:yaml.org,2002:python/tuple"  # the one tag that detectron2's files use: a list

Kind = Callable[[object, str, str], UserError]


def _sentence(source: object, what: str, remedy: str) -> UserError:
    return UserError(f"{source}: {what}; {remedy}")


def parse_yaml(path: Path, kind: Kind = _sentence) -> Any:
    """What a YAML file holds, with plain values only.

    Args:
        kind: makes what is raised, of a file, what is wrong and a remedy; of labels a RecordError.

    Raises:
        UserError: as `kind`: unreadable, not YAML, larger than `LARGEST`, of more than `MOST_VALUES`, nested
            deeper than `DEEPEST`, or with aliases or tags.
    """
    return parse_yaml_text(small_text(path, "YAML", kind), str(path), kind)


def parse_yaml_text(text: str, where: str, kind: Kind = _sentence) -> Any:
    """The same of a text; `where` is what the error names."""
    try:
        _refuse_bombs(text, where, kind)
        return yaml.load(text, Loader=_loader())  # noqa: S506  # a SafeLoader
    except UserError:
        raise
    # values that look like dates or numbers and are none raise whatever their parsing stumbles over
    except Exception as error:  # noqa: BLE001
        raise kind(where, f"not readable as YAML ({one_line(error):.200})", "correct it") from None


def parse_json(path: Path, remedy: str) -> dict[str, Any]:
    """The mapping that a JSON file holds.

    Args:
        remedy: what a person does about a bad one.

    Raises:
        UserError: unreadable, not JSON, no mapping, larger than `LARGEST_JSON` or nested deeper than
            `DEEPEST`.
    """
    text = small_text(path, "JSON", largest=LARGEST_JSON)
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or a number of thousands of digits
        raise UserError(f"{path}: not readable as JSON ({one_line(error):.200}); {remedy}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: a mapping is expected, not {type(settings).__name__}; {remedy}")
    level: list[Any] = [settings]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    if level:
        raise UserError(f"{path}: nested deeper than {DEEPEST}; {remedy}")
    return settings


def decoded(content: bytes, errors: str = "strict") -> str:
    """A text in UTF-8, or in UTF-16 as Windows' programs save it with a byte order mark, which goes.

    Raises:
        UnicodeDecodeError: in another encoding, where `errors` is "strict".
    """
    return content.decode(encoding_of(content), errors)


def encoding_of(start: bytes) -> str:
    """The encoding of a text that begins so, by its byte order mark: UTF-8 or UTF-16."""
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def small_text(path: Path, language: str, kind: Kind = _sentence, largest: int = LARGEST) -> str:
    """What a file of settings holds; `language` is what it should be in.

    Raises:
        UserError: as `kind`: no file, larger than `largest` bytes, not readable or not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe could keep us waiting for ever
            raise kind(path, f"not readable as {language} (not a file)", "give a file")
        if path.stat().st_size > largest:
            raise kind(path, f"larger than {largest // 10**6} MB", "give the small file of settings")
        return decoded(path.read_bytes())
    except OSError as error:
        raise kind(path, f"not readable as {language} ({error.strerror})", "check the file") from None
    except UnicodeDecodeError:
        raise kind(path, f"not readable as {language} (not UTF-8)", "save it as UTF-8") from None


def _refuse_bombs(text: str, where: str, kind: Kind) -> None:
    depth = values = 0
    # the parser keeps its own stack: unlike loading, this does not recurse
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.AliasEvent):
            raise kind(where, f"has the alias *{event.anchor}", "write its value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        values += 1
        if values > MOST_VALUES:
            remedy = "put long lists into a text file of their own"
            raise kind(where, f"more than {MOST_VALUES:,} values", remedy)
        if depth > DEEPEST:
            raise kind(where, f"nested deeper than {DEEPEST}", "write it as a flat list of keys")


@cache
def _loader() -> Any:
    """The safe loader in C, ten times as fast, where PyYAML was built with it."""

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    Loader.add_constructor(TUPLE, lambda loader, node: loader.construct_sequence(node, deep=True))
    return Loader
