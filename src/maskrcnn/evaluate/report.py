"""An evaluation as a table on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskrcnn.evaluate.coco import Scores
from maskrcnn.evaluate.stardist import ObjectMatches
from maskrcnn.shell import counted, printable

TITLES = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints"}
# the twelve figures of objects and the ten of keypoints in one order
ROWS = "AP AP50 AP75 APs APm APl AR AR50 AR75 AR1 AR10 AR100 ARs ARm ARl".split()  # noqa: SIM905
LONGEST_CLASS_TABLE = 100


def print_scores(scores: Scores, console: Console | None = None) -> None:
    """Print the figures, one row each, beside each other for boxes, masks and keypoints; then a row per
    class.
    """
    console = console or Console()
    console.print(
        f"{counted(scores.images, 'image')}, {counted(scores.objects, 'object')},"
        f" {counted(scores.detections, 'detection')}; percent"
    )
    console.print(_figure_table(scores))
    names = list(next(iter(scores.per_class.values()), {}))
    if len(names) > 1:
        console.print(_class_table(scores, names))
    if any(value is None for figures in scores.kinds.values() for value in figures.values()):
        console.print("-: no labelled object of that kind, size or class")
    for note in scores.notes:
        console.print(printable(f"note: {note}"), markup=False)


def print_objects(objects: ObjectMatches) -> None:
    """Print the figures of matched objects, one row a threshold, and the counting error."""
    console = Console()
    table = Table(title=f"objects of a score of {objects.score:g} or more, matched", title_justify="left")
    names = ("IoU", "precision", "recall", "F1", "AP", "mean_IoU", "TP", "FP", "FN")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for row in objects.figures():
        shares = [f"{row[name]:.2f}" if name == "IoU" else f"{row[name]:.3f}" for name in names[:6]]
        table.add_row(*shares, *(str(row[name]) for name in names[6:]))
    console.print(table)
    counting = objects.counting()
    console.print(
        f"objects counted in an image: found minus labelled {counting['mean_error']:+.2f} on average, "
        f"{counting['mean_absolute_error']:.2f} whatever the sign, "
        f"{100 * counting['exact']:.0f}% of {counted(len(objects.image_ids), 'image')} exact"
    )
    for note in objects.notes:
        console.print(printable(f"note: {note}"), markup=False)


def _figure_table(scores: Scores) -> Table:
    table = Table("")
    for kind in scores.kinds:
        table.add_column(TITLES[kind], justify="right")
    for row in figure_rows(scores):
        table.add_row(*row)
    return table


def figure_rows(scores: Scores) -> list[list[str]]:
    """A row for each figure: its name and its value of each kind; empty where a kind has no such figure."""
    others = [key for kind in scores.kinds for key in scores[kind] if key not in ROWS]
    rows = [
        [key, *(_figure(scores[kind][key]) if key in scores[kind] else "" for kind in scores.kinds)]
        for key in [*ROWS, *dict.fromkeys(others)]
    ]
    return [row for row in rows if any(row[1:])]


def _class_table(scores: Scores, names: list[str]) -> Table:
    """AP and AP50 of every kind, best class first; a long list is cut and says so."""
    first = next(iter(scores.per_class))
    table = Table("class")
    for kind in scores.per_class:
        table.add_column(f"{TITLES[kind]} AP", justify="right")
        table.add_column("AP50", justify="right")
    ordered = sorted(names, key=lambda name: -(scores.per_class[first][name]["AP"] or 0.0))
    for name in ordered[:LONGEST_CLASS_TABLE]:
        rows = [scores.per_class[kind][name] for kind in scores.per_class]
        table.add_row(Text(printable(name)), *(_figure(row[key]) for row in rows for key in ("AP", "AP50")))
    if len(ordered) > LONGEST_CLASS_TABLE:
        table.caption = f"{len(ordered) - LONGEST_CLASS_TABLE} more classes: see --json"
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
