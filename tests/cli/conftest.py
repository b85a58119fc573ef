from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def error_line(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """The one line on stderr."""

    def line() -> str:
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("maskrcnn: error: ")
        return lines[0]

    return line
