"""What we print: commands, as a person can paste them into a shell, lines that a terminal only shows, and
what a mistyped name may have meant.
"""

from __future__ import annotations

import difflib
import shlex
import unicodedata
from collections.abc import Collection, Sequence


def set_options(settings: list[str]) -> str:
    """Settings KEY=VALUE as options of a command."""
    return " ".join(f"--set '{one.replace(' ', '')}'" for one in settings)


def shell_command(words: Sequence[str]) -> str:
    """One line that bash, zsh and other POSIX shells split into `words` again."""
    # zsh replaces a word =ls by the path of ls, which shlex does not know
    return " ".join(
        f"'{word}'" if word.startswith("=") and word == shlex.quote(word) else shlex.quote(word)
        for word in words
    )


def counted(count: int, noun: str) -> str:
    """A number of things: "1 object", "2 objects", "2 classes"."""
    plural = "" if count == 1 else "es" if noun.endswith(("s", "x", "tch")) else "s"
    return f"{count:,} {noun}{plural}"


def first_of(names: Collection[str], most: int, between: str = ", ") -> str:
    """The first names, and how many more there are."""
    shown = between.join(list(names)[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def nearest(word: str, names: Collection[str]) -> str:
    """What may have been meant by a word that is none of the names; else which there are."""
    return did_you_mean(word, names).removeprefix("; ") or f"there are: {', '.join(names)}"


def did_you_mean(word: str, names: Collection[str]) -> str:
    """The name nearest to a mistyped word, to end a line with; "" where none is near."""
    near = difflib.get_close_matches(word, names, 1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def printable(line: str) -> str:
    """A line with what is no letter in it as \\x1b or \\u202e.

    Names from files and settings may hold what moves a terminal's cursor, sets its title, ends the line, or
    turns the order of what follows; and file names may hold bytes that are no text.
    """
    return "".join(
        letter.encode("unicode_escape").decode() if _is_control(letter) else letter for letter in line
    )


def _is_control(letter: str) -> bool:
    # Cf holds what joins letters in some scripts, too, which stays
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(letter) in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    )  # fmt: skip
