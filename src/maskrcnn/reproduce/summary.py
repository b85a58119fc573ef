"""All tables of a folder on one page: summary.md, and a chart of every difference beside the paper's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn.evaluate.truth import KIND_NAMES
from maskrcnn.files import write_text
from maskrcnn.reproduce.charts import INK, STRONG, save_chart
from maskrcnn.reproduce.table import names
from maskrcnn.safe_files import parse_json

PAPERS = "#c2571a"


@dataclass(frozen=True)
class Row:
    """A comparison as its report has it: AP in percent, of `of` less `to`."""

    table: str
    of: str
    to: str
    kind: str
    ap: tuple[float, float]  # of `to`, of `of`
    mean: float
    low: float  # ends of the 95% interval
    high: float
    paper: float | None
    verdict: str


def write_summary(folder: Path) -> Path | None:
    """What the reports in `folder` say, as a table and a chart; None while there is one report at most."""
    paths = {name: folder / name / "report.json" for name in names()}
    found = [row for name, path in paths.items() if path.is_file() for row in _rows(name, path)]
    if len({row.table for row in found}) < 2:
        return None
    lines = ["| table | | AP | difference, with 95% interval | the paper | verdict |", "| --- " * 6 + "|"]
    for row in found:
        paper = "-" if row.paper is None else f"{row.paper:+.1f}"
        lines.append(
            f"| {row.table} | {row.of}, beside {row.to} | {row.ap[1]:.1f}, {row.ap[0]:.1f} {row.kind} | "
            f"{row.mean:+.1f} ({row.low:+.1f} to {row.high:+.1f}) | {paper} | {row.verdict} |"
        )
    if _draw(found, folder / "summary.png"):
        lines += ["", "![Every difference with its interval, and the paper's](summary.png)"]
    write_text(folder / "summary.md", "\n".join(lines) + "\n")
    return folder / "summary.md"


def _rows(table: str, path: Path) -> list[Row]:
    report = parse_json(path, "remove the file and run the table again")
    rows = []
    for one in report["comparisons"]:
        of, to = one["comparison"]["of"], one["comparison"]["to"]
        kind, difference = KIND_NAMES[one["comparison"]["kind"]], one["difference"]["AP"]
        papers = [one["paper"][name].get("AP", one["paper"][name].get(kind)) for name in (of, to)]
        rows.append(
            Row(
                table,
                of,
                to,
                kind,
                (one["figures"][to]["AP"]["mean"], one["figures"][of]["AP"]["mean"]),
                difference["mean"],
                difference["low"],
                difference["high"],
                None if None in papers else papers[0] - papers[1],
                one["verdict"],
            )
        )
    return rows


def _draw(rows: list[Row], path: Path) -> bool:
    """A line for each comparison, the first on top; False without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    image = Figure(figsize=(8.4, 1 + 0.36 * len(rows)), layout="constrained")
    axes = image.subplots()
    places = np.arange(len(rows))[::-1]
    low, mean, high = (np.array([getattr(row, name) for row in rows]) for name in ("low", "mean", "high"))
    axes.hlines(places, low, high, color=STRONG, lw=3)
    axes.plot(mean, places, "o", color=STRONG, ms=7, label="here, with 95% interval")
    papers = [np.nan if row.paper is None else row.paper for row in rows]
    axes.plot(papers, places, "D", mfc="none", mec=PAPERS, mew=1.8, ms=7, label="the paper, on COCO")
    axes.axvline(0, color=INK, lw=1)
    axes.set(yticks=places, ylim=(-0.7, len(rows) - 0.3), xlabel="difference in AP, points")
    axes.set_yticklabels([f"{row.table}: {row.of} over {row.to} ({row.kind})" for row in rows])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="x", alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    save_chart(image, path)
    return True
