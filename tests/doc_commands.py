"""The command lines of README.md and docs/, as a reader would paste them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
PROGRAMS = ("maskrcnn", "torchrun", "pip", "make", "python")
FENCED = re.compile(r"^(```+)(\w*)\n(.*?)^\1", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")


class Command(NamedTuple):
    page: str
    line: str  # continuations joined

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line)


def commands(page: Path) -> Iterator[Command]:
    """Lines of fenced blocks and code spans that begin with one of `PROGRAMS`; a verb alone is a name, not a line."""
    text = page.read_text(encoding="utf-8")
    for block in FENCED.finditer(text):
        for line in block[3].replace("\\\n", " ").splitlines():
            if block[2] in ("", "sh") and line.split(" ")[0] in PROGRAMS:
                yield Command(page.name, line)
    for span in SPAN.finditer(FENCED.sub("", text)):
        line = " ".join(span[1].split())
        if line.startswith(("maskrcnn ", "torchrun ")) and len(line.split()) > 2:
            yield Command(page.name, line)
