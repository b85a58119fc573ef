"""`maskrcnn check`: what is in a data set, what is wrong with it, what to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from maskrcnn.check.advice import Advice, advise, check_anchors, measure
from maskrcnn.check.findings import Findings, Suspect
from maskrcnn.check.image_files import GREY, Seen, check_images, check_leaks, mean_and_deviation
from maskrcnn.check.labels import add_refused, check_classes, check_labels
from maskrcnn.check.page import figures, write_page
from maskrcnn.check.statistics import Statistics, describe
from maskrcnn.config.load import Config, load_config
from maskrcnn.errors import DataError, UserError
from maskrcnn.files import write_json
from maskrcnn.images.header import stored_channels
from maskrcnn.images.read import ValueRange
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.open import open_dataset, open_val
from maskrcnn.labels.problems import RefusedRecords
from maskrcnn.labels.types import Dataset
from maskrcnn.progress import Progress
from maskrcnn.shell import shell_command
from maskrcnn.training_data.fill_config import fill_value_range


@dataclass
class Report:
    """All that was found, by split."""

    source: str
    datasets: dict[str, Dataset]
    statistics: dict[str, Statistics]
    findings: Findings
    unusable: dict[str, set[int]] = field(default_factory=dict)  # images of each split
    advice: Advice | None = None
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)
    grey: bool = False  # every image of the train split

    @property
    def verdict(self) -> str:
        errors, kinds = self.findings.errors, len(self.findings)
        if errors:
            return f"{errors} error{'s' * (errors > 1)}: a training would stop or learn what is wrong"
        return f"no errors, {kinds} kind{'s' * (kinds > 1)} of warning" if kinds else "no errors and no warnings"

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
    channels: int | None = None,
    class_name: str | None = None,
    measured: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Reads, decodes and judges every image and label of `source` and of its val split.

    Args:
        val: another data set to check as the val split.
        recipe: to advise on; None: the shipped one that fits.
        channels: to read the images with; None: the recipe's or, where files cannot be read as RGB, theirs.
        class_name: what the objects are, where the labels have no class names (`open_dataset`).
        measured: run two training steps to tell time and memory.

    Labels that cannot be read at all are a finding too: then there is nothing else in the report.

    Raises:
        UserError: there is no such thing as `source` or `val`, or the recipe cannot be trained with.
    """
    if recipe is not None:
        _check_recipe(recipe)
    report = Report(source, {}, {}, Findings())
    named: dict[str, Any] = {"headers": False, "class_name": class_name}
    opened = _open(lambda: open_dataset(source, "train", **named), source, "train", report.findings)
    open_other = partial(open_val, source) if val is None else partial(open_dataset, val, "val")
    other = _open(lambda: open_other(**named), val or source, "val", report.findings)
    if opened is None:
        return report
    train = opened
    channels = channels or _channels(train, recipe)
    value_range = _value_range(train, recipe, channels)
    train = with_channels(train, channels, value_range)
    other = None if other is None else with_channels(other, channels, value_range)
    datasets: dict[str, Dataset] = {"train": train} | ({"val": other} if other is not None else {})
    report.datasets = datasets
    report.statistics = {split: describe(dataset) for split, dataset in datasets.items()}
    total = sum(len(dataset) for dataset in datasets.values())
    seen: dict[str, list[Seen]] = {}
    done = 0
    for split, dataset in datasets.items():
        check_labels(dataset, split, report.findings)

        def tell(count: int, _: int | None, *, before: int = done) -> None:
            if progress:
                progress(before + count, total)

        seen[split] = check_images(dataset, split, report.findings, tell, channels=channels, value_range=value_range)
        done += len(dataset)
        report.unusable[split] = {index for index, one in enumerate(seen[split]) if one.wrong is not None}
    check_classes(report.statistics["train"], report.statistics.get("val"), report.findings)
    if other is not None:
        check_leaks(
            seen["train"], seen["val"], (train, other), report.findings, channels=channels, value_range=value_range
        )
    report.mean, report.std = mean_and_deviation(train, seen["train"], channels=channels)
    report.grey = bool(seen["train"]) and all(one.mode in GREY for one in seen["train"])
    if report.statistics["train"].objects:
        stats = report.statistics["train"]
        report.advice = advise(source, train, stats, recipe, mean=report.mean, std=report.std, class_name=class_name)
        config = load_config(report.advice.recipe, report.advice.overrides)
        for split, dataset in datasets.items():
            check_anchors(dataset, config, split, report.findings)
        if measured and not report.findings.errors:
            measure(report.advice, train)
    return report


def _check_recipe(recipe: str) -> None:
    """Refuses, before the work, a recipe that the advice could not be for."""
    settings = load_config(recipe).train
    if settings.batch % settings.accumulate:
        raise UserError(
            f"{recipe}: train.batch={settings.batch} cannot be taken in train.accumulate={settings.accumulate} equal parts: "
            "make it a multiple"
        )


def _open(opener: Callable[[], Dataset | None], source: str, split: str, findings: Findings) -> Dataset | None:
    """The data set, or what can be used of it; what cannot is a finding."""
    try:
        return opener()
    except RefusedRecords as error:
        add_refused(error.refused, split, findings)
        return error.labels
    except DataError as error:
        what, _, remedy = str(error).rpartition("; ")
        where = Suspect(split, None, what)
        findings.add("labels that cannot be read", "error", remedy or "correct them", where, refused=True)
        return None


def print_report(report: Report) -> None:
    """The report as tables for the terminal."""
    console = Console(soft_wrap=True)
    if not report.datasets:
        for finding in report.findings:
            console.print(f"{finding.severity}: {finding.line}", markup=False, highlight=False)
        console.print(report.verdict, markup=False, highlight=False)
        return
    table = Table("", *report.statistics, title=report.source, title_justify="left")
    for row in figures(list(report.statistics.values())):
        table.add_row(*row)
    console.print(table)
    train = report.statistics["train"]
    listed = sorted(train.classes.items(), key=lambda item: -item[1])
    more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
    console.print("classes: " + ", ".join(f"{n} {c}" for n, c in listed[:12]) + more, markup=False)
    if train.visible:
        shares = ", ".join(f"{name} {100 * share:.0f}%" for name, share in train.visible.items())
        console.print(f"keypoints labelled, of objects that have some: {shares}", markup=False, highlight=False)
    for finding in report.findings:
        console.print(f"{finding.severity}: {finding.line}", markup=False, highlight=False)
    for line in _channel_lines(report):
        console.print(line, markup=False, highlight=False)
    if report.advice:
        for reason in report.advice.reasons:
            console.print(f"advice: {reason}", markup=False, highlight=False)
        if report.advice.hours is not None:
            gigabytes = report.advice.memory_gb
            memory = "" if gigabytes is None else f", at most {gigabytes} GB at a batch of 2"
            console.print(
                f"a step here takes {report.advice.seconds_per_image} s an image: about {report.advice.hours} hours{memory}",
                highlight=False,
            )
        console.print(report.advice.command, markup=False, highlight=False)
    console.print(report.verdict, markup=False, highlight=False)


def _channel_lines(report: Report) -> list[str]:
    """Mean and deviation of the pixels, and whether one channel would do."""
    channels = len(report.mean)
    use = (
        " (a trunk from ImageNet wants ImageNet's, which recipes have)"
        if channels == 3
        else ", as in the command below"
    )
    lines = [f"pixels: model.input.mean={report.mean} model.input.std={report.std}{use}"]
    if report.grey and channels == 3:
        lines.append(
            "all images are grey: "
            + shell_command(["maskrcnn", "check", report.source, "--channels", "1"])
            + " advises on a model of one channel"
        )
    return lines


def _value_range(dataset: Dataset, recipe: str | None, channels: int) -> ValueRange | None:
    """The range of values that a training would read the images with."""
    config = load_config(recipe) if recipe else Config()
    images = config.model.input.model_copy(update={"channels": channels})
    model = config.model.model_copy(update={"input": images})
    return fill_value_range(config.model_copy(update={"model": model}), dataset).model.input.value_range


def _channels(dataset: Dataset, recipe: str | None) -> int:
    """How many channels the images are to be read with."""
    wanted = load_config(recipe).model.input.channels if recipe else 3
    path = dataset.image(0).path if len(dataset) else None
    if wanted != 3 or path is None:
        return wanted
    try:
        stored = stored_channels(path)
    except UserError:  # check_images says what is wrong
        return wanted
    return wanted if stored == 1 else stored


def write_reports(report: Report, json_path: Path | None, page: Path | None) -> None:
    """The report as JSON and as a page."""
    if json_path is not None:
        write_json(json_path, report.as_json())
    if page is not None:
        write_page(report, page)
