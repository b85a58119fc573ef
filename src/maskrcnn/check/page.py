"""The report as one self-contained HTML page, with thumbnails of what was found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn import pages
from maskrcnn.check.findings import Finding, FindingGroup
from maskrcnn.check.report import Report
from maskrcnn.check.statistics import Statistics, figures
from maskrcnn.check.thumbnail import thumbnail
from maskrcnn.shell import counted, shell_command

WIDEST = 200  # pixels of a bar
SAMPLES = 12  # images that are shown with all their labels


def write_page(report: Report, path: Path) -> None:
    """Writes the page."""
    stats = list(report.statistics.values())
    pages.write_page(
        path,
        "check/page.html",
        title=f"{report.source}: labels checked",
        verdict=report.verdict,
        errors=report.findings.errors,
        splits=[{"split": split} for split in report.statistics],
        rows=figures(stats) if stats else [],
        classes=_classes(stats),
        sizes=_sizes(stats),
        fix_command=shell_command(["maskrcnn", "check", report.source, *report.words, "--fix", "FOLDER"]),
        summary=_summary(report),
        samples=_samples(report),
        visible=stats[0].visible if stats else {},
        findings=[_group(report, group) for group in report.findings],
        advice=report.advice,
        mean=report.mean,
        std=report.std,
    )


def _group(report: Report, group: FindingGroup) -> dict[str, Any]:
    """What the template shows of one kind of findings."""
    findings = [
        {
            "record": f"{finding.split}: {finding.record}",
            "remedy": finding.remedy if finding.remedy != group.remedy else "",
            "images": _thumbnails(report, finding),
        }
        for finding in group.findings
    ]
    return {"text": group.text, "severity": group.severity, "count": group.count, "remedy": group.remedy} | {
        "findings": findings
    }


def _thumbnails(report: Report, finding: Finding) -> list[str]:
    """The image of a finding, and the one that it is a duplicate of."""
    places = [(finding.split, finding.image, finding.box)]
    if finding.duplicate_of is not None:
        places.append((*finding.duplicate_of, None))
    shown = [
        thumbnail(report.datasets[split], index, box)
        for split, index, box in places
        if index is not None and split in report.datasets
    ]
    return [image for image in shown if image is not None]


def _samples(report: Report) -> list[dict[str, str]]:
    """Images spread over the train split, all their labels drawn."""
    dataset = report.datasets.get("train")
    if dataset is None or not len(dataset):
        return []
    unusable = report.unusable.get("train", set())
    usable = [index for index in range(len(dataset)) if index not in unusable]
    shown = []
    for position in np.unique(np.linspace(0, len(usable) - 1, SAMPLES).round().astype(int)) if usable else []:
        index = usable[position]
        image = dataset.image(index)
        preview = thumbnail(dataset, index)
        if preview is not None:
            record = f"{image.file_name}: {counted(len(image.annotations), 'object')}"
            shown.append({"image": preview, "record": record})
    return shown


def _summary(report: Report) -> str:
    """The set in a line."""
    parts = []
    for split, stats in report.statistics.items():
        objects = f"{counted(stats.objects, 'object')} of {counted(len(stats.classes), 'class')}"
        parts.append(f"{split}: {counted(stats.images, 'image')}, {objects}")
    return "; ".join(parts)


def _classes(stats: list[Statistics]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for s in stats for name in s.classes))
    most = max((count for s in stats for count in s.classes.values()), default=1)
    return [
        {
            "name": name,
            "counts": [s.classes.get(name, 0) for s in stats],
            "width": round(WIDEST * stats[0].classes.get(name, 0) / max(most, 1)),
        }
        for name in names
    ]


def _sizes(stats: list[Statistics]) -> list[dict[str, Any]]:
    sides = np.concatenate([s.all_sides for s in stats]) if stats else np.zeros(0)
    if not len(sides):
        return []
    first, last = math.floor(math.log2(max(sides.min(), 1))), math.floor(math.log2(max(sides.max(), 1)))
    counts = [int(((sides >= 2**k) & (sides < 2 ** (k + 1))).sum()) for k in range(first, last + 1)]
    counts[0] += int((sides < 2**first).sum())
    most = max(max(counts), 1)
    return [
        {"from_": 2**k, "to": 2 ** (k + 1), "count": count, "width": round(WIDEST * count / most)}
        for k, count in zip(range(first, last + 1), counts, strict=True)
    ]
