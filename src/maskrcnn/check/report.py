"""What `maskrcnn check` found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maskrcnn.check.advice import Advice
from maskrcnn.check.findings import Findings
from maskrcnn.check.statistics import Statistics
from maskrcnn.errors import DataError
from maskrcnn.labels.types import Dataset
from maskrcnn.shell import counted


@dataclass
class Report:
    """All that was found, by split."""

    source: str
    words: list[str] = field(
        default_factory=list
    )  # what was typed beside it, for a command that checks again
    datasets: dict[str, Dataset] = field(default_factory=dict)
    statistics: dict[str, Statistics] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    unusable: dict[str, set[int]] = field(default_factory=dict)  # images of each split
    advice: Advice | None = None
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    grey: bool = False  # every image of the train split

    @property
    def verdict(self) -> str:
        errors, kinds = self.findings.errors, len(self.findings)
        if errors:
            return f"{counted(errors, 'error')}: a training would stop or learn what is wrong"
        return f"no errors, {counted(kinds, 'kind')} of warning" if kinds else "no errors and no warnings"

    @property
    def exit_code(self) -> int:
        return DataError.exit_code if self.findings.errors else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "verdict": self.verdict,
            "statistics": {split: stats.as_json() for split, stats in self.statistics.items()},
            "findings": [group.as_json() for group in self.findings],
            "advice": self.advice.as_json() if self.advice else None,
            "mean": self.mean,
            "std": self.std,
        }
