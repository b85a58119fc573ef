"""Prints the table of docs/architecture.md: how large the folders, files and functions of src/maskrcnn are.

    python tools/house.py [COMMIT]...

Without a commit the files as they are now; with several, one table each. Needs nothing but Python and git.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = "src/maskrcnn/"
WIDE = 110


@dataclass
class Sizes:
    """What is counted of some files."""

    files: dict[str, int] = field(default_factory=dict)  # path: lines
    functions: list[int] = field(default_factory=list)  # lines of each, its decorators left out
    typed: int = 0  # functions whose arguments and result all have a type
    wide: int = 0  # lines longer than WIDE

    def add(self, path: str, text: str) -> None:
        lines = text.splitlines()
        self.files[path] = len(lines)
        self.wide += sum(len(line) > WIDE for line in lines)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions.append((node.end_lineno or node.lineno) - node.lineno + 1)
                self.typed += _is_typed(node)

    def row(self, name: str) -> str:
        longest = max(self.files, key=lambda path: self.files[path])
        ranked = sorted(self.functions) or [0]
        cells = [
            name,
            sum(self.files.values()),
            len(self.files),
            f"{self.files[longest]} ({longest.rpartition('/')[2]})",
            ranked[-1],
            ranked[min(len(ranked) - 1, round(0.9 * (len(ranked) - 1)))],
            f"{100 * self.typed / max(len(self.functions), 1):.0f}%",
            self.wide,
        ]
        return "| " + " | ".join(map(str, cells)) + " |"


def _is_typed(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    own = [a for a in arguments if a.arg not in ("self", "cls")]
    return node.returns is not None and all(a.annotation is not None for a in own)


def read_sources(commit: str | None) -> dict[str, str]:
    """Path below src/maskrcnn and text of every Python file, of a commit or as they are now."""
    if commit is None:
        paths = sorted((ROOT / SOURCE).rglob("*.py"))
        return {p.relative_to(ROOT / SOURCE).as_posix(): p.read_text(encoding="utf-8") for p in paths}
    listed = _git("ls-tree", "-r", "--name-only", commit, SOURCE).splitlines()
    return {path[len(SOURCE) :]: _git("show", f"{commit}:{path}") for path in listed if path.endswith(".py")}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout


def table(sources: dict[str, str]) -> str:
    """Markdown, a row for each folder directly below src/maskrcnn, the files beside them, and all."""
    folders: defaultdict[str, Sizes] = defaultdict(Sizes)
    for path, text in sources.items():
        folder = path.partition("/")[0] + "/" if "/" in path else "(files beside the folders)"
        for name in (folder, "all"):
            folders[name].add(path, text)
    head = [
        "folder",
        "lines",
        "files",
        "longest file",
        "longest function",
        "p90 of functions",
        "typed",
        f"over {WIDE}",
    ]
    rows = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    rows += [folders[name].row(name) for name in sorted(folders, key=lambda name: (name == "all", name))]
    return "\n".join(rows)


def main() -> None:
    for commit in sys.argv[1:] or [None]:
        print(f"\n{commit or 'now'}:\n\n{table(read_sources(commit))}")


if __name__ == "__main__":
    main()
