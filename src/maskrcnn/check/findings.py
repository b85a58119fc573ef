"""What is wrong with a data set: each kind with its count, its first records and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from maskrcnn.check.kinds import CheckKind, Severity
from maskrcnn.images.tiles import Box
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.problems import Problem

MOST_RECORDS = 12  # kept of each kind, to look at
WRONG_ALL_OVER = (
    ProblemKind.SWAPPED_BOX,
    ProblemKind.ONLY_CROWDS,
)  # repairs that say that all of the labels may be wrong


@dataclass
class Finding:
    """One place in a data set where something is wrong."""

    kind: CheckKind | ProblemKind
    split: str
    record: str  # "annotation 7 of image 'a.jpg'", or the image's name, and what is said of it
    image: int | None = None  # index in that split; None where there is no image to show
    box: Box | None = None  # to be shown
    remedy: str = ""  # the kind's where it is empty
    duplicate_of: tuple[str, int] | None = None  # split and index of an image to be shown beside it
    refused: bool = False  # by the reader, so that the record is in no data set

    def __post_init__(self) -> None:
        self.remedy = self.remedy or self.kind.remedy

    @classmethod
    def of_problem(cls, problem: Problem, split: str, *, refused: bool = False) -> Finding:
        """What a reader said. Where its image is, is found later, by `Problem.image`."""
        return cls(problem.kind, split, problem.what or problem.record, refused=refused)

    @property
    def severity(self) -> Severity:
        if isinstance(self.kind, CheckKind):
            return self.kind.severity
        return "error" if self.refused or self.kind in WRONG_ALL_OVER else "warning"


@dataclass
class FindingGroup:
    """All findings of one kind: how many there are, and the first of them."""

    kind: CheckKind | ProblemKind
    severity: Severity
    remedy: str
    refused: bool
    count: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.kind.text

    @property
    def line(self) -> str:
        return "; ".join(
            filter(None, (f"{self.text}: {self.count}, first {self.findings[0].record}", self.remedy))
        )

    def _shown(self, finding: Finding) -> str:
        """A finding in a line, with its remedy where that is not the group's."""
        remedy = f"; {finding.remedy}" if finding.remedy != self.remedy else ""
        return f"{finding.split}: {finding.record}{remedy}"

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.text,
            "severity": self.severity,
            "count": self.count,
            "remedy": self.remedy,
            "first": [self._shown(finding) for finding in self.findings],
        }


class Findings:
    """Findings by kind: errors first, else in the order in which the kinds were met."""

    def __init__(self) -> None:
        self._groups: dict[CheckKind | ProblemKind, FindingGroup] = {}

    def add(self, finding: Finding, count: int = 1) -> None:
        """`count` more findings of a kind, of which `finding` is the first."""
        new = FindingGroup(finding.kind, finding.severity, finding.remedy, finding.refused)
        group = self._groups.setdefault(finding.kind, new)
        group.count += count
        if len(group.findings) < MOST_RECORDS:
            group.findings.append(finding)

    def __iter__(self) -> Iterator[FindingGroup]:
        return iter(sorted(self._groups.values(), key=lambda group: group.severity != "error"))

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def errors(self) -> int:
        return sum(group.count for group in self._groups.values() if group.severity == "error")
