"""detectron2's yaml settings with everything that they leave to their bases and to its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from maskrcnn.errors import UserError

MOST_BASES = 8  # a chain of bases this long goes round in a circle


class _Loader(yaml.SafeLoader):
    """Safe YAML with the one tag that detectron2's files use."""


def _tuple(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> list[Any]:
    return loader.construct_sequence(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


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
        if len(chain) > MOST_BASES:
            raise UserError(f"{where or base}: its _BASE_ files refer to each other in a circle")
        beside = where.parent / base if where else None
        if beside is not None and beside.is_file():
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
        resolved = _merge(resolved, layer)
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
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise UserError(
            f"{path}: not detectron2's settings: a mapping with MODEL, not {type(settings).__name__}"
        )
    return settings


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return merged
