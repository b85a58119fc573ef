"""What `maskrcnn serve` refuses before it listens."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from maskrcnn.cli.main import main


@pytest.fixture(autouse=True)
def needs_the_extra() -> None:
    pytest.importorskip("fastapi")


def test_the_extra_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, error_line: Callable[[], str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("maskrcnn.cli.serve.find_spec", lambda name: None)
    assert main(["serve", "person-mobilenet"]) == 2
    assert "pip install 'maskrcnn[serve]'" in error_line()


def test_another_host_needs_a_token(error_line: Callable[[], str]) -> None:
    assert main(["serve", "person-mobilenet", "--host", "0.0.0.0"]) == 2
    assert "--token-file" in error_line()


@pytest.mark.parametrize("token", ["", "short", "with a space in the midst", "x" * 5000])
def test_a_token_that_is_none(tmp_path: Path, error_line: Callable[[], str], token: str) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    assert main(["serve", "person-mobilenet", "--token-file", str(file)]) == 2
    assert "from 16 to 4096" in error_line()


@pytest.mark.parametrize("words", [["a=person-mobilenet", "a=nuclei-mobilenet"], ["b c=person-mobilenet"]])
def test_names_of_models(error_line: Callable[[], str], words: list[str]) -> None:
    assert main(["serve", *words]) == 2
    assert "NAME=" in error_line()


def test_a_port_that_is_taken(error_line: Callable[[], str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert main(["serve", "person-mobilenet", "--port", str(other.getsockname()[1])]) == 2
    assert "in use" in error_line()


def test_no_such_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", f"a={tmp_path / 'none'}", "--port", "0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("maskrcnn: error: ") and not any("Traceback" in line for line in lines)
