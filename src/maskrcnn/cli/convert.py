"""`maskrcnn convert weights` and `maskrcnn convert data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from maskrcnn.cli.common import (
    ClassAttribute,
    ClassName,
    Data,
    Images,
    LabelSettings,
    SplitParts,
    choice,
    label_options,
    load_network,
    refuse_options,
    say,
    tell_repairs,
)
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.cli.verb import Verb
from maskrcnn.errors import UserError
from maskrcnn.files import locked
from maskrcnn.shell import counted, printable

if TYPE_CHECKING:
    from maskrcnn.weights.convert import Style

DATA_FORMATS = ("coco", "yolo", "labelme", "cvat", "label-studio", "voc", "geojson", "instance-png", "labels")

app = typer.Typer(
    name="convert",
    help="Convert models and labels from and to other tools.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(cls=Verb)
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
        typer.Option(
            help="detectron2's YAML or mmdetection's .py, or the name of a published checkpoint with the "
            "same settings."
        ),
    ] = None,
    style: Annotated[str | None, choice("pytorch|caffe", "Pixel format of an mmdetection model.")] = None,
    classes: Annotated[Path | None, typer.Option(help="A text file with one class name per line.")] = None,
    to: Annotated[str | None, choice("torchvision|detectron2", "Convert to that library instead.")] = None,
) -> None:
    """Convert checkpoints from other libraries or, with --to, to them.

    From torchvision, detectron2 and mmdetection; to torchvision and detectron2.
    """
    settings: dict[str, object] = {"--config": config, "--style": style, "--classes": classes}
    if to is not None:
        refuse_options(settings, "is for reading another library's checkpoint, and --to writes one")
        _write_checkpoint(source, to, out)
        return
    from maskrcnn.weights.convert import convert_file
    from maskrcnn.weights.published import is_published
    from maskrcnn.weights.store import WEIGHTS, save_model

    folder = out or Path(Path(source).stem)
    check_outputs(folder, kind="folder")
    check_outputs(folder / WEIGHTS, inputs=[source])
    if is_published(source) and not Path(source).exists():
        refuse_options(settings, f"{source} is published with its own settings and classes")
        model = load_network(source)
    else:
        model = convert_file(source, config, style=_style(style), classes=_class_names(classes))
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", wait=False):  # two at once would leave one's settings with other weights
        save_model(model, folder, card=f"# {folder.name}\n\nConverted from {source}\n")
    finds = [
        "boxes",
        *(["masks"] if model.mask_head else []),
        *(["keypoints"] if model.keypoint_head else []),
    ]
    kind = f"{model.config.backbone.kind}-{model.config.neck.kind}"
    print(printable(f"{kind}, {counted(len(model.config.classes), 'class')}, {', '.join(finds)}: {folder}"))


def _write_checkpoint(source: str, to: str, out: Path | None) -> None:
    """Ours for another library, and what that has no place for."""
    from maskrcnn.weights.convert import SUFFIXES, export_file
    from maskrcnn.weights.store import CONFIG, WEIGHTS

    if to not in SUFFIXES:
        raise UserError(f"--to {to}: there are {' and '.join(SUFFIXES)}")
    file = out or Path(f"{Path(source).name}.{SUFFIXES[to]}")
    read: list[str | Path] = [source, *(Path(source) / name for name in (WEIGHTS, CONFIG))]  # of a folder
    check_outputs(file, file.with_suffix(".yaml") if to == "detectron2" else None, inputs=read)
    for line in export_file(load_network(source), to, file):
        print(printable(f"warning: {to} works differently: {line}"))
    settings = f"; its settings: {file.with_suffix('.yaml')}" if to == "detectron2" else ""
    print(printable(f"{file}: for {to}{settings}"))


def _style(style: str | None) -> Style | None:
    from maskrcnn.weights.convert import STYLES

    if style is not None and style not in STYLES:
        raise UserError(f"--style {style}: there are {' and '.join(STYLES)}")
    return cast("Style | None", style)


def _class_names(path: Path | None) -> list[str] | None:
    """The lines of a text file."""
    from maskrcnn.labels.readers.text_lines import read_lines

    return None if path is None else read_lines(path)


@app.command(cls=Verb)
def data(
    source: Data,
    to: Annotated[str, choice("|".join(DATA_FORMATS), "The format to write.")],
    out: Annotated[Path, typer.Option(help="A new folder for labels and images.")],
    class_name: ClassName = None,
    images: Images = None,
    class_attribute: ClassAttribute = None,
    split_parts: SplitParts = False,
    channels: Annotated[
        int, typer.Option(min=1, help="Of the images; more than 3 lets the pages of a TIFF be its channels.")
    ] = 3,
    set_: LabelSettings = None,
) -> None:
    """Convert labelled images to another tool's format."""
    check_outputs(out, kind="new folder")
    from maskrcnn.labels.convert import convert_data

    options = label_options(class_name, images, class_attribute, split_parts, set_)
    datasets, lost = convert_data(source, to, out, options, channels)
    for dataset in datasets.values():
        tell_repairs(dataset)
    for line in lost:
        say(f"warning: {line}")
    print(printable(f"{counted(sum(len(dataset) for dataset in datasets.values()), 'image')} as {to}: {out}"))
