"""Charts of a table: the difference with its interval, the losses, and where two variants differ most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from maskrcnn.evaluate.resampled import Matches
from maskrcnn.evaluate.truth import in_order
from maskrcnn.files import new_file
from maskrcnn.images.write import save_image
from maskrcnn.instances import Instances
from maskrcnn.labels.types import Dataset
from maskrcnn.predict.predictor import predict
from maskrcnn.reproduce.compare import Outcome
from maskrcnn.reproduce.runs import Plan, Study
from maskrcnn.reproduce.table import Comparison
from maskrcnn.train.log import read_metrics
from maskrcnn.weights.load import load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, STRONG = "#222222", "#9aa0a6", "#1a6fb0"
EXAMPLES = 4
HEIGHT = 240  # pixels of an example


def draw_outcome(outcome: Outcome, path: Path) -> list[Path]:
    """AP of both variants with their seeds, and the difference with its interval; [] without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    names = [outcome.comparison.to, outcome.comparison.of]
    image = Figure(figsize=(8.4, 2.8), layout="constrained")
    left, right = image.subplots(1, 2, width_ratios=[3, 2])
    for row, name in enumerate(names):
        figure = outcome.figures[name]["AP"]
        colour = STRONG if row else FAINT
        left.plot([figure.low, figure.high], [row, row], color=colour, lw=3, solid_capstyle="round")
        left.plot(figure.mean, row, "o", color=colour, ms=10)
        left.plot(outcome.each[name], np.full(len(outcome.each[name]), row - 0.22), "|", color=INK, ms=9)
    left.set(yticks=[0, 1], ylim=(-0.6, 1.5), xlabel="AP, percent (each seed a stroke)")
    left.set_yticklabels(names)
    for row, key in enumerate(("AP75", "AP50", "AP")):
        figure = outcome.difference[key]
        right.plot([figure.low, figure.high], [row, row], color=STRONG, lw=3, solid_capstyle="round")
        right.plot(figure.mean, row, "o", color=STRONG, ms=8)
    right.axvline(0, color=INK, lw=1)
    right.set(yticks=[0, 1, 2], ylim=(-0.6, 2.6), xlabel=f"{names[1]} less {names[0]}")
    right.set_yticklabels(["AP75", "AP50", "AP"])
    for axes in (left, right):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(axis="x", alpha=0.25)
    save_chart(image, path)
    return [path]


def draw_curves(study: Study, plan: Plan, path: Path) -> list[Path]:
    """The loss of every variant over the training, mean over seeds; [] without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    image = Figure(figsize=(8.4, 3), layout="constrained")
    axes = image.subplots()
    for variant in study.table.variants:
        folders = [job.folder for job in study.jobs(plan.seeds) if job.variant is variant]
        logs = [[r for r in read_metrics(f / "metrics.jsonl") if r["kind"] == "train"] for f in folders]
        shared = sorted(set.intersection(*({r["iteration"] for r in log} for log in logs)))
        losses = [[r["loss"] for r in log if r["iteration"] in shared] for log in logs]
        if shared and len({len(row) for row in losses}) == 1:
            marker = "." if len(shared) < 30 else ""
            axes.plot(shared, np.mean(losses, axis=0), marker=marker, label=variant.name)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    save_chart(image, path)
    return [path]


def save_chart(image: Figure, path: Path) -> None:
    """Write a chart as a PNG, whole or not at all."""
    with new_file(path) as unfinished:
        image.savefig(unfinished, dpi=150, format="png")


def draw_examples(
    study: Study, comparison: Comparison, matches: dict[str, list[Matches]], path: Path
) -> list[Path]:
    """The images where the first seed's variants differ most in what they found: a row for each, the one
    found better on the right.
    """
    better, worse = (matches[name][0].recalled() for name in (comparison.of, comparison.to))
    gain = np.nan_to_num(better - worse)
    chosen = np.argsort(-gain, kind="stable")[:EXAMPLES]
    jobs = {job.variant.name: job for job in study.jobs(1)}
    rows = []
    models: dict[str, Any] = {
        name: load_model(jobs[name].folder / "weights" / "last") for name in (comparison.to, comparison.of)
    }
    ids = _by_id(study.val_data)
    for place in chosen:
        pixels = study.val_data.pixels(ids[int(place)])
        shown = [pixels]
        for model in models.values():
            found = predict(model, pixels, score=0.5)
            assert isinstance(found, Instances)
            shown.append(np.asarray(found.plot(scores=False)))
        side = (round(pixels.shape[1] * HEIGHT / pixels.shape[0]), HEIGHT)
        rows.append(np.hstack([cv2.resize(one, side) for one in shown]))
    if not rows:
        return []
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    head = _captions(["image", *models], width)
    save_image(Image.fromarray(np.vstack([head, *rows])), path)
    return [path]


def _by_id(dataset: Dataset) -> list[int]:
    """The images' places in the order of their ids, which is that of `Matches`."""
    places = {image.image_id: index for index, image in enumerate(dataset)}
    return [places[image_id] for image_id in in_order(places)]


def _captions(names: list[str], width: int) -> np.ndarray:
    """A strip with a name over each of the columns."""
    strip = np.full((28, width, 3), 255, np.uint8)
    for place, name in enumerate(names):
        at = (6 + place * width // len(names), 20)
        cv2.putText(strip, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (34, 34, 34), 1, cv2.LINE_AA)
    return strip
