"""The floors of docs/architecture.md: no folder imports one above it, and no files import each other in a
circle.
"""

from __future__ import annotations

import re
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "pyproject.toml"


def contracts_hold(config: Path) -> bool:
    return lint_imports(config_filename=str(config), no_cache=True) == EXIT_STATUS_SUCCESS


def test_no_import_goes_up_and_none_in_a_circle() -> None:
    assert contracts_hold(CONFIG)


def test_the_contract_notices_an_import_that_goes_up(tmp_path: Path) -> None:
    """With two floors exchanged the same contract must fail, or it checks nothing."""
    text = CONFIG.read_text(encoding="utf-8")
    exchanged = re.sub(r'"model",\n(\s*)"ops",', r'"ops",\n\1"model",', text)
    assert exchanged != text
    config = tmp_path / "pyproject.toml"
    config.write_text(exchanged, encoding="utf-8")
    assert not contracts_hold(config)
