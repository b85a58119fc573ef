"""An evaluation as one self-contained page: how good, what goes wrong, and in which images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn import pages
from maskrcnn.evaluate.coco import COUNTED, Scores, match
from maskrcnn.evaluate.examples import Example, draw_example
from maskrcnn.evaluate.found import Result, gather, looked_for
from maskrcnn.evaluate.report import TITLES, figure_rows
from maskrcnn.evaluate.stardist import ObjectMatches
from maskrcnn.evaluate.truth import Kind, Truth, read_truth
from maskrcnn.evaluate.which_score import WhichScore
from maskrcnn.labels.types import Dataset, of_each_class

if TYPE_CHECKING:
    import hotcoco

WORST, BEST = 12, 4  # images that are shown
CLASSES = 20  # of which a confusion matrix can be read; of more, the most frequent confusions are told
WIDEST = 260  # pixels of a bar
CURVES = {"pr@0.50": "-", "pr@0.75": "--", "pr@0.90": ":"}
SIZES = {"s": "small: below 32 x 32 pixels", "m": "medium", "l": "large: from 96 x 96 pixels on"}
# TIDE (Bolya et al. 2020), Figure 2
ERRORS = {
    "Miss": "not found at all",
    "Bkg": "nothing is there",
    "Loc": "right class, lies badly (IoU 0.1 to 0.5)",
    "Dupe": "an object found again",
    "Cls": "right place, wrong class",
    "Both": "wrong class, and lies badly",
}


def write_page(
    path: Path,
    title: str,
    dataset: Dataset,
    results: list[Result],
    scores: Scores,
    matched: dict[Kind, hotcoco.COCOeval],
    *,
    score: float = 0.5,
    most: int = COUNTED,
    chosen: WhichScore | None = None,
    objects: ObjectMatches | None = None,
) -> None:
    """Writes the page.

    Args:
        results: what `scores` were made of.
        matched: the same, from `score_results`.
        score: detections have it at least where single ones are counted or drawn.
        most: detections of an image and class that count.
        chosen: precision and recall at scores.
        objects: matched as stardist does, where asked for.
    """
    main: Kind = "segm" if "segm" in matched else "bbox"
    truth = read_truth(dataset, masks=main == "segm")
    sure = [result for result in looked_for(results, truth) if result["score"] >= score]
    labels = truth.coco(main)
    sure_matched = _matched(labels, truth, sure, main, most)
    boxes: Kind = "bbox" if "bbox" in matched else main
    images = _images(dataset, truth, matched[main], sure_matched, sure)
    best = images[: -BEST - 1 : -1] if len(images) > 2 * BEST else []
    pages.write_page(
        path,
        "evaluate/page.html",
        title=title,
        scores=scores,
        kinds=[TITLES[kind] for kind in matched],
        main=TITLES[main],
        score=score,
        chosen=chosen.line() if chosen else "",
        rows=figure_rows(scores),
        sizes=_sizes(scores, main),
        classes=_classes(scores, main),
        curves=_curves(matched),
        confusion=_confusion(truth, sure, boxes, most),
        errors=_errors(matched[main]),
        deciles=_deciles(images),
        worst=[_shown(dataset, image) for image in images[: min(WORST, len(images) - len(best))]],
        best=[_shown(dataset, image) for image in best],
        images=images,
        objects=objects,
    )


def _matched(
    labels: hotcoco.COCO, truth: Truth, results: list[Result], kind: Kind, most: int
) -> hotcoco.COCOeval:
    """The results matched with `labels`, which are the truth's of that kind."""
    return match(labels, gather(results, [kind], truth).coco(labels, kind), kind, most=most)


def _bar(value: float, most: float = 100.0) -> int:
    return round(WIDEST * value / most) if most > 0 else 0


def _sizes(scores: Scores, kind: Kind) -> list[dict[str, Any]]:
    return [
        {"name": name, "AP": value, "width": _bar(value)}
        for letter, name in SIZES.items()
        if (value := scores[kind].get(f"AP{letter}")) is not None
    ]


def _classes(scores: Scores, kind: Kind) -> list[dict[str, Any]]:
    """AP of each class, worst first; of one class there is nothing to tell."""
    measured = [(figures["AP"], name) for name, figures in scores.per_class[kind].items()]
    known = sorted((value, name) for value, name in measured if value is not None)
    return [{"name": n, "AP": v, "width": _bar(v)} for v, n in known] if len(measured) > 1 else []


def _curves(every: dict[Kind, hotcoco.COCOeval]) -> str:
    """Precision over recall, a PNG in base64; empty without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    picture = Figure(figsize=(3.7 * len(every) + 0.8, 3.6), layout="constrained")
    axes = picture.subplots(1, len(every), squeeze=False, sharey=True)[0]
    for plot, (kind, evaluator) in zip(axes, every.items(), strict=True):
        curves = evaluator.report()["curves"]
        word = "OKS" if kind == "keypoints" else "IoU"
        for name, style in CURVES.items():
            precision = np.array(curves[name], float)
            precision[precision < 0] = np.nan
            plot.plot(curves["rec_thrs"], precision, style, color="#1a6fb0", label=f"{word} {name[-4:]}")
        plot.set(title=TITLES[kind], xlabel="recall", xlim=(0, 1.005), ylim=(0, 1.02))
        plot.grid(alpha=0.25)
        plot.spines[["top", "right"]].set_visible(False)
        plot.legend(fontsize="small", frameon=False, loc="lower left")
    axes[0].set_ylabel("precision")
    buffer = io.BytesIO()
    picture.savefig(buffer, dpi=150, format="png")
    return pages.as_base64(buffer.getvalue())


def _confusion(truth: Truth, results: list[Result], kind: Kind, most: int) -> dict[str, Any]:
    """Labelled classes in rows, found ones in columns; last a column for "missed", a row for "nothing". What
    lies in a crowd is neither.
    """
    labels = truth.coco(kind)
    states = _matched(labels, truth, results, kind, most).image_diagnostics()
    counted = [result for i, result in enumerate(results, 1) if states["dt_status"].get(i) is not None]
    told = _matched(labels, truth, counted, kind, most).confusion_matrix()
    matrix, names = np.asarray(told["matrix"], np.int64), list(told["cat_names"])
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = [
        (int(matrix[i, j]), names[i], names[j]) for i, j in np.argwhere(matrix[:-1, :-1]).tolist() if i != j
    ]
    rows = [
        {"name": name, "place": place, "cells": list(zip(counts.tolist(), share.tolist(), strict=True))}
        for place, (name, counts, share) in enumerate(
            zip([*names, "nothing there"], matrix, shares, strict=True)
        )
    ]
    readable = len(names) <= CLASSES
    return {
        "names": names,
        "rows": rows if readable else [],
        "wrong": [] if readable else sorted(wrong, reverse=True)[:CLASSES],
    }


def _errors(evaluator: hotcoco.COCOeval) -> list[dict[str, Any]]:
    """What each kind of error costs, points of AP50, worst first."""
    told = evaluator.tide_errors()
    costs = {name: 100 * max(told["delta_ap"][name], 0.0) for name in ERRORS}
    most = max(costs.values())
    return [
        {"name": ERRORS[name], "cost": cost, "count": told["counts"][name], "width": _bar(cost, most)}
        for name, cost in sorted(costs.items(), key=lambda item: -item[1])
    ]


def _images(
    dataset: Dataset, truth: Truth, every: hotcoco.COCOeval, sure: hotcoco.COCOeval, results: list[Result]
) -> list[dict[str, Any]]:
    """Images with objects or detections, worst first: by F1 of what has the score, then by AP50."""
    average = {number: row["ap"] for number, row in every.image_diagnostics()["img_summary"].items()}
    told = sure.image_diagnostics()
    records = {image.image_id: index for index, image in enumerate(dataset)}
    names = {number: image_id for image_id, number in truth.images.items()}
    labels: dict[int, list[int]] = {}
    for row, record in enumerate(truth.annotations):
        labels.setdefault(record["image_id"], []).append(row)
    found: dict[int, list[int]] = {}
    for row, result in enumerate(results):
        found.setdefault(truth.images[result["image_id"]], []).append(row)
    rows = []
    for number, row in told["img_summary"].items():
        if row["tp"] + row["fp"] + row["fn"] == 0:
            continue
        index = records[names[number]]
        rows.append(
            {
                "index": index,
                "name": dataset.image(index).file_name,
                "AP50": average.get(number),
                "F1": row["f1"],
                "counts": (row["tp"], row["fn"], row["fp"]),
                "labels": {i + 1: told["gt_status"].get(i + 1) for i in labels.get(number, [])},
                "found": [(results[i], told["dt_status"].get(i + 1)) for i in found.get(number, [])],
            }
        )
    return sorted(rows, key=lambda row: (row["F1"], row["AP50"] or 0.0, -sum(row["counts"])))


def _shown(dataset: Dataset, row: dict[str, Any]) -> dict[str, Any]:
    """An image's name, figures and drawings; what neither helps nor harms, as in a crowd, is not drawn."""
    annotations = of_each_class(dataset.image(row["index"]).annotations, len(dataset.classes))
    # behind them come the crowds of classes of which not all objects are labelled
    states = zip(annotations, row["labels"].values(), strict=False)
    labels = [(a, state == "matched") for a, state in states if state is not None and not a.crowd]
    found = [(result, state == "tp") for result, state in row["found"] if state is not None]
    drawn = draw_example(dataset, Example(row["index"], labels, found))
    return {"row": row, "drawn": drawn}


def _deciles(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many images have an AP50 of 0 to 10%, 10 to 20% and so on."""
    values = [
        row["AP50"] for row in images if row["AP50"] is not None and row["counts"][0] + row["counts"][1]
    ]
    counts = np.bincount([min(int(10 * value), 9) for value in values], minlength=10)
    return [
        {"name": f"{10 * place} to {10 * place + 10}%", "count": count, "width": _bar(count, max(counts))}
        for place, count in enumerate(counts.tolist())
    ]
