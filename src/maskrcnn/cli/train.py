"""`maskrcnn train`."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskrcnn.cli.common import (
    AUTO,
    ClassAttribute,
    ClassName,
    Data,
    Images,
    Recipe,
    Settings,
    SplitParts,
    choose_settings,
    label_data,
    progress_bar,
    recipe_for,
    say,
    seconds_of,
    tell_names_without_font,
    tell_repairs,
)
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.config.migrate import setting_of
from maskrcnn.errors import UserError
from maskrcnn.shell import shell_command


def train(
    data: Data,
    recipe: Recipe = None,
    set_: Settings = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run. [default: a new one under runs/]")
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Labelled images to evaluate on. [default: the val split of DATA]")
    ] = None,
    class_name: ClassName = None,
    images: Images = None,
    class_attribute: ClassAttribute = None,
    split_parts: SplitParts = False,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="30m|2h",
            help="How long the training may take; auto fits its length to that by a few steps. [default: as"
            " long as the labels ask for]",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --run where it stopped.")
    ] = False,
) -> None:
    """Train a model on labelled images."""
    from maskrcnn.train.run_folder import goes_on

    if resume and run is None:
        raise UserError("--resume: say which run to continue: --run FOLDER")
    if resume and time is not None:
        raise UserError("--time: the run has its length already; more is --set train.epochs=N")
    if not resume and goes_on(run):
        resume, recipe = True, None if recipe == AUTO else recipe
    source = _settings_of(run) if resume and run and recipe is None else recipe_for(data, recipe)
    chosen = source == AUTO
    if chosen and resume:
        raise UserError("--resume: the run has a recipe already; leave --recipe auto out")
    seconds = _seconds(None if resume else time, chosen, set_)
    folder = run or _new_run_folder(source)
    check_outputs(folder, kind="folder")
    label_settings = label_data(source, set_)

    from maskrcnn.labels.choose import refuse_only_crowds
    from maskrcnn.labels.open import open_dataset, open_split
    from maskrcnn.labels.options import LabelOptions
    from maskrcnn.train import trainer
    from maskrcnn.train.run_folder import refuse_folder
    from maskrcnn.train.setup import take_only_class
    from maskrcnn.training_data.prepare import prepare_data
    from maskrcnn.weights.load import find_folder

    refuse_folder(folder, resume)  # before the data are read, which may take long
    options = LabelOptions(class_name, images, class_attribute, split_parts, label_settings)
    train_data = open_dataset(data, "train", options=options)
    open_val = partial(open_split, data) if val is None else partial(open_dataset, val)
    val_data = open_val("val", options=options)
    refuse_only_crowds(train_data)
    for dataset in (train_data, val_data):
        tell_repairs(dataset)
    config, text = choose_settings(source, data, train_data, val_data, set_, options, seconds)
    if config.train.init and not resume:
        find_folder(config.train.init)  # a name that is wrong, before large images are decoded
    train_data, val_data, lines = take_only_class(config, train_data, val_data)
    say(*lines)
    with progress_bar("decoding large images") as progress:
        config, train_data, val_data, lines = prepare_data(config, train_data, val_data, progress)
    say(*lines)
    tell_names_without_font(config.model.classes)
    command = shell_command(["maskrcnn", *sys.argv[1:]])
    trainer.train(config, train_data, val_data, folder, resume=resume, command=command, recipe=text)


def _seconds(time: str | None, chosen: bool, set_: list[str] | None) -> float | None:
    """What `--time` says; it is refused where the length is not chosen."""
    if time is None:
        return None
    if not chosen:
        raise UserError("--time: only auto fits its length to it; leave --recipe out, or set train.epochs")
    if any(setting_of(each) == "train.epochs" for each in set_ or []):
        raise UserError("--time and train.epochs both say how long to train; leave one out")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "--time: steps of one process are measured, and several take another time; set train.epochs"
        )
    return seconds_of("--time", time)


def _settings_of(run: Path) -> str:
    settings = run / "config.yaml"
    if not settings.is_file():
        raise UserError(f"--resume: {run} is no run folder: it has no config.yaml")
    return str(settings)


def _new_run_folder(recipe: str) -> Path:
    """The first of runs/RECIPE-1, runs/RECIPE-2 ... that does not exist."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--run: several processes must agree on the run folder, so name it: --run FOLDER")
    stem = Path(recipe).stem
    number = 1
    while (folder := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return folder
