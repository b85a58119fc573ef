"""mmdetection's own settings of a detector as text, read and never run: what a training wrote into its
checkpoint (`meta.cfg`, `meta.config` before version 3) and into its work_dir.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from maskrcnn.errors import UserError, one_line
from maskrcnn.safe_files import small_text

LONGEST = 1_000_000  # characters, and values
READ = ("model", "train_cfg", "test_cfg", "data_preprocessor")  # and the pipeline of the test images
REMEDY = "give --config with the .py that mmdetection wrote into work_dir, which has all as plain values"
NUMBERS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


class Expression(str):
    """The text of what is no plain value."""


def settings_inside(extra: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    """The settings that a checkpoint holds beside its tensors; None: it holds none of a model.

    Raises:
        UserError: they are not readable.
    """
    meta = extra.get("meta")
    text = meta.get("cfg") or meta.get("config") if isinstance(meta, Mapping) else None
    settings = parse_settings(text, where) if isinstance(text, str) else {}
    return settings if isinstance(settings.get("model"), dict) else None


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a file that mmdetection wrote into a work_dir.

    Raises:
        UserError: not readable, based on other files, or of no model.
    """
    settings = parse_settings(small_text(path, "Python"), str(path))
    if not isinstance(settings.get("model"), dict):
        raise UserError(f"{path}: has no model; {REMEDY}")
    return settings


def parse_settings(text: str, where: str) -> dict[str, Any]:
    """The assignments of plain values, lists and dicts, which may name earlier ones.

    Raises:
        UserError: no Python, other statements, longer than `LONGEST`, nested too deep, based on other files,
            or not plain where it is read.
    """
    try:
        if len(text) > LONGEST:
            raise ValueError(f"{len(text)} characters")
        settings = _Reader().settings(ast.parse(text))
        if "_base_" in settings:
            raise ValueError("_base_ names other files")
        for name in READ:
            for place, value in expressions(settings.get(name), name):
                raise ValueError(f"{place}={value}")
    except (SyntaxError, TypeError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        raise UserError(
            f"{where}: its settings are not readable as plain Python ({one_line(error):.100}); {REMEDY}, or "
            "with the name of a published checkpoint"
        ) from None
    return settings


class _Reader:
    """Values by the names that they are given."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, int]] = {}
        self._count = 0  # values read, those that a name stands for among them

    def settings(self, module: ast.Module) -> dict[str, Any]:
        for statement in module.body:
            match statement:
                case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Pass():
                    continue
                case ast.Assign(targets=targets, value=value):
                    names = [target.id for target in targets if isinstance(target, ast.Name)]
                    if len(names) < len(targets):
                        raise ValueError(f"line {statement.lineno} is no plain assignment")
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    names = [name]
                case _:
                    raise ValueError(f"line {statement.lineno} is no plain assignment")
            before = self._count
            read = self._value(value)
            self._known |= dict.fromkeys(names, (read, self._count - before))
        return {name: value for name, (value, _) in self._known.items()}

    def _value(self, node: ast.expr) -> Any:
        self._count += 1
        if isinstance(node, ast.Name) and node.id in self._known:
            self._count += self._known[node.id][1]
        if self._count > LONGEST:
            raise ValueError(f"more than {LONGEST} values")
        match node:
            case ast.Constant(value=value):
                if isinstance(value, int) and abs(value) >= 2**63:
                    raise ValueError("a number of too many digits")
                return value
            case ast.Name(id=name) if name in self._known:
                return self._known[name][0]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item) for item in items]
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                return self._dict(
                    (None if key is None else str(self._value(key)), value) for key, value in pairs
                )
            case ast.Call(func=ast.Name(id="dict"), args=dicts, keywords=words):
                return self._dict(
                    [*((None, each) for each in dicts), *((word.arg, word.value) for word in words)]
                )
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                number = self._value(operand)
                return -number if is_number(number) else Expression(ast.unparse(node))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in NUMBERS:
                sides = self._value(left), self._value(right)
                if all(map(is_number, sides)):
                    return NUMBERS[type(op)](*sides)
        return Expression(ast.unparse(node))

    def _dict(self, pairs: Iterable[tuple[str | None, ast.expr]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, node in pairs:
            value = self._value(node)
            if key is None and not isinstance(value, dict):
                raise ValueError(f"line {node.lineno} unpacks what is no dict")
            # a type without the module that it is in
            short = key == "type" and isinstance(value, str) and not isinstance(value, Expression)
            found |= value if key is None else {key: value.rpartition(".")[2] if short else value}
        return found


def expressions(value: Any, place: str) -> Iterator[tuple[str, Expression]]:
    """What is no plain value, and where it stands."""
    if isinstance(value, Expression):
        yield place, value
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from expressions(each, f"{place}.{key}")


def at(settings: Any, name: str) -> Any:
    """What stands at a name with dots; None where there is nothing."""
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def is_number(value: Any) -> bool:
    """Whether it is a number, which True is not."""
    return type(value) in (int, float)
