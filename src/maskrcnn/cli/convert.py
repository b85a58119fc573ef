"""`maskrcnn convert weights` and `maskrcnn convert data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn.cli.common import Data, load_network, progress_bar, say, tell_repairs

app = typer.Typer(
    name="convert",
    help="Convert models and labels from and to other tools.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def weights(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A checkpoint file or published name; with --to, a model of this package."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The folder to write; with --to, the file.")] = None,
    config: Annotated[
        str | None,
        typer.Option(help="detectron2's YAML, or the name of a published checkpoint with the same settings."),
    ] = None,
    style: Annotated[str | None, typer.Option(help="Pixel format of an mmdetection model: pytorch or caffe.")] = None,
    classes: Annotated[Path | None, typer.Option(help="A text file with one class name per line.")] = None,
    to: Annotated[str | None, typer.Option(help="Convert to torchvision or detectron2 instead.")] = None,
) -> None:
    """Convert a checkpoint of torchvision, detectron2 or mmdetection; with --to, convert to one."""
    from maskrcnn.weights import convert

    if to is not None:
        file = out or Path(f"{Path(source).name}.{convert.SUFFIXES.get(to, '')}")
        convert.run_export(load_network(source), to, file)
    else:
        with progress_bar("downloading") as progress:
            model = convert.run_import(source, config, style, classes, progress)
        convert.run_save(model, source, out or Path(Path(source).stem))


@app.command()
def data(
    source: Data,
    to: Annotated[str, typer.Option(help="coco, yolo, labelme, voc or instance-png.")],
    out: Annotated[Path, typer.Option(help="A new folder for labels and images.")],
) -> None:
    """Convert labelled images to another tool's format."""
    from maskrcnn.labels.convert import convert_data

    datasets, lost = convert_data(source, to, out)
    for dataset in datasets.values():
        tell_repairs(dataset)
    for line in lost:
        say(f"warning: {line}")
    print(f"{sum(len(dataset) for dataset in datasets.values())} images as {to}: {out}")
