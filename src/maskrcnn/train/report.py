"""What a finished training leaves for a person to read: curves, report.md and report.html."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maskrcnn.config.load import Config
from maskrcnn.evaluate.truth import KIND_NAMES
from maskrcnn.files import new_file, write_text
from maskrcnn.pages import as_base64, write_page
from maskrcnn.shell import counted
from maskrcnn.train.checkpoint import TrainingState
from maskrcnn.train.evaluation import best_line, suffix_of
from maskrcnn.train.log import read_metrics

NOT_LOSSES = {"kind", "iteration", "epoch", "lr", "gradient_norm", "images_per_s", "memory_gb"}


def write_plots(run: Path) -> list[str]:
    """plots/loss.png and plots/ap.png from metrics.jsonl, where matplotlib is installed.

    Returns:
        The files' names.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    records = read_metrics(run / "metrics.jsonl")
    steps = [r for r in records if r["kind"] == "train"]
    evaluations = [r for r in records if r["kind"] == "evaluation"]
    curves: dict[str, tuple[dict[str, list[tuple[float, float]]], str]] = {}
    if steps:
        names = [name for name in steps[-1] if name not in NOT_LOSSES]
        losses = {name: [(r["epoch"], r[name]) for r in steps if r.get(name) is not None] for name in names}
        curves["loss.png"] = losses, "loss"
    if evaluations:
        points: dict[str, list[tuple[float, float]]] = {}
        for record in evaluations:
            for kind, numbers in record["scores"].items():
                for figure in _shown(numbers):
                    if numbers[figure] is not None:
                        points.setdefault(f"{KIND_NAMES[kind]} {figure}", []).append(
                            (record["epoch"], numbers[figure])
                        )
        curves["ap.png"] = points, "percent, on the val split"
    (run / "plots").mkdir(exist_ok=True)
    for name, (lines, label) in curves.items():
        image = Figure(figsize=(8, 4.5), layout="constrained")
        axes = image.subplots()
        for legend, line in lines.items():
            axes.plot(*zip(*line, strict=True), label=legend, marker="." if len(line) < 30 else "")
        axes.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        with new_file(run / "plots" / name) as unfinished:
            image.savefig(unfinished, dpi=120, format="png")
    return list(curves)


def write_report(
    run: Path, config: Config, progress: TrainingState, data: dict[str, Any], plots: list[str]
) -> None:
    """report.md and report.html: what was trained on what, how it went, and where things are."""
    train, model = data["train"], config.model
    heads = [name for name in ("mask", "keypoint") if getattr(model, f"{name}_head") is not None]
    finds = ", ".join(["boxes", *(f"{head}s" for head in heads)])
    weights = "average" if config.train.ema else "as trained"
    facts = [
        f"Network: {model.backbone.kind}-{model.neck.kind}, {finds}; classes: {', '.join(model.classes)}",
        f"Trained on: {train['source']}, {counted(train['images'], 'image')}, digest {train['digest'][:16]}",
        f"Evaluated on: {data['val']['source']}, {counted(data['val']['images'], 'image')}"
        if data["val"]
        else "No val split",
        f"{progress.iteration} iterations of {config.train.batch} images in {progress.seconds / 60:.1f} "
        "minutes"
        + (f"; stopped early, no better for {progress.stale} evaluations" if progress.stopped_early else ""),
        f"Weights: {weights}; seed {config.train.seed}; precision {config.train.precision}",
    ]
    best = best_line(progress, config.train)
    facts += [best[0].upper() + best[1:]] if best else []
    evaluations = [r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "evaluation"]
    rows = _rows(evaluations)
    _write_page(run, facts, rows, plots)
    lines = [f"# {run.resolve().name}", "", *(f"- {fact}" for fact in facts)]
    lines += ["", "Again: `" + _first_command(run / "command.txt") + "`", ""]
    lines += _table(rows)
    lines += [f"![{name}](plots/{name})" for name in plots]
    samples = sorted(path.name for path in (run / "samples").glob("*.jpg"))
    lines += ["", "Samples: " + ", ".join(f"[{name}](samples/{name})" for name in samples)] if samples else []
    lines += [
        "",
        "Settings are in `config.yaml`, versions and machine in `env.json`, classes and counts in "
        "`data.json`.",
    ]
    write_text(run / "report.md", "\n".join(lines) + "\n")


def write_card(
    config: Config, data: dict[str, Any], progress: TrainingState, scores: dict[str, Any] | None
) -> str:
    """The card that goes with saved weights.

    Args:
        scores: of these weights; None: they were not evaluated.
    """
    lines = [
        f"# {config.model.backbone.kind}-{config.model.neck.kind}",
        "",
        f"Finds: {', '.join(config.model.classes)}.",
        f"Trained on {data['train']['source']} ({counted(data['train']['images'], 'image')}, digest "
        f"{data['train']['digest'][:16]}), {progress.iteration} iterations of {config.train.batch} images"
        + (", weights averaged." if config.train.ema else "."),
    ]
    if scores and data["val"]:
        lines += [
            "",
            f"On {data['val']['source']} ({counted(data['val']['images'], 'image')}), in percent:",
            "",
        ]
        lines += [
            f"- {KIND_NAMES[kind]}: " + ", ".join(f"{k} {v:.1f}" for k, v in numbers.items() if v is not None)
            for kind, numbers in scores.items()
        ]
    return "\n".join(lines) + "\n"


def _write_page(run: Path, facts: list[str], rows: list[list[str]], plots: list[str]) -> None:
    """report.html, with curves and images inside."""

    def samples(pattern: str) -> list[str]:
        return [as_base64(path) for path in sorted((run / "samples").glob(pattern))]

    write_page(
        run / "report.html",
        "train/report.html",
        title=run.resolve().name,
        facts=facts,
        curves=[as_base64(run / "plots" / name) for name in plots],
        rows=rows,
        galleries=[
            ("Worst images: the labels, and what is found", samples("worst_*.jpg")),
            ("Other images of the val split", samples("val_*.jpg")),
            ("What the training saw", samples("train_*.jpg")),
        ],
        command=_first_command(run / "command.txt"),
    )


def _rows(evaluations: list[dict[str, Any]]) -> list[list[str]]:
    """AP and AP50 of each evaluation, below their names."""
    if not evaluations:
        return []
    names = [(kind, name) for kind, numbers in evaluations[-1]["scores"].items() for name in _shown(numbers)]
    rows = [["epoch", "iteration", *(f"{KIND_NAMES[kind]} {name}" for kind, name in names)]]
    for record in evaluations:
        figures = [record["scores"].get(kind, {}).get(name) for kind, name in names]
        cells = [f"{record['epoch']:.2f}", str(record["iteration"])]
        rows.append(cells + ["-" if figure is None else f"{figure:.2f}" for figure in figures])
    return rows


def _shown(numbers: dict[str, float | None]) -> list[str]:
    """The names of AP and AP50 that count all detections of the model."""
    return [f"{name}{suffix_of(numbers)}" for name in ("AP", "AP50")]


def _table(rows: list[list[str]]) -> list[str]:
    """The same as a Markdown table."""
    if not rows:
        return []
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("---:" for _ in rows[0]) + " |")
    if any("-" in row for row in rows[1:]):
        lines += ["", "-: the val split has no labelled objects of that kind to score."]
    return [*lines, ""]


def _first_command(path: Path) -> str:
    """What began the run; a resume adds a line."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return lines[0] if lines else "maskrcnn train"
