"""What several verbs share: argument types, the progress bar, loading a model, checking outputs, telling of repairs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskrcnn.errors import UserError

if TYPE_CHECKING:
    from maskrcnn.labels.types import Dataset
    from maskrcnn.model.mask_rcnn import MaskRCNN
    from maskrcnn.runtime.engine import Runner

MODEL_HELP = "A shipped model, model folder, run folder or published checkpoint (see: maskrcnn models)."
Weights = Annotated[str, typer.Argument(metavar="WEIGHTS", help=MODEL_HELP)]
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="A label file, a folder of labelled images, or the word synthetic.")
]
Recipe = Annotated[str | None, typer.Option(help="A shipped recipe (see: maskrcnn models) or a YAML file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as in train.epochs=20. Repeatable."),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        help="torch, openvino, onnxruntime, or auto for the fastest installed."
        " [default: torch, or what WEIGHTS was exported for]"
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps. [default: the fastest there is]")]


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on stderr, shown from the first call of its callback (done, total) on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task(title, total=None)

    def update(done: int, total: int | None) -> None:
        bars.start()  # at the first call, so that work without steps shows nothing
        bars.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        if bars.live.is_started:
            bars.stop()


def say(line: str) -> None:
    """Tell what is being done, on stderr."""
    print(line, file=sys.stderr)


def load_network(weights: str) -> MaskRCNN:
    """The network; a published one is downloaded at its first use, with a progress bar."""
    from maskrcnn.weights.store import load_model

    with progress_bar("downloading") as progress:
        return load_model(weights, progress)


def load_runner(weights: str, device: str | None, engine: str | None = None) -> Runner:
    """The network on its device, or the engine that runs it; an exported folder is an engine already."""
    from maskrcnn.runtime.engine import choose, engine_of, open_export
    from maskrcnn.runtime.exported_folder import is_export

    if is_export(weights):
        runner: Runner = open_export(Path(weights), engine)
    else:
        name = engine or "torch"
        place = device or (_best_device() if name in ("auto", "torch") else "cpu")
        if name != "auto":
            choose(name, "cpu" if name == "torch" else place)  # before the weights are loaded
        runner = engine_of(_to_device(load_network(weights), place), name, say)
    if engine == "auto":
        say(f"engine: {getattr(runner, 'name', 'torch')}")
    return runner


def check_outputs(*paths: Path | None) -> None:
    """Find out before the work, not after it, that a result cannot be written.

    Raises:
        UserError: a path is a folder, or its folder cannot be written.
    """
    for path in filter(None, paths):
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give the name of a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise UserError(f"{path.parent}: not writable; write to another folder")


def recipe_for(data: str) -> str:
    """The recipe when none is named: `quick` for synthetic images.

    Raises:
        UserError: other images, which may want any of the recipes.
    """
    from maskrcnn.weights.shipped_models import shipped_recipes

    if data == "synthetic":
        return "quick"
    raise UserError(f"--recipe: say which recipe to train; shipped: {', '.join(shipped_recipes())}")


def tell_repairs(dataset: Dataset | None) -> None:
    """Print what was repaired while reading: nothing is dropped in silence."""
    if dataset is None:
        return
    for line in dataset.warnings:
        say(f"warning: {line}")
    if dataset.repairs:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(dataset.repairs.items()))
        say(f"warning: {dataset.name}: repaired: {counts}")


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _to_device(model: MaskRCNN, device: str) -> MaskRCNN:
    import torch

    try:
        return model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"--device {device}: cannot be used here: {first}") from None
