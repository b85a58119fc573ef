"""What README.md and docs/ tell a reader to type is understood; `make smoke` runs the how-tos as well."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

sys.path.insert(0, str(Path(__file__).parent))

from doc_commands import FENCED, PAGES, ROOT, Command, commands  # noqa: E402
from maskrcnn.cli.main import app  # noqa: E402
from maskrcnn.config.load import load_config  # noqa: E402

ALL = [command for page in PAGES for command in commands(page)]
PLACEHOLDERS = ("KEY=VALUE", "train.init=MODEL")
# that the API reference is made of
MODULES = re.findall(r"^::: (maskrcnn\.[a-z_.]*[a-z])", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
UNQUOTED = re.compile(r"""'[^']*'|"[^"]*"|\\.""")


def parse(words: list[str]) -> dict[str, Any]:
    """The values of a command line of ours, or the usage error."""
    command = typer.main.get_command(app)
    context = command.make_context("maskrcnn", list(words[1:]))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, rest, parent=context)
    values: dict[str, Any] = context.params
    return values


def of_ours(command: Command) -> list[str]:
    """The words from `maskrcnn` on."""
    if command.words[0] != "torchrun":
        return command.words
    from torch.distributed.run import get_args_parser

    launch = get_args_parser().parse_args(command.words[1:])
    assert launch.module, command
    return [launch.training_script, *launch.training_script_args]


def test_there_are_command_lines() -> None:
    assert len(ALL) > 60 and {"README.md", "training.md", "how-to-cells.md"} <= {c.page for c in ALL}


@pytest.mark.parametrize("command", ALL, ids=lambda command: f"{command.page}: {command.line[:60]}")
def test_a_command_line_is_understood(command: Command) -> None:
    words = command.words
    if words[1] == "COMMAND":
        return
    assert "#" not in words, "zsh takes a comment on a command line for words"
    assert not set(UNQUOTED.sub("", command.line)) & set("[]*?{}()<>|"), "quote what a shell would take"
    if words[0] in ("maskrcnn", "torchrun"):
        settings = parse(of_ours(command)).get("set_") or []
        load_config("quick", [setting for setting in settings if setting not in PLACEHOLDERS])
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """What the headings of a page are called in links to them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_points_out_of_the_repository(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "../shared" not in text and "/work/" not in text
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", FENCED.sub("", text)):
        path, _, anchor = target.partition("#")
        other = page.parent / path if path else page
        assert other.exists(), target
        assert page.parent.name != "docs" or other.parent == page.parent, f"{target}: `make docs` refuses it"
        if anchor and other.suffix == ".md":
            assert anchor in anchors(other.read_text(encoding="utf-8")), target


def test_nothing_that_is_installed_points_there_either() -> None:
    files = [path for kind in ("py", "yaml", "md", "json") for path in (ROOT / "src").rglob(f"*.{kind}")]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    assert [path for path, text in texts.items() if "../shared" in text or "/work/" in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_finds_what_it_imports(page: Path) -> None:
    for block in FENCED.finditer(page.read_text(encoding="utf-8")):
        if block[2] == "python":
            for node in ast.walk(ast.parse(block[3], str(page))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("maskrcnn"):
                    module = importlib.import_module(str(node.module))
                    assert all(hasattr(module, each.name) for each in node.names), ast.unparse(node)


def test_the_generated_reference_names_what_is_there() -> None:
    """`make docs` fills docs/api.md from docstrings; each of its entries has one."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    entries = re.findall(r"^::: ([\w.]+)(?:\n    options:\n      members: \[(.*)\])?", text, re.MULTILINE)
    assert len(entries) > 10
    for path, members in entries:
        module, _, name = path.rpartition(".")
        try:
            owner = importlib.import_module(path)
        except ImportError:
            owner = getattr(importlib.import_module(module), name)
        for member in members.split(", ") if members else []:
            assert getattr(owner, member).__doc__, f"{path}.{member}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [page.name for page in (ROOT / "docs").glob("*.md")]
    assert [name for name in pages if f"- {name}\n" not in navigation] == []


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_name_parameters_one_by_one(module: str) -> None:
    """`make docs` ends at any other."""
    path = ROOT / "src" / Path(*module.split("."))
    for function in ast.walk(ast.parse(path.with_suffix(".py").read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            text = inspect.cleandoc(ast.get_docstring(function) or "")
            section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
            taken = function.args
            known = {arg.arg for arg in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)}
            for name in re.findall(r"^ {4}(\S.*?): ", section[1] if section else "", re.MULTILINE):
                assert name in known, f"{function.name}: {name}"
