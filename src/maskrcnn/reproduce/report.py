"""The report of a table: report.json, report.md, report.html and the charts that they show."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from maskrcnn.evaluate.resampled import Matches, match_images
from maskrcnn.evaluate.truth import KIND_NAMES, Kind
from maskrcnn.files import write_json, write_text
from maskrcnn.pages import as_base64, write_page
from maskrcnn.reproduce.charts import draw_curves, draw_examples, draw_outcome
from maskrcnn.reproduce.compare import FIGURES, Outcome, compare
from maskrcnn.reproduce.runs import Plan, Study, read_found

COLOURS = {"agrees": "fine", "contradicts": "error", "not resolved": "warning"}


def write_report(study: Study, plan: Plan) -> list[Outcome]:
    """Compares the finished runs of `study` and writes what came out into its folder."""
    runs = {kind: _matches(study, plan, kind) for kind in study.table.kinds()}
    outcomes = [compare(comparison, runs[comparison.kind]) for comparison in study.table.comparisons]
    charts = []
    for number, outcome in enumerate(outcomes, 1):
        charts += draw_outcome(outcome, study.folder / f"difference-{number}.png")
        matches = runs[outcome.comparison.kind]
        charts += draw_examples(study, outcome.comparison, matches, study.folder / f"examples-{number}.jpg")
    charts += draw_curves(study, plan, study.folder / "curves.png")
    write_json(study.folder / "report.json", as_json(study, plan, outcomes))
    write_text(study.folder / "report.md", as_markdown(study, plan, outcomes, charts))
    write_page(
        study.folder / "report.html",
        "reproduce/page.html",
        title=study.table.title,
        table=study.table,
        trained=what_was_trained(study, plan),
        head=HEAD,
        outcomes=[
            {"text": sentence(outcome), "colour": COLOURS[outcome.verdict], "rows": rows(study, outcome)}
            for outcome in outcomes
        ],
        charts={chart.name: as_base64(chart) for chart in charts},
    )
    return outcomes


def _matches(study: Study, plan: Plan, kind: Kind) -> dict[str, list[Matches]]:
    """Of every variant that is compared in `kind`, a training of each seed."""
    wanted = {n for c in study.table.comparisons if c.kind == kind for n in (c.of, c.to)}
    runs: dict[str, list[Matches]] = {name: [] for name in wanted}
    for job in study.jobs(plan.seeds):
        if job.variant.name in wanted:
            runs[job.variant.name].append(match_images(study.val_data, read_found(job.folder), kind))
    return runs


def as_json(study: Study, plan: Plan, outcomes: list[Outcome]) -> dict[str, Any]:
    """Everything measured, for programs."""
    return {
        "title": study.table.title,
        "paper": study.table.paper,
        "claim": study.table.claim,
        "plan": plan.model_dump(),
        "settings": {
            variant.name: study.table.config(variant, 0).model_dump() for variant in study.table.variants
        },
        "comparisons": [
            asdict(outcome)
            | {
                "comparison": outcome.comparison.model_dump(),
                "relative": None if outcome.relative != outcome.relative else outcome.relative,
                "paper": {
                    name: study.table.variant(name).paper
                    for name in (outcome.comparison.of, outcome.comparison.to)
                },
            }
            for outcome in outcomes
        ],
    }


def what_was_trained(study: Study, plan: Plan) -> str:
    """Steps, images, commit and machine in a sentence."""
    config = study.table.config(study.table.variants[0], 0)
    train, machine = plan.data["train"], plan.environment
    changed = "".join(f", {override}" for override in study.table.overrides)
    return (
        f"{plan.seeds} trainings of each, {plan.steps} steps of {config.train.batch} images, short side "
        f"{config.model.input.short_side}, {config.model.backbone.kind}{changed}; {train['source']}: "
        f"{train['images']:,} images, measured on {plan.data['val']['images']:,}; commit "
        f"{machine['commit'] or 'unknown'}, {machine['processor']}"
    )


def rows(study: Study, outcome: Outcome) -> list[list[str]]:
    """A row of the paper's figures and ours for each of the two variants."""
    comparison = outcome.comparison
    table = []
    for name in (comparison.to, comparison.of):
        paper = study.table.variant(name).paper
        kind = KIND_NAMES[comparison.kind]
        theirs = [paper.get(key, paper.get(kind) if key == "AP" else None) for key in FIGURES]
        table.append(
            [name]
            + ["-" if value is None else f"{value:.1f}" for value in theirs]
            + [str(outcome.figures[name][key]) for key in FIGURES]
        )
    return table


def sentence(outcome: Outcome) -> str:
    """The difference and the verdict."""
    comparison, difference = outcome.comparison, outcome.difference
    relative = "" if outcome.relative != outcome.relative else f", {outcome.relative:+.0f}%"
    return (
        f"{comparison.of} less {comparison.to}: "
        f"{difference['AP'].mean:+.1f} {KIND_NAMES[comparison.kind]} AP "
        f"(95% {difference['AP'].low:+.1f} to {difference['AP'].high:+.1f}{relative}), AP75 "
        f"{difference['AP75'].mean:+.1f} ({difference['AP75'].low:+.1f} to {difference['AP75'].high:+.1f}): "
        f"{outcome.verdict}"
    )


HEAD = ["", *(f"paper {key}" for key in FIGURES), *(f"here {key}" for key in FIGURES)]


def as_markdown(study: Study, plan: Plan, outcomes: list[Outcome], charts: list[Path]) -> str:
    """The report for a repository."""
    lines = [f"# {study.table.title}", "", f"{study.table.claim} ({study.table.paper})", ""]
    for outcome in outcomes:
        lines += [f"**{sentence(outcome)}**", "", "| " + " | ".join(HEAD) + " |", "| --- " * len(HEAD) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows(study, outcome)] + [""]
    lines += [
        f"Here: {what_was_trained(study, plan)}. Intervals: paired bootstrap over images and seeds.",
        "",
    ]
    lines += [f"![{chart.stem}]({chart.name})" for chart in charts]
    return "\n".join(lines) + "\n"
