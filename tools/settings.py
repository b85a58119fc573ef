"""Writes docs/settings.md: every setting with its default, what is allowed, and its description in the code.

python tools/settings.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskrcnn.config.load import Config

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
HEAD = """# Settings

All settings of a recipe, as `tools/settings.py` writes them down from `src/maskrcnn/config/`. A recipe is a
YAML file with the sections `model`, `data` and `train`; what it leaves out has the default. `--set` changes
one setting, as in `--set train.epochs=20`; its value is read as YAML, in which no value is `null`.
[training.md](training.md) says what to change when. A model's `config.json` has the section `model`.
"""
COLUMNS = "| setting | default | allowed | |\n| --- | --- | --- | --- |\n"
NAMES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "`true`, `false`",
    "null": "`null`",
    "object": "names and values",
}
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def document() -> str:
    """The page: a table for each section."""
    schema = Config.model_json_schema()
    return HEAD + "".join(f"\n{part}" for part in _sections(schema, schema, ""))


def _sections(schema: dict[str, Any], section: dict[str, Any], path: str) -> Iterator[str]:
    """The table of a section, then those of the sections in it."""
    rows, below = "", []
    for name, field in section["properties"].items():
        inner = _section_of(schema, field)
        if inner is not None:
            below.append((f"{path}.{name}".lstrip("."), inner))
        if inner is None or "anyOf" in field:  # a section that may be null is a setting too
            default = "" if inner is not None and field["default"] is not None else _default(field)
            rows += f"| `{name}` | {default} | {_allowed(field)} | {_flowing(field['description'])} |\n"
    if rows:
        yield f"## {path}\n\n{_flowing(section['description'])}\n\n{COLUMNS}{rows}"
    for inner_path, inner in below:
        yield from _sections(schema, inner, inner_path)


def _section_of(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any] | None:
    """The section that a field holds, if it holds one."""
    for option in field.get("anyOf", [field]):
        if "$ref" in option:
            return schema["$defs"][option["$ref"].rsplit("/", 1)[-1]]  # type: ignore[no-any-return]
    return None


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return ""
    value = field["default"]
    rounded = (
        [round(v, 3) if isinstance(v, float) else v for v in value] if isinstance(value, list) else value
    )
    return f"`{json.dumps(rounded)}`"


def _allowed(field: dict[str, Any]) -> str:
    """What a value may be, in words, from its JSON schema."""
    if "anyOf" in field:
        return " or ".join(_allowed(option) for option in field["anyOf"])
    if "$ref" in field:
        return "the settings below"
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "examples" in field:
        return ", ".join(f"`{value}`" for value in field["examples"])
    if field["type"] == "array":
        if "prefixItems" in field:
            return f"{len(field['prefixItems'])} x {_allowed(field['prefixItems'][0])}"
        return f"list of: {_allowed(field['items'])}"
    return NAMES[field["type"]] + "".join(
        f" {words} {field[key]:g}" for key, words in BOUNDS.items() if key in field
    )


def _flowing(text: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(text.partition("\n\n")[0].split())


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
