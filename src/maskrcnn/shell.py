"""Commands that we print, as a person can paste them into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def shell_command(words: Sequence[str]) -> str:
    """One line that bash, zsh and other POSIX shells split into `words` again."""
    # zsh replaces a word =ls by the path of ls, which shlex does not know
    return " ".join(
        f"'{word}'" if word.startswith("=") and word == shlex.quote(word) else shlex.quote(word)
        for word in words
    )
