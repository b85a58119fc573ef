"""What several verbs share: argument types, the progress bar, loading a model, telling of repairs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskrcnn.config.migrate import setting_of
from maskrcnn.errors import UserError
from maskrcnn.shell import first_of, printable
from maskrcnn.stop import telling

if TYPE_CHECKING:
    from maskrcnn.config.data import DataConfig
    from maskrcnn.config.load import Config
    from maskrcnn.config.model import ModelConfig
    from maskrcnn.labels.options import LabelOptions
    from maskrcnn.labels.types import Dataset
    from maskrcnn.model.mask_rcnn import MaskRCNN
    from maskrcnn.progress import Progress
    from maskrcnn.runtime.engine import Runner

TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def one_of(*names: str) -> Callable[[str], list[str]]:
    """What a shell may complete an option's value to."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def choice(names: str, help: str) -> Any:
    """An option of values as in "cpu|cuda|cuda:N", of which a shell completes those without a capital."""
    fixed = [name for name in names.split("|") if name.islower()]
    return typer.Option(metavar=names, autocompletion=one_of(*fixed), help=help)


def _model_names(incomplete: str) -> list[str]:
    from maskrcnn.weights.published import published_checkpoints
    from maskrcnn.weights.shipped_models import shipped_models

    names = [model.name for model in shipped_models()] + [entry.name for entry in published_checkpoints()]
    return one_of(*names)(incomplete)


def recipe_names(incomplete: str) -> list[str]:
    from maskrcnn.weights.shipped_models import shipped_recipes

    return one_of(AUTO, *shipped_recipes())(incomplete)


MODEL_HELP = (
    "A shipped model (person-efficientnet, person-mobilenet, nuclei-mobilenet), model folder, run folder or"
    " published checkpoint (see: maskrcnn models)."
)
AUTO = "auto"  # the recipe that is chosen from the data
RECIPES = (
    "auto|nuclei-mobilenet|person-efficientnet|person-mobilenet|quick|faster-r50-fpn-1x|r50-c4-1x|r50-fpn-1x|"
    "r50-fpn-3x|r101-fpn-3x|x101-fpn-3x|r50-fpn-keypoint-3x|r50-fpn-lsj-100ep|FILE"
)
Weights = Annotated[str, typer.Argument(metavar="WEIGHTS", help=MODEL_HELP, autocompletion=_model_names)]
Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="A label file, a folder of labelled images, or the word synthetic."),
]
ClassName = Annotated[
    str | None,
    typer.Option(
        "--class", metavar="NAME", help="The class, where labels have no class names. [default: object]"
    ),
]
ClassAttribute = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The attribute that is the class, where objects have several (VIA, QuPath)."
    ),
]
SplitParts = Annotated[
    bool,
    typer.Option("--split-parts", help="Take each separate part of a number in a label image for an object."),
]
Images = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder of the images. [default: looked for beside the labels]"),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        metavar=RECIPES,
        autocompletion=recipe_names,
        help="A shipped recipe (maskrcnn models says what they train) or a YAML file. [default: auto, which"
        " fits the data]",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, as in train.epochs=20. Repeatable."),
]
LabelSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change data.classes, data.other_classes or data.crowds (docs/settings.md). Repeatable.",
    ),
]
EngineName = Annotated[
    str | None,
    choice(
        "torch|openvino|onnxruntime|auto",
        "What runs the network; auto is the fastest installed."
        " [default: torch, or what WEIGHTS was exported for]",
    ),
]
Device = Annotated[
    str | None, choice("cpu|cuda|cuda:N|mps", "Where PyTorch runs. [default: the fastest there is]")
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Read a .pt2 (an export for torch). It is code and can do all that you can: only if you made it"
        " or trust who did.",
    ),
]

Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Test-time augmentation: look at each image mirrored and at other sizes too and merge what is"
        " found; about four times as slow.",
    ),
]


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A progress bar on stderr, shown from the first call of its callback (done, total) on."""
    from rich import progress as bar
    from rich.console import Console

    columns = (
        bar.TextColumn("{task.description}"),
        bar.BarColumn(),
        bar.MofNCompleteColumn(),
        bar.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    bars = bar.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bars.add_task(title, total=None)

    def update(done: int, total: int | None) -> None:
        bars.start()  # at the first call, so that work without steps shows nothing
        bars.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        if bars.live.is_started:
            bars.stop()


@contextmanager
def told_progress(title: str, line: Callable[[int, int | None], str]) -> Iterator[Progress]:
    """A progress bar; where the work is stopped, `line(done, total)` says how far it came."""
    reached: tuple[int, int | None] = (0, None)

    def update(done: int, total: int | None) -> None:
        nonlocal reached
        reached = done, total
        progress(done, total)

    with progress_bar(title) as progress, telling(lambda: line(*reached)):
        yield update


def say(*lines: str) -> None:
    """Tell what is being done, on stderr."""
    for line in lines:
        print(printable(line), file=sys.stderr)


def tell_score(asked: float | None, config: ModelConfig) -> None:
    """Say from which score objects are kept, where nobody asked for one and it is not the usual one."""
    from maskrcnn.config.model import USUAL_SCORE

    if asked is None and config.test.kept_score != USUAL_SCORE:
        say(f"objects are kept from a score of {config.test.kept_score:g} on; --score asks for another")


def tell_names_without_font(names: list[str]) -> None:
    """Say which class names will be drawn as \\uXXXX, and what helps."""
    from maskrcnn.images.font import VARIABLE, names_without_font

    lacking = names_without_font(names)
    if lacking:
        say(
            f"warning: no font here has all letters of {first_of(lacking, 3)}: drawn as \\uXXXX;"
            f" install a font (fonts-noto) or name one in the environment: {VARIABLE}=FILE.ttf"
        )


def load_network(weights: str) -> MaskRCNN:
    """The network; a published one is downloaded at its first use, with a progress bar."""
    from maskrcnn.weights.load import load_model

    with progress_bar("downloading") as progress:
        return load_model(weights, progress)


def load_runner(
    weights: str,
    device: str | None,
    engine: str | None = None,
    *,
    trust_code: bool = False,
    compiled: Callable[[MaskRCNN], Runner] | None = None,
) -> Runner:
    """The network on its device, or the engine that runs it; an exported folder is an engine already.

    Args:
        trust_code: read an exported folder of a .pt2, which is code.
        compiled: makes what runs the network, in place of an engine.
    """
    from maskrcnn.export.load_runner import open_runner

    if compiled is not None:
        refuse_options({"--engine": engine}, "has no effect beside --compile, which is PyTorch's own")
    with progress_bar("downloading") as progress:
        return open_runner(
            weights, device, engine, trust_code=trust_code, compiled=compiled, say=say, progress=progress
        )


def refuse_swapped(weights: str, other: str) -> None:
    """Refuse a model in the place of what it is for, and that in its own."""
    from maskrcnn.runtime.exported_folder import is_export
    from maskrcnn.weights.store import find_model

    def is_model(word: str) -> bool:
        try:
            find_model(word)
        except UserError:
            return is_export(word)
        return True

    if Path(weights).exists() and not is_model(weights) and is_model(other):
        raise UserError(f"{weights}: no model, but {other} is one; the model comes first")


def augmented(runner: Runner) -> Runner:
    """The same with test-time augmentation."""
    from maskrcnn.predict.augment import Augmented

    return Augmented(runner)


def label_options(
    class_name: str | None,
    images: Path | None,
    class_attribute: str | None,
    split_parts: bool,
    set_: list[str] | None,
    recipe: str | None = None,
) -> LabelOptions:
    """What the options of the command line say of the labels.

    Args:
        recipe: whose settings they change.

    Raises:
        UserError: a setting that is about something else, or none.
    """
    from maskrcnn.labels.options import LABEL_SETTINGS, LabelOptions

    for setting in set_ or []:
        if setting_of(setting) not in LABEL_SETTINGS:
            only = ", ".join(LABEL_SETTINGS)
            raise UserError(f"--set {setting}: here only {only} can be set; leave it out")
    data = label_data(recipe or AUTO, set_) if recipe or set_ else None
    return LabelOptions(class_name, images, class_attribute, split_parts, data)


def label_data(recipe: str, set_: list[str] | None) -> DataConfig:
    """The settings that labels are opened with: a recipe's or, where it is chosen from them, those that are
    set.
    """
    from maskrcnn.config.load import load_config
    from maskrcnn.labels.options import LABEL_SETTINGS

    if recipe != AUTO:
        return load_config(recipe, set_).data
    return load_config({}, [each for each in set_ or [] if setting_of(each) in LABEL_SETTINGS]).data


def refuse_options(options: dict[str, object], reason: str) -> None:
    """Refuse options that would be ignored: those of `options` that were given, by name.

    Raises:
        UserError: names the first, and why it has no effect.
    """
    for name, value in options.items():
        if value not in (None, False):
            raise UserError(f"{name}: {reason}; leave it out")


def share_of(option: str, text: str) -> tuple[int, int]:
    """I and N of `I/N`, I from 1.

    Raises:
        UserError: it is none; names `option`.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"{option} {text:.40}: write it as 1/4, 2/4 and so on")
    return int(found[1]), int(found[2])


def seconds_of(option: str, text: str) -> float:
    """Seconds of a time as it is typed: 30m, 2h, 1h30m, 90s.

    Raises:
        UserError: none of these, or 0; names `option`.
    """
    found = TIME.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0,) * 3
    total = 3600 * hours + 60 * minutes + seconds
    if not 0 < total < 1e8:
        raise UserError(f"{option} {text}: write it as 30m, 2h, 1h30m or 90s")
    return total


def recipe_for(data: str, recipe: str | None) -> str:
    """The recipe; when none is named `auto`, which is chosen from the data; of synthetic images `quick`."""
    return recipe or ("quick" if data == "synthetic" else AUTO)


def choose_settings(
    source: str,
    data: str,
    train: Dataset,
    val: Dataset | None,
    set_: list[str] | None,
    options: LabelOptions,
    seconds: float | None = None,
) -> tuple[Config, str]:
    """The settings of a recipe; of `auto` with each choice told, and with their text as a recipe. Of several
    processes the first chooses.
    """
    from maskrcnn.config.load import load_config

    if source != AUTO:
        return load_config(source, set_), ""
    from maskrcnn.check.advice import Advice, recipe_text
    from maskrcnn.check.auto import choose
    from maskrcnn.train.setup import of_first

    def told() -> Advice:
        advice = choose(data, train, val, asked=set_ or [], seconds=seconds, options=options)
        say(*(f"auto: {line}" for line in advice.reasons))
        return advice

    advice = of_first(told)
    return advice.config, recipe_text(advice.config, advice.reasons)


def tell_repairs(dataset: Dataset | None) -> None:
    """Print what was repaired while reading: nothing is dropped in silence."""
    say(*(f"warning: {line}" for line in ([] if dataset is None else dataset.problems.lines())))
