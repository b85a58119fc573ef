"""`maskrcnn check`: what is in a data set, what is wrong with it, what to train."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from maskrcnn.check.advice import Advice, advise, check_anchors, measure
from maskrcnn.check.findings import Findings
from maskrcnn.check.labels import check_classes, check_labels
from maskrcnn.check.page import figures, write_page
from maskrcnn.check.pictures import Seen, check_leaks, check_pictures, mean_and_deviation
from maskrcnn.check.statistics import Statistics, describe
from maskrcnn.config import load_config
from maskrcnn.data.dataset import Dataset
from maskrcnn.data.open import open_dataset, open_pair
from maskrcnn.data.write_coco import write_coco
from maskrcnn.errors import DataError, UserError

Progress = Callable[[int, int | None], None]


@dataclass
class Report:
    """All that was found, by split."""

    source: str
    datasets: dict[str, Dataset]
    statistics: dict[str, Statistics]
    findings: Findings
    advice: Advice | None = None
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        errors, kinds = self.findings.errors, len(self.findings)
        if errors:
            return f"{errors} errors: a training would stop or learn what is wrong"
        return f"no errors, {kinds} kinds of warning" if kinds else "no errors and no warnings"

    @property
    def exit_code(self) -> int:
        return DataError.exit_code if self.findings.errors else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "verdict": self.verdict,
            "statistics": {split: stats.as_json() for split, stats in self.statistics.items()},
            "findings": [finding.as_json() for finding in self.findings],
            "advice": self.advice.as_json() if self.advice else None,
            "mean": self.mean,
            "std": self.std,
        }


def check(
    source: str,
    *,
    val: str | None = None,
    recipe: str | None = None,
    measured: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Reads, decodes and judges every picture and label of `source` and of its val split.

    Args:
        val: another data set to check as the val split.
        recipe: to advise on; None: the shipped one that fits.
        measured: run two training steps to tell time and memory.

    Raises:
        DataError: labels that cannot be read at all.
    """
    train, other = open_pair(source, headers=False)
    if val is not None:
        other = open_dataset(val, "val", headers=False)
    datasets: dict[str, Dataset] = {"train": train} | ({"val": other} if other is not None else {})
    report = Report(source, datasets, {split: describe(dataset) for split, dataset in datasets.items()}, Findings())
    total = sum(len(dataset) for dataset in datasets.values())
    seen: dict[str, list[Seen]] = {}
    done = 0
    for split, dataset in datasets.items():
        check_labels(dataset, split, report.findings)

        def tell(count: int, _: int, before: int = done) -> None:
            if progress:
                progress(before + count, total)

        seen[split] = check_pictures(dataset, split, report.findings, tell)
        done += len(dataset)
    check_classes(report.statistics["train"], report.statistics.get("val"), report.findings)
    if other is not None:
        check_leaks(seen["train"], seen["val"], (train, other), report.findings)
    report.mean, report.std = mean_and_deviation(train)
    if report.statistics["train"].objects:
        report.advice = advise(source, train, report.statistics["train"], recipe)
        config = load_config(report.advice.recipe, report.advice.overrides)
        for split, dataset in datasets.items():
            check_anchors(dataset, config, split, report.findings)
        if measured and not report.findings.errors:
            measure(report.advice, train)
    return report


def print_report(report: Report) -> None:
    """The report as tables for the terminal."""
    console = Console(soft_wrap=True)
    table = Table("", *report.statistics, title=report.source, title_justify="left")
    for row in figures(list(report.statistics.values())):
        table.add_row(*row)
    console.print(table)
    train = report.statistics["train"]
    listed = sorted(train.classes.items(), key=lambda item: -item[1])
    more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
    console.print("classes: " + ", ".join(f"{n} {c}" for n, c in listed[:12]) + more, markup=False)
    for finding in report.findings:
        console.print(f"{finding.severity}: {finding.line}", markup=False, highlight=False)
    if report.advice:
        for reason in report.advice.reasons:
            console.print(f"advice: {reason}", markup=False, highlight=False)
        if report.advice.hours is not None:
            console.print(
                f"a step here takes {report.advice.seconds_per_picture} s a picture: about {report.advice.hours} hours, "
                f"at most {report.advice.memory_gb} GB at a batch of 2",
                highlight=False,
            )
        console.print(report.advice.command, markup=False, highlight=False)
    console.print(report.verdict, markup=False, highlight=False)


def write_reports(report: Report, json_path: Path | None, page: Path | None) -> None:
    """The report as JSON and as a page."""
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
    if page is not None:
        write_page(report, page)


def write_fixed(report: Report, folder: Path) -> list[Path]:
    """A repaired copy: COCO JSON per split with everything that was repaired on reading, and the pictures as PNG.

    Pictures that cannot be used are an error before anything is written; the original is never touched.

    Raises:
        UserError: the folder exists and is not empty.
        DataError: a picture cannot be used.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"--fix {folder}: is not empty; name a new folder")
    broken = [f for f in report.findings if f.kind == "picture that cannot be used"]
    if broken:
        raise DataError(f"--fix: {broken[0].line}")
    written = []
    for split, dataset in report.datasets.items():
        write_coco(dataset, folder / f"{split}.json", folder / split)
        written.append(folder / f"{split}.json")
    return written
