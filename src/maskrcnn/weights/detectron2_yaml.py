"""detectron2's yaml settings with everything that they leave to their bases and to its defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from maskrcnn.errors import UserError
from maskrcnn.safe_files import parse_yaml

MOST_BASES = 8  # a chain of bases this long goes round in a circle


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A yaml file of detectron2's, resolved; its bases may lie beside it, and those of the model zoo need
    not.

    Raises:
        UserError: no such file, not YAML, or a base that neither lies beside it nor is one of the zoo's.
    """
    return resolve(_read(Path(path)), Path(path))


def resolve(settings: Mapping[str, Any], where: Path | None = None) -> dict[str, Any]:
    """Settings over their bases over the defaults.

    Args:
        where: the file that they are from, whose folder its `_BASE_` is relative to.
    """
    chain = [dict(settings)]
    while base := chain[-1].pop("_BASE_", None):
        if not isinstance(base, str) or Path(base).is_absolute():
            raise UserError(f"{where}: its _BASE_ is {base!r:.60}; give the name of a file beside it")
        if len(chain) > MOST_BASES:
            raise UserError(f"{where or base}: its _BASE_ files refer to each other in a circle")
        beside = where.parent / base if where else None
        if beside is not None and os.path.isfile(beside):  # whatever the name holds
            where = beside
            chain.append(_read(beside))
        else:
            known = zoo_bases()
            if Path(base).name not in known:
                raise UserError(
                    f"{where}: its _BASE_ {base} is neither beside it nor one of {', '.join(known)}"
                )
            chain.append(dict(known[Path(base).name]))
    resolved: dict[str, Any] = {}
    for layer in [zoo_bases()["defaults"], *reversed(chain)]:
        resolved = _merge(resolved, layer, "", where)
    return resolved


@cache
def published_file() -> dict[str, Any]:
    """`published.yaml`: the model zoo's base settings, and the table of published checkpoints."""
    path = Path(__file__).parent / "published.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def zoo_bases() -> dict[str, dict[str, Any]]:
    """The files that the model zoo's settings are based on, and `defaults`."""
    return dict(published_file()["bases"])


def _read(path: Path) -> dict[str, Any]:
    settings = parse_yaml(path)
    if not isinstance(settings, dict):
        raise UserError(
            f"{path}: not detectron2's settings: a mapping with MODEL, not {type(settings).__name__}"
        )
    return settings


def _merge(
    under: Mapping[str, Any], over: Mapping[str, Any], section: str, where: Path | None
) -> dict[str, Any]:
    """`over` on top of `under`, whose values say what kind each is to be.

    Args:
        section: the name of both with a dot behind it.
        where: the file, for the error.
    """
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if not _alike(value, below):
            given = "nothing" if value is None else f"{value!r:.60}"
            raise UserError(
                f"{where}: {section}{key} is {given}, where detectron2 has {_kind(below)}; correct it"
            )
        merged[key] = _merge(below, value, f"{section}{key}.", where) if isinstance(below, Mapping) else value
    return merged


def _alike(value: Any, below: Any) -> bool:
    """Whether a value may stand where its default is `below`."""
    if below is None or below == []:
        return below is None or isinstance(value, list)
    if isinstance(below, list):
        inner = float(below[0]) if type(below[0]) is int else below[0]  # anchors may have any side
        return isinstance(value, list) and bool(value) and all(_alike(each, inner) for each in value)
    if isinstance(below, Mapping):
        return isinstance(value, Mapping)
    if isinstance(value, bool) or isinstance(below, bool):
        return isinstance(value, bool) and isinstance(below, bool)
    return isinstance(value, int | float if isinstance(below, float) else type(below))


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"a list like {value}"
    kinds = ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "a word"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "a section")
