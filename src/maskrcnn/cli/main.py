"""The verbs of the command line, each a thin call. Nothing heavy is imported before a verb needs it: `--help` is instant.

Exit codes: 0 done, 2 a wrong argument, setting, path or environment, 3 images or labels that cannot be used (a prediction
that skipped unreadable images included), 130 interrupted. Each of them comes with one line on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskrcnn.allocator import keep_freed_memory
from maskrcnn.errors import UserError
from maskrcnn.threads import sleep_when_waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from maskrcnn.labels.types import Dataset
    from maskrcnn.model.mask_rcnn import MaskRCNN
    from maskrcnn.predict.predictor import Summary
    from maskrcnn.runtime.engine import Runner

app = typer.Typer(
    name="maskrcnn",
    help="Find, outline and pose the objects in images with Mask R-CNN. Start with: maskrcnn demo",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Weights = Annotated[str, typer.Argument(metavar="WEIGHTS", help="A shipped model, run folder or weights.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A COCO .json, a folder of labelled images, or: synthetic.")]
EngineName = Annotated[
    str | None,
    typer.Option(
        help="torch, openvino, onnxruntime, or auto: the fastest installed. [default: torch, or WEIGHTS' own]"
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; the best there is unless given.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The image to write.")] = Path("maskrcnn-demo.png"),
    model: Annotated[str, typer.Option(help="A shipped model, run folder or weights.")] = "person-mobilenet",
) -> None:
    """Find the people in a real photograph."""
    from maskrcnn.cli.demo import run_demo

    run_demo(out, model)


@app.command()
def train(
    data: Data,
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe (see: maskrcnn models) or a YAML file.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, as in train.epochs=20. Repeatable."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run. [default: a new one under runs/]")] = None,
    val: Annotated[str | None, typer.Option(help="Labelled images to evaluate on, when DATA has none.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --run stopped.")] = False,
) -> None:
    """Train a model on labelled images."""
    from maskrcnn.config.load import load_config

    if resume and run is None:
        raise UserError("--resume: say which run to go on with: --run FOLDER")
    source = recipe or _recipe_of(data, run if resume else None)
    config = load_config(source, set_)
    folder = run or _new_run_folder(source)

    from maskrcnn.labels.open import open_dataset, open_pair
    from maskrcnn.train import trainer
    from maskrcnn.training_data.fill_config import fill_config
    from maskrcnn.training_data.prepare import fit_images

    train_data, val_data = open_pair(data)
    if val is not None:
        val_data = open_dataset(val, "val")
    for dataset in (train_data, val_data):
        _tell_repairs(dataset)
    with _progress("decoding large images") as progress:
        train_data, val_data, lines = fit_images(config, train_data, val_data, progress)
    for line in lines:
        print(line, file=sys.stderr)
    command = " ".join(["maskrcnn", *sys.argv[1:]])
    trainer.train(fill_config(config, train_data), train_data, val_data, folder, resume=resume, command=command)


@app.command()
def evaluate(
    weights: Weights,
    data: Data,
    json: Annotated[Path | None, typer.Option(help="Write the figures here, in percent.")] = None,
    results: Annotated[Path | None, typer.Option(help="Write the detections here, as a COCO results file.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    device: Device = None,
    engine: EngineName = None,
) -> None:
    """Measure COCO AP of boxes, masks and keypoints."""
    _refuse_unwritable(json, results)
    from maskrcnn.evaluate.coco import comparable_kinds, find_all, score_results
    from maskrcnn.evaluate.report import print_scores, write_results, write_scores
    from maskrcnn.labels.channels import with_channels
    from maskrcnn.labels.open import open_dataset

    dataset = open_dataset(data, "val")
    _tell_repairs(dataset)
    model = _load(weights, device, engine)
    dataset = with_channels(dataset, model.config.input.channels)
    kinds, notes = comparable_kinds(model, dataset)
    with _progress("evaluating") as progress:
        found = list(find_all(model, dataset, batch=batch, workers=workers, progress=progress))
    if results:
        write_results(found, results)
    scores = score_results(dataset, found, kinds, most=model.config.test.detections)
    scores.notes = notes + scores.notes
    print_scores(scores)
    if json:
        write_scores(scores, json)


@app.command()
def predict(
    weights: Weights,
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Images, folders of images, or globs.")],
    out: Annotated[Path, typer.Option(help="Folder for the overlays and results.json.")] = Path("predictions"),
    score: Annotated[float, typer.Option(min=0, max=1, help="Show what the model is at least so sure of.")] = 0.5,
    device: Device = None,
    engine: EngineName = None,
) -> int:
    """Find objects in images and draw them."""
    from maskrcnn.images.read import find_images
    from maskrcnn.predict.predictor import predict_files

    # before the weights are loaded: a mistyped path should not have to wait for them
    find_images(sources)
    model = _load(weights, device, engine)
    with _progress("predicting") as progress:
        summary = predict_files(model, sources, out, score=score, progress=progress)
    return _tell_summary(summary)


@app.command()
def export(
    weights: Weights,
    to: Annotated[str, typer.Option(help="openvino, onnx or torch.")],
    out: Annotated[Path | None, typer.Option(help="A new folder. [default: NAME-openvino and the like]")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise to 8 bits; needs --calibrate.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(metavar="DATA", help="Images of the kind the model is for, as for train.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images of --calibrate to look at, at most.")] = 300,
) -> None:
    """Write the whole network as one graph for another engine."""
    from maskrcnn.export.run import run_export

    folder = out or Path(f"{Path(weights).name}-{to}{'-int8' if int8 else ''}")
    run_export(lambda: _load_weights(weights), to, folder, weights, int8, calibrate, images)
    print(f"exported: {folder}")


@app.command()
def check(
    data: Data,
    json: Annotated[Path | None, typer.Option(help="Write the report here as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report here as a page with images.")] = None,
    val: Annotated[str | None, typer.Option(help="Labelled images to check as the val split.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Advise on this recipe.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels to read, as for model.input.channels.")] = None,
    fix: Annotated[Path | None, typer.Option(help="Write a repaired copy into this new folder.")] = None,
    steps: Annotated[bool, typer.Option(help="Run two training steps to tell time and memory.")] = True,
) -> int:
    """Check labelled images before they cost an hour."""
    _refuse_unwritable(json, html)
    from maskrcnn.check.fix import write_fixed
    from maskrcnn.check.run import check as run_check
    from maskrcnn.check.run import print_report, write_reports

    with _progress("checking") as progress:
        report = run_check(data, val=val, recipe=recipe, channels=channels, measured=steps, progress=progress)
    print_report(report)
    write_reports(report, json, html)
    if fix is not None:
        fixed = write_fixed(report, fix)
        for path in fixed.written:
            print(f"repaired copy: {path}")
        for change, count in fixed.changes.items():
            print(f"  {change}: {count}")
    if report.exit_code:
        _fail(report.verdict, report.exit_code)
    return report.exit_code


@app.command()
def samples(
    data: Data,
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe (see: maskrcnn models) or a YAML file.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, as in data.augment.rotate=15. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The image to write.")] = Path("samples.jpg"),
    count: Annotated[int, typer.Option(min=1, help="Samples to draw.")] = 16,
) -> None:
    """Draw what training would see: augmented images with their labels, on one sheet."""
    _refuse_unwritable(out)
    from maskrcnn.config.load import load_config
    from maskrcnn.labels.open import open_pair
    from maskrcnn.train.sample_sheet import draw_sheet
    from maskrcnn.training_data.fill_config import fill_config
    from maskrcnn.training_data.prepare import fit_images

    config = load_config(recipe or _recipe_of(data, None), set_)
    dataset, _ = open_pair(data)
    _tell_repairs(dataset)
    with _progress("decoding large images") as progress:
        dataset, _, _ = fit_images(config, dataset, progress=progress)
    draw_sheet(dataset, fill_config(config, dataset), count).save(out, quality=90)
    print(f"{count} training samples of {dataset.name}: {out}")


@app.command()
def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="A new folder for train.json, val.json and test.json.")],
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of the images to evaluate on.")] = 0.2,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of the images to keep for a last test.")] = 0.0,
    by: Annotated[str, typer.Option(help="random, stratified (each class alike) or group.")] = "random",
    group_pattern: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Images of one group have this, its first ( ), in common.")
    ] = None,
    groups: Annotated[str | None, typer.Option(help="folder, duplicates, or a CSV file of file_name,group.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another split.")] = 0,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the images in place of a link to them.")] = False,
) -> None:
    """Split labelled images into train, val and test."""
    from maskrcnn.labels.split import Grouping, print_split, split_data

    with _progress("comparing images") as progress:
        parts = split_data(
            data,
            out,
            val=val,
            test=test,
            by=by,
            grouping=Grouping(group_pattern, groups),
            seed=seed,
            copy=copy,
            progress=progress,
        )
    _tell_repairs(next(iter(parts.values())))
    print_split(parts)
    print(f"{' and '.join(f'{name}.json' for name in parts)}: {out}")


convert_app = typer.Typer(
    name="convert",
    help="Bring models and labels here, or take them elsewhere.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(convert_app)


@convert_app.command("weights")
def convert_weights(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A checkpoint file or published name; with --to, a model of ours.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write, or with --to the file.")] = None,
    config: Annotated[
        str | None,
        typer.Option(help="detectron2's yaml, or the published name of a checkpoint with the same settings."),
    ] = None,
    style: Annotated[str | None, typer.Option(help="mmdetection's style of the trunk: pytorch or caffe.")] = None,
    classes: Annotated[Path | None, typer.Option(help="A text file with one class name per line.")] = None,
    to: Annotated[str | None, typer.Option(help="Write for torchvision or detectron2 instead.")] = None,
) -> None:
    """Convert a checkpoint of torchvision, detectron2 or mmdetection, or ours into one of theirs."""
    from maskrcnn.weights import convert

    if to is not None:
        convert.run_export(
            _load_weights(source), to, out or Path(f"{Path(source).name}.{convert.SUFFIXES.get(to, '')}")
        )
    else:
        with _progress("downloading") as progress:
            model = convert.run_import(source, config, style, classes, progress)
        convert.run_save(model, source, out or Path(Path(source).stem))


@convert_app.command("data")
def convert_labels(
    source: Data,
    to: Annotated[str, typer.Option(help="coco, yolo, labelme, voc or instance-png.")],
    out: Annotated[Path, typer.Option(help="A new folder for labels and images.")],
) -> None:
    """Write labelled images in another tool's form."""
    from maskrcnn.labels.convert import convert_data

    datasets, lost = convert_data(source, to, out)
    for dataset in datasets.values():
        _tell_repairs(dataset)
    for line in lost:
        print(f"warning: {line}", file=sys.stderr)
    print(f"{sum(len(dataset) for dataset in datasets.values())} images as {to}: {out}")


@app.command()
def models() -> None:
    """List the shipped models, the recipes and the published checkpoints that can be brought."""
    from maskrcnn.weights.shipped_models import print_models

    print_models()


@app.command()
def env() -> None:
    """Print versions, devices and threads."""
    from maskrcnn.environment import print_environment

    print_environment()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; what a user did wrong becomes one line on stderr.

    Any other exception is a defect and keeps its traceback.
    """
    keep_freed_memory()
    sleep_when_waiting()
    try:
        return int(app(args=arguments, prog_name="maskrcnn", standalone_mode=False) or 0)
    except UserError as error:
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # the reader of our output has gone, as in `maskrcnn models | head`; keep the interpreter's last flush quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        line = _environment_line(error)
        if line is None:
            raise
        return _fail(line, UserError.exit_code)
    except Exception as error:
        if _is_usage_error(error):
            return _usage(error)
        if type(error).__name__ == "OutOfMemoryError":
            return _fail(f"out of memory on the device; use smaller images or batches: {error}", UserError.exit_code)
        raise


def _fail(message: str, code: int) -> int:
    print(f"maskrcnn: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _environment_line(error: OSError) -> str | None:
    """A line for what only the user can mend, such as a full disk; None for what is a defect of ours."""
    import errno

    remedies = {
        errno.ENOSPC: "free some space or write elsewhere",
        errno.EDQUOT: "free some of your quota or write elsewhere",
        errno.EROFS: "write to another folder",
        errno.EACCES: "check its permissions or use another path",
        errno.EPERM: "check its permissions or use another path",
        errno.ENOENT: "use a path that exists",
        errno.ENOTDIR: "a file is where a folder should be; use another path",
        errno.EISDIR: "a folder is where a file should be; use another path",
        errno.EEXIST: "a file is where a folder should be; use another path",
        errno.ENAMETOOLONG: "use a shorter path",
        errno.EMFILE: "too many files are open; use fewer workers or raise ulimit -n",
    }
    if error.errno not in remedies:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; {remedies[error.errno]}"


def _is_usage_error(error: Exception) -> bool:
    # typer carries its own copy of click since 0.2x and has no public name for the base class of usage errors
    return any(kind.__name__ == "ClickException" for kind in type(error).__mro__)


def _usage(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
        return UserError.exit_code
    context = getattr(error, "ctx", None)
    helper = f"{context.command_path} --help" if context is not None else "maskrcnn --help"
    return _fail(f"{error.format_message().rstrip('.')}; see {helper}", UserError.exit_code)


def _recipe_of(data: str, resumed: Path | None) -> str | Path:
    """The recipe when none is named: the resumed run's own settings, or `quick` for synthetic images."""
    if resumed is not None:
        settings = resumed / "config.yaml"
        if not settings.is_file():
            raise UserError(f"--resume: {resumed} is no run folder: it has no config.yaml")
        return settings
    if data == "synthetic":
        return "quick"
    names = sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml"))
    raise UserError(f"--recipe: say which recipe to train; shipped: {', '.join(names)}")


def _new_run_folder(recipe: str | Path) -> Path:
    """The first of runs/RECIPE-1, runs/RECIPE-2 ... that does not exist."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--run: several processes must agree on the run folder, so name it: --run FOLDER")
    stem = Path(recipe).stem
    number = 1
    while (folder := Path("runs") / f"{stem}-{number}").exists():
        number += 1
    return folder


def _load_weights(weights: str) -> MaskRCNN:
    """The model; a published one is downloaded at its first use, with a bar."""
    from maskrcnn.weights.store import load_model

    with _progress("loading") as progress:
        return load_model(weights, progress)


def _load(weights: str, device: str | None, engine: str | None = None) -> Runner:
    """The model on its device, or what runs it; an exported folder is an engine already."""
    from maskrcnn.runtime.engine import choose, engine_of, open_export
    from maskrcnn.runtime.exported_folder import is_export

    if is_export(weights):
        runner: Runner = open_export(Path(weights), engine)
    else:
        named = engine or "torch"
        place = device or (_best_device() if named in ("auto", "torch") else "cpu")
        if named != "auto":
            choose(named, "cpu" if named == "torch" else place)  # before the weights are loaded
        runner = engine_of(_to_device(_load_weights(weights), place), named, lambda line: print(line, file=sys.stderr))
    if engine == "auto":
        print(f"engine: {getattr(runner, 'name', 'torch')}", file=sys.stderr)
    return runner


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


def _refuse_unwritable(*paths: Path | None) -> None:
    """Find out before the work, not after it, that a result cannot be written."""
    for path in filter(None, paths):
        if path.is_dir():
            raise UserError(f"{path}: is a folder; give the name of a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise UserError(f"{path.parent}: not writable; write to another folder")


def _tell_repairs(dataset: Dataset | None) -> None:
    """Print what was repaired on reading: nothing is dropped in silence."""
    if dataset is None:
        return
    for line in dataset.warnings:
        print(f"warning: {line}", file=sys.stderr)
    if dataset.repairs:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(dataset.repairs.items()))
        print(f"warning: {dataset.name}: repaired: {counts}", file=sys.stderr)


def _tell_summary(summary: Summary) -> int:
    """Print what a prediction did, and name the images that could not be read; its exit code."""
    found = ", ".join(f"{count} {name}" for name, count in summary.objects.most_common()) or "nothing"
    print(f"found {found} in {_images(len(summary.overlays))}: {summary.results.parent}")
    for line in summary.unreadable:
        print(f"warning: {line}", file=sys.stderr)
    if summary.unreadable:
        _fail(f"skipped {_images(len(summary.unreadable))} that could not be read", summary.exit_code)
    return summary.exit_code


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on stderr, from the first call of its callback (done, total) on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task(title, total=None)

    def tell(done: int, total: int | None) -> None:
        bars.start()  # at the first call, so that work which has no steps shows nothing
        bars.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        if bars.live.is_started:
            bars.stop()
