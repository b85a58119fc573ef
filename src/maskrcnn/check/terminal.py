"""The report as tables for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskrcnn.check.advice import Advice
from maskrcnn.check.report import Report
from maskrcnn.check.statistics import Statistics, figures
from maskrcnn.shell import first_of, printable, shell_command

MOST_CLASSES = 12  # that are listed


def print_report(report: Report) -> None:
    """Prints the report on stdout, the verdict last."""
    console = Console(soft_wrap=True)

    def say(line: str) -> None:
        console.print(printable(line), markup=False, highlight=False)

    if report.datasets:
        table = Table("", *report.statistics, title=Text(printable(report.source)), title_justify="left")
        for row in figures(list(report.statistics.values())):
            table.add_row(*row)
        console.print(table)
        say(_classes(report.statistics["train"]))
    if report.datasets and (visible := report.statistics["train"].visible):
        shares = ", ".join(f"{name} {100 * share:.0f}%" for name, share in visible.items())
        say(f"keypoints labelled, of objects that have some: {shares}")
    for group in report.findings:
        say(f"{group.severity}: {group.line}")
    for line in _channels(report) if report.datasets else []:
        say(line)
    for line in _advice(report.advice) if report.advice else []:
        say(line)
    say(report.verdict)


def _classes(stats: Statistics) -> str:
    listed = sorted(stats.classes.items(), key=lambda item: -item[1])
    return "classes: " + first_of([f"{name} {count}" for name, count in listed], MOST_CLASSES)


def _channels(report: Report) -> list[str]:
    """Mean and deviation of the pixels, and whether one channel would do."""
    channels = len(report.mean)
    use = (
        " (a trunk from ImageNet wants ImageNet's, which recipes have)"
        if channels == 3
        else ", as in the command below"
    )
    lines = [f"pixels: model.input.mean={report.mean} model.input.std={report.std}{use}"]
    if report.grey and channels == 3:
        command = shell_command(["maskrcnn", "check", report.source, *report.words, "--channels", "1"])
        lines.append(f"all images are grey: {command} advises on a model of one channel")
    return lines


def _advice(advice: Advice) -> list[str]:
    lines = [f"advice: {reason}" for reason in advice.reasons]
    if advice.hours is not None:
        memory = "" if advice.memory_gb is None else f", at most {advice.memory_gb} GB at a batch of 2"
        lines.append(
            f"a step here takes {advice.seconds_per_image} s an image: about {advice.hours} hours{memory}"
        )
    return [*lines, advice.command]
