"""What is wrong with labels, as data: one problem, and the tally that a data set carries.

`sentence` alone makes words of a problem; no code takes a sentence apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from maskrcnn.labels.problem_kinds import ProblemKind


@dataclass(frozen=True)
class Problem:
    """One record with a problem."""

    kind: ProblemKind
    record: str  # names it: "annotation 7 of image 'a.jpg'"
    image: str | None = None  # the file name of its image, where it has one
    what: str = ""  # a clause about the record, where it says more than the kind

    @property
    def remedy(self) -> str:
        return self.kind.remedy


def sentence(problem: Problem, source: str, count: int | None = None) -> str:
    """The line that a person reads.

    Args:
        source: the file or folder of the labels.
        count: how many there are of this kind, `problem` being the first; None: only this one is meant.
    """
    if count is None:
        return f"{source}: {problem.what or problem.record}; {problem.remedy}"
    return f"{source}: {problem.kind.text}: {count}, first {problem.record}; {problem.remedy}"


@dataclass
class Problems:
    """How many problems of each kind a data set had, and the first of each."""

    source: str = ""  # the file or folder of the labels, for messages
    counts: Counter[ProblemKind] = field(default_factory=Counter)
    first: dict[ProblemKind, Problem] = field(default_factory=dict)

    def note(self, kind: ProblemKind, record: str, image: str | None = None, count: int = 1) -> None:
        """`count` more problems of a kind, the first of them in `record` of the image of that file name."""
        self.counts[kind] += count
        if kind not in self.first:
            self.first[kind] = Problem(kind, record, image)

    def __iter__(self) -> Iterator[tuple[Problem, int]]:
        """The first of each kind with the count of its kind."""
        return ((problem, self.counts[kind]) for kind, problem in self.first.items())

    def __len__(self) -> int:
        return len(self.first)

    def copy(self) -> Problems:
        """A tally of its own."""
        return Problems(self.source, self.counts.copy(), self.first.copy())

    def lines(self) -> list[str]:
        """One line for each kind: how often, the first record, the remedy."""
        return [sentence(problem, self.source, count) for problem, count in self]

    def texts(self) -> dict[str, int]:
        """The text of each kind and its count."""
        return {problem.kind.text: count for problem, count in self}

    def as_json(self) -> dict[str, Any]:
        """What `from_json` makes this tally of again."""
        found = [[one.kind.name, count, one.record, one.image] for one, count in self]
        return {"source": self.source, "kinds": found}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Problems:
        """The tally that `as_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it did not.
        """
        problems = cls(saved["source"])
        for name, count, record, image in saved["kinds"]:
            problems.note(ProblemKind[name], record, image, count)
        return problems
