"""`maskrcnn check`: what is in a data set, what is wrong with it, what to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from maskrcnn.check.advice import advise
from maskrcnn.check.anchors import check_anchors
from maskrcnn.check.findings import Finding, Findings
from maskrcnn.check.images import (
    SplitFacts,
    channels_of,
    check_image,
    check_leaks,
    inspect_images,
    mean_and_deviation,
)
from maskrcnn.check.kinds import CheckKind
from maskrcnn.check.labels import check_annotations, check_classes, check_known
from maskrcnn.check.measure import measure
from maskrcnn.check.page import write_page
from maskrcnn.check.report import Report
from maskrcnn.check.statistics import StatisticsCounter
from maskrcnn.config.load import Config, load_config
from maskrcnn.environment import best_device
from maskrcnn.errors import RecordError, UserError
from maskrcnn.files import write_json
from maskrcnn.images.read import ValueRange
from maskrcnn.labels.channels import with_channels
from maskrcnn.labels.open import open_dataset, open_split
from maskrcnn.labels.options import PLAIN, LabelOptions
from maskrcnn.labels.problems import Problem
from maskrcnn.labels.refused import RefusedRecords
from maskrcnn.labels.split_names import SPLITS
from maskrcnn.labels.types import Dataset
from maskrcnn.progress import Progress
from maskrcnn.training_data.fill_config import value_range_of


def check(
    source: str,
    *,
    val: str | None = None,
    recipe: str | None = None,
    channels: int | None = None,
    options: LabelOptions = PLAIN,
    measured: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Reads, decodes and judges every image and label of `source` and of its val and test splits.

    Args:
        val: another data set to check as the val split.
        recipe: to advise on; None: what `train` takes by itself.
        channels: to read the images with; None: the recipe's or, where files cannot be read as RGB, theirs.
        options: what a person says of the labels (`open_dataset`); where it says nothing of data.classes and
            the like, the recipe does.
        measured: run two training steps to tell time and memory.

    Labels that cannot be read at all are a finding too: then there is nothing else in the report.

    Raises:
        UserError: there is no such thing as `source` or `val`, or the recipe cannot be trained with.
    """
    settings = _settings(recipe)
    if options.data is None:
        options = replace(options, data=settings.data)
    report = Report(source)
    report.words = [*options.words(settings.data), *([] if val is None else ["--val", val])]
    report.words += [] if recipe is None else ["--recipe", recipe]
    unplaced: dict[str, _Unplaced] = {split: {} for split in SPLITS}
    open_other = partial(open_split, source, "val") if val is None else partial(open_dataset, val, "val")
    open_other = partial(open_other, options=options)
    train = _open(
        partial(open_dataset, source, "train", options=options), "train", report.findings, unplaced["train"]
    )
    other = _open(open_other, "val", report.findings, unplaced["val"])
    test = _open(
        partial(open_split, source, "test", options=options), "test", report.findings, unplaced["test"]
    )
    if train is None:
        return report
    usual = channels_of(train, settings.model.input.channels)
    channels = channels or usual
    report.words += [] if channels == usual else ["--channels", str(channels)]
    value_range = settings.model.input.value_range or value_range_of(
        train, channels, settings.data.value_percentiles
    )
    for split, dataset in {"train": train, "val": other, "test": test}.items():
        if dataset is not None:
            report.datasets[split] = with_channels(dataset, channels, value_range)
    facts = _inspect(report, channels, value_range, unplaced, progress)
    check_classes(report.statistics, report.findings)
    check_leaks(report.datasets, facts, report.findings)
    report.mean, report.std = mean_and_deviation(report.datasets["train"], facts["train"], channels)
    report.grey = bool(len(train)) and facts["train"].grey
    if report.statistics["train"].objects:
        _advise(report, recipe, measured, options, val, channels_asked=channels != usual)
    return report


def write_reports(report: Report, json_path: Path | None, page: Path | None) -> None:
    """The report as JSON and as a page."""
    if json_path is not None:
        write_json(json_path, report.as_json())
    if page is not None:
        write_page(report, page)


_Unplaced = dict[str, list[Finding]]  # findings by the file name of their image, whose index is not known yet


def _settings(recipe: str | None) -> Config:
    """Those of a recipe that the advice is to be for; one that cannot be trained with is refused before the
    work.
    """
    if recipe is None:
        return Config()
    config = load_config(recipe)
    batch, parts = config.train.batch, config.train.accumulate
    if batch % parts:
        raise UserError(
            f"{recipe}: train.batch={batch} cannot be taken in train.accumulate={parts} equal parts: "
            f"make it a multiple of {parts}"
        )
    return config


def _open(
    opener: Callable[..., Dataset | None], split: str, findings: Findings, unplaced: _Unplaced
) -> Dataset | None:
    """The data set, or what can be used of it; what cannot, and what was repaired, are findings."""

    def add(problem: Problem, count: int = 1, *, refused: bool = False) -> None:
        finding = Finding.of_problem(problem, split, refused=refused)
        findings.add(finding, count)
        if problem.image is not None:
            unplaced.setdefault(problem.image, []).append(finding)

    try:
        dataset = opener(headers=False)
    except RefusedRecords as error:
        for refusal in error.refused:
            add(refusal.problem, refused=True)
        dataset = error.labels
    except RecordError as error:
        kind, remedy = CheckKind.UNREADABLE_LABELS, error.remedy
        if split == "test":
            kind, remedy = CheckKind.UNREADABLE_TEST, f"nothing to do for a training; else {remedy}"
        findings.add(Finding(kind, split, error.fault, remedy=remedy, refused=True))
        return None
    for problem, count in dataset.problems if dataset is not None else ():
        add(problem, count)
    return dataset


def _inspect(
    report: Report,
    channels: int,
    value_range: ValueRange | None,
    unplaced: dict[str, _Unplaced],
    progress: Progress | None,
) -> dict[str, SplitFacts]:
    """Goes once through all images and their labels, one at a time, into statistics and findings."""
    facts: dict[str, SplitFacts] = {}
    done, total = 0, sum(map(len, report.datasets.values()))
    for split, dataset in report.datasets.items():
        counter, facts[split] = StatisticsCounter(dataset.info), SplitFacts()
        for index, (image, found) in enumerate(inspect_images(dataset, channels, value_range)):
            for finding in unplaced[split].pop(image.file_name, ()):
                finding.image = index
            counter.add(image)
            facts[split].add(found)
            check_annotations(image, index, split, report.findings)
            check_image(found, image, index, split, report.findings, channels)
            done += 1
            if progress:
                progress(done, total)
        report.statistics[split] = counter.statistics()
        report.unusable[split] = facts[split].unusable
    return facts


def _advise(
    report: Report,
    recipe: str | None,
    measured: bool,
    options: LabelOptions,
    val: str | None,
    *,
    channels_asked: bool,
) -> None:
    """Adds the advice, what its anchors do not fit, and what a step costs."""
    train, other = report.statistics["train"], report.datasets.get("val")
    advice = report.advice = advise(
        report.source,
        train,
        recipe,
        val_images=len(other) if other is not None else 0,
        mean=report.mean,
        std=report.std,
        options=options,
        val=val,
        channels_asked=channels_asked,
    )
    classes = advice.config.model.classes
    for split, dataset in report.datasets.items():
        check_anchors(dataset, report.statistics[split], advice.config, split, report.findings)
        check_known(report.statistics[split], classes, split, report.findings)
    if measured and not report.findings.errors:
        try:
            advice.note_cost(measure(advice.config, report.datasets["train"], other, best_device()))
        except UserError as error:  # what is known by now is not lost
            report.findings.add(Finding(CheckKind.STEP_REFUSED, "train", str(error)))
