"""What is wrong with a data set: each kind of finding once, with its count, its first records and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]
MOST_RECORDS = 12  # kept of each kind, to look at


@dataclass
class Suspect:
    """One place where a finding holds."""

    split: str
    image: int | None  # index in that split; None where there is no image to show
    record: str  # "annotation 7 of image 'a.jpg'", or the image's name
    box: tuple[float, float, float, float] | None = None  # xyxy, to be shown
    like: tuple[str, int] | None = None  # split and index of an image to be shown beside it


@dataclass
class Finding:
    kind: str
    severity: Severity
    remedy: str
    count: int = 0
    refused: bool = False  # by the reader, so that the records are in no data set
    suspects: list[Suspect] = field(default_factory=list)

    @property
    def line(self) -> str:
        first = f", first {self.suspects[0].record}" if self.suspects else ""
        return f"{self.kind}: {self.count}{first}; {self.remedy}"

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": self.severity,
            "count": self.count,
            "remedy": self.remedy,
            "first": [f"{s.split}: {s.record}" for s in self.suspects],
        }


class Findings:
    """Findings by kind, in the order in which they were met."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(
        self,
        kind: str,
        severity: Severity,
        remedy: str,
        suspect: Suspect | None = None,
        count: int = 1,
        *,
        refused: bool = False,
    ) -> None:
        finding = self._found.setdefault(kind, Finding(kind, severity, remedy, refused=refused))
        finding.count += count
        if suspect is not None and len(finding.suspects) < MOST_RECORDS:
            finding.suspects.append(suspect)

    def __iter__(self) -> Iterator[Finding]:
        return iter(sorted(self._found.values(), key=lambda finding: finding.severity != "error"))

    def __len__(self) -> int:
        return len(self._found)

    @property
    def errors(self) -> int:
        return sum(finding.count for finding in self._found.values() if finding.severity == "error")
