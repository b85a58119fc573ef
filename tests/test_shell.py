"""Printed commands: shells and `shlex` split them into the words that were meant."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from maskrcnn.shell import counted, shell_command

WORDS = [
    "[[8],[16,24]]",
    "=ls",
    "a b",
    "it's",
    "$HOME",
    "`id`",
    "~",
    "*",
    "{a,b}",
    "a;b",
    "model.x=null",
    "é",
    "",
    "!x",
]


def test_shlex_gives_the_words_again() -> None:
    assert shlex.split(shell_command(WORDS)) == WORDS


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_gives_the_words_again(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    line = f"printf '%s\\n' {shell_command(WORDS)}"
    assert subprocess.run([shell, "-n", "-c", line]).returncode == 0
    assert subprocess.run([shell, "-c", line], capture_output=True, text=True).stdout.splitlines() == WORDS


def test_what_zsh_alone_would_expand_is_quoted() -> None:
    assert shell_command(["x", "=ls", "[1]"]) == "x '=ls' '[1]'"


def test_one_object_and_two_classes() -> None:
    words = [counted(count, noun) for noun in ("object", "class", "box", "batch") for count in (0, 1, 2)]
    assert words == [
        *("0 objects", "1 object", "2 objects", "0 classes", "1 class", "2 classes"),
        *("0 boxes", "1 box", "2 boxes", "0 batches", "1 batch", "2 batches"),
    ]
    assert counted(26639, "mask") == "26,639 masks"
