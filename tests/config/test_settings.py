"""docs/settings.md: every setting is in it, described, and it is current."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from maskrcnn.config.load import Config
from maskrcnn.config.section import Section

ROOT = Path(__file__).parents[2]


def sections(kind: type[Section]) -> list[type[Section]]:
    """The sections of a recipe that derive from `kind`; a test before may have imported others."""
    children = [child for child in kind.__subclasses__() if child.__module__.startswith("maskrcnn.config.")]
    return [found for child in children for found in (child, *sections(child))]


@pytest.mark.parametrize("kind", sections(Section))
def test_every_setting_has_a_description(kind: type[Section]) -> None:
    assert kind.__doc__
    for name, field in kind.model_fields.items():
        assert field.description, f"{kind.__name__}.{name}: write a string below it that says what it is"


def test_the_table_of_settings_is_current() -> None:
    spec = importlib.util.spec_from_file_location("settings", ROOT / "tools" / "settings.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert text == tool.document(), "run: python tools/settings.py"
    for section in Config.model_fields:
        assert f"## {section}" in text
