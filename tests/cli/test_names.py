"""Other tools' names for our verbs and options, the choices of options, and what a shell completes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import typer

import maskrcnn
from maskrcnn.cli.common import MODEL_HELP
from maskrcnn.cli.main import app, main
from maskrcnn.cli.other_names import OPTIONS, VERBS, our_option

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("verb", "ours"),
    [
        ("detect", "predict"),
        ("infer", "predict"),
        ("test", "evaluate"),
        ("eval", "evaluate"),
        ("val", "evaluate"),
        ("fit", "train"),
        ("VAL", "evaluate"),
        ("version", "--version"),
    ],
)
def test_another_tools_verb_is_answered_by_ours(verb: str, ours: str, error_line: Callable[[], str]) -> None:
    assert main([verb, "a", "b"]) == 2
    assert f"maskrcnn {ours}" in error_line()


@pytest.mark.parametrize(
    ("arguments", "ours"),
    [
        (["train", "data", "--epochs", "3"], "--set train.epochs=N"),
        (["predict", "model", "a.png", "--conf", "0.3"], "--score"),
        (["evaluate", "model", "data", "--iou", "0.3"], "test.nms_iou"),
        (["evaluate", "--data", "x"], "DATA"),
    ],
)
def test_another_tools_option_is_answered_by_ours(
    arguments: list[str], ours: str, error_line: Callable[[], str]
) -> None:
    assert main(arguments) == 2
    line = error_line()
    assert arguments[-2] in line and ours in line


def test_no_name_of_ours_is_taken_for_another_tools() -> None:
    others = [name for names in VERBS.values() for name in names.split()]
    assert len(set(others)) == len(others) and not set(others) & set(COMMANDS)
    for verb, options in OPTIONS.items():
        ours = {name for option in COMMANDS[verb].params for name in option.opts}
        names = [name for line in options.values() for name in line.split()]
        assert len(set(names)) == len(names) and not set(names) & ours
    assert our_option("train", "--run") is our_option("no-verb", "--epochs") is None


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"maskrcnn {maskrcnn.__version__}\n"


def test_help_lists_the_choices_that_the_code_has() -> None:
    from maskrcnn.labels.convert import WRITERS
    from maskrcnn.runtime.engine import ENGINES
    from maskrcnn.runtime.exported_folder import Target
    from maskrcnn.weights.convert import STYLES
    from maskrcnn.weights.convert import SUFFIXES as LIBRARIES
    from maskrcnn.weights.shipped_models import shipped_models, shipped_recipes

    def choices(command: typer.models.CommandInfo, name: str) -> set[str]:
        option = next(option for option in command.params if option.name == name)  # type: ignore[attr-defined]
        return set(option.metavar.split("|"))

    for verb in ("train", "samples", "check"):
        assert choices(COMMANDS[verb], "recipe") == {"auto", *shipped_recipes(), "FILE"}
    for model in shipped_models():
        assert model.name in MODEL_HELP
    convert = COMMANDS["convert"].commands
    assert (
        choices(COMMANDS["predict"], "engine")
        == choices(COMMANDS["evaluate"], "engine")
        == {*ENGINES, "auto"}
    )
    assert choices(COMMANDS["export"], "to") == set(get_args(Target))
    assert choices(convert["weights"], "style") == set(STYLES)
    assert choices(convert["weights"], "to") == set(LIBRARIES)
    assert choices(convert["data"], "to") == set(WRITERS)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["pre"], "predict"),
        (["predict", "nuc"], "nuclei-mobilenet"),
        (["export", "a", "--to", "onn"], "onnx"),
        (["train", "data", "--recipe", "qui"], "quick"),
    ],
)
def test_a_shell_completes_verbs_models_and_choices(words: list[str], found: str) -> None:
    environment = {
        "_MASKRCNN_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["maskrcnn", *words]),
        "COMP_CWORD": str(len(words)),
        "PYTHONPATH": str(Path(maskrcnn.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "maskrcnn"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [found]
