"""`maskrcnn predict`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskrcnn.cli.common import (
    Device,
    EngineName,
    TrustCode,
    Tta,
    Weights,
    augmented,
    choice,
    load_runner,
    one_of,
    progress_bar,
    refuse_options,
    refuse_swapped,
    say,
    tell_names_without_font,
    tell_score,
)
from maskrcnn.cli.outputs import check_outputs
from maskrcnn.cli.predict_shards import WHERE, Block, MaxFailures, Ray, Shard, predict_in_parts
from maskrcnn.cli.predict_videos import (
    AllowNetwork,
    Count,
    Fps,
    Track,
    find_videos,
    named_on_stdin,
    predict_and_tell,
)
from maskrcnn.cli.value_range import ValueRangeOption, parse_value_range, set_value_range
from maskrcnn.errors import DataError, UserError
from maskrcnn.shell import counted, printable

if TYPE_CHECKING:
    from maskrcnn.cli.value_range import Wanted
    from maskrcnn.model.mask_rcnn import MaskRCNN
    from maskrcnn.predict.files import Summary
    from maskrcnn.predict.sources import Sources
    from maskrcnn.runtime.engine import Runner

MOST_LINES = 10  # about images
DEFAULT_SIMPLIFY = 0.5  # pixels
TABLES = ("csv", "parquet", "summary")
LABELS = ("labelme", "label-studio", "cvat", "yolo", "coco-dataset", "labels", "geojson", "map")

Tiles = Annotated[
    str,
    choice(
        "auto|off|SIDE",
        "Large images in overlapping tiles: auto where objects would become too small for the model,"
        " SIDE pixels wherever an image is larger.",
    ),
]
Save = Annotated[
    str,
    typer.Option(
        metavar="overlay,csv,...",
        autocompletion=one_of("overlay", *TABLES, *LABELS),
        help="What to write besides results.json, separated by commas: overlay, each image with its"
        " objects drawn; csv or parquet, tables of objects (size, shape, brightness) and of images (counts);"
        " summary, that of images alone; to be corrected: labelme, label-studio, cvat, yolo, coco-dataset;"
        " labels, label images; geojson, for QuPath; map, the same in the coordinates of a GeoTIFF.",
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        min=1e-9, max=1e9, metavar="UM_PER_PIXEL", help="Adds micrometres to the tables of --save csv."
    ),
]
Simplify = Annotated[
    float,
    typer.Option(
        min=0,
        max=1e6,
        metavar="PIXELS",
        help="How far outlines that people edit (labelme, label-studio, cvat, yolo, geojson, map) may be off"
        " the mask, for fewer points.",
    ),
]
Pages = Annotated[
    bool, typer.Option("--pages", help="Each page of a TIFF stack is an image, called name[1], name[2], ...")
]

Batch = Annotated[
    int, typer.Option(min=1, max=1024, help="Images of one shape that go through the network together.")
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the network for batches of --batch images and a few shapes: on a GPU, for many images.",
    ),
]
Bf16 = Annotated[bool, typer.Option("--bf16", help="With --compile: compute in bfloat16.")]
NoOverlay = Annotated[
    bool, typer.Option("--no-overlay", help="Draw nothing, which is faster: --save without overlay.")
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume",
        help="Go on with what is missing where --out has results of the same command that was stopped; or"
        " replace what it holds.",
    ),
]


def predict(
    weights: Weights,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Images, folders of images, or globs; - for paths on standard input; or videos, the number"
            " of a camera, addresses of streams.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the overlays and results.json.")] = Path(
        "predictions"
    ),
    score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Keep objects with at least this score. [default: the model's own]"),
    ] = None,
    tiles: Tiles = "auto",
    pages: Pages = False,
    save: Save = "overlay",
    scale: Scale = None,
    simplify: Simplify = DEFAULT_SIMPLIFY,
    no_overlay: NoOverlay = False,
    resume: Resume = True,
    json: Annotated[Path | None, typer.Option(help="Write what was found and told to this file too.")] = None,
    batch: Batch = 1,
    compile: Compile = False,
    bf16: Bf16 = False,
    shard: Shard = None,
    ray: Ray = None,
    block: Block = None,
    max_failures: MaxFailures = None,
    tta: Tta = False,
    track: Track = False,
    count: Count = None,
    fps: Fps = None,
    allow_network: AllowNetwork = False,
    device: Device = None,
    engine: EngineName = None,
    trust_code: TrustCode = False,
    value_range: ValueRangeOption = None,
) -> None:
    """Find the objects in images or videos and draw them."""
    check_outputs(out, kind="folder")
    if json:
        check_outputs(json, out / "results.json", out / "journal.jsonl")
        _check_report(json, out)
    wanted = parse_value_range(value_range)
    refuse_swapped(weights, sources[0])
    runner: dict[str, Any] = {"device": device, "engine": engine, "trust_code": trust_code}
    if shard is not None or ray is not None:
        others: dict[str, object] = {"--save": save != "overlay", "--scale": scale, "--pages": pages}
        others |= {"--simplify": simplify != DEFAULT_SIMPLIFY, "--json": json, "--no-resume": not resume}
        others |= {"--track": track, "--count": count, "--fps": fps, "--compile": compile, "--bf16": bf16}
        refuse_options(others, "has no effect with --shard and --ray, which write a row an image")
        parts: dict[str, Any] = {"shard": shard, "ray": ray, "block": block, "max_failures": max_failures}
        parts |= {"tiles": tiles, "score": score, "tta": tta, "batch": batch, "allow_network": allow_network}
        predict_in_parts(weights, sources, out, value_range=wanted, **parts, **runner)
        return
    refuse_options({"--block": block, "--max-failures": max_failures}, WHERE)
    from maskrcnn.predict.large import read_tiles
    from maskrcnn.predict.sources import Sources, find_sources

    kinds = _kinds(save, scale, no_overlay)
    options = {"score": score, "tiles": read_tiles(tiles), "save": kinds, "scale": scale, "resume": resume}
    # before the weights are loaded: a mistyped path should not have to wait for them
    sources = named_on_stdin(sources)
    videos = find_videos(sources, kinds, track=track, count=count, fps=fps, allow_network=allow_network)
    if videos:
        others = {"--json": json, "--pages": pages, "--batch": batch > 1}
        refuse_options(others | {"--simplify": simplify != DEFAULT_SIMPLIFY}, "is for images")
        found = Sources([path for video in videos for path in video.images], [])
    else:
        found = find_sources(sources)
    check_outputs(json, inputs=found.images)
    if compile:
        refuse_options({"--tta": tta}, "looks at each image at other sizes than --compile makes graphs for")
        runner["compiled"] = partial(_compiled, batch=batch, bf16=bf16)
    else:
        refuse_options({"--bf16": bf16}, "is for --compile")
    model = _load(weights, found, wanted, tta=tta, **runner)
    tell_score(score, model.config)
    if "overlay" in kinds:
        tell_names_without_font(model.config.classes)
    if videos:
        predict_and_tell(model, videos, out, track=track, count=count, **options)
    else:
        _predict_images(model, found, out, json, batch=batch, simplify=simplify, pages=pages, **options)


def _check_report(json: Path, out: Path) -> None:
    """
    Raises:
        UserError: `--json` may be the name of a table, an overlay or a label file in `out`.
    """
    report, folder = json.resolve(), out.resolve()
    if not report.is_relative_to(folder):
        return
    if report.suffix.lower() != ".json" or set(LABELS) & {*report.relative_to(folder).parts[:1]}:
        raise UserError(f"{json}: --json would replace a result; name it {out / 'report.json'}, say")


def _load(weights: str, found: Sources, value_range: Wanted | None, *, tta: bool, **options: Any) -> Runner:
    """What runs the network, with the range of values that these images have."""
    from maskrcnn.images.value_range import find_value_range

    model = load_runner(weights, **options)
    channels = model.config.input.channels
    set_value_range(model.config, value_range, partial(find_value_range, found.images, channels))
    return augmented(model) if tta else model


def _predict_images(model: Runner, found: Sources, out: Path, json: Path | None, **options: Any) -> None:
    from maskrcnn.files import write_json
    from maskrcnn.predict.files import predict_files

    with progress_bar("predicting") as progress:
        summary = predict_files(model, found, out, progress=progress, **options)
    if json:
        write_json(json, summary.to_dict())
    _tell(summary)


def _compiled(model: MaskRCNN, *, batch: int, bf16: bool) -> Runner:
    from maskrcnn.runtime.compiled_engine import CompiledEngine

    engine = CompiledEngine(model, batch=batch, bf16=bf16)
    say(f"compiled for {batch} images of {engine.shapes}, each when it is first needed, which takes a while")
    return engine


def _kinds(save: str, scale: float | None, no_overlay: bool) -> list[str]:
    """What `--save` asks for."""
    from maskrcnn.predict.kinds import check_kinds

    kinds = [kind.strip() for kind in save.split(",") if kind.strip()]
    kinds = [kind for kind in kinds if not (no_overlay and kind == "overlay")]
    check_kinds(kinds)
    if scale is not None and not set(TABLES) & set(kinds):
        raise UserError("--scale: is for the tables of --save csv; add that, or leave it out")
    return kinds


def _tell(summary: Summary) -> None:
    """Print what was found and, on stderr, what was not done."""
    from maskrcnn.predict.sources import passed_over_line

    found = ", ".join(f"{count} {name}" for name, count in summary.objects.most_common()) or "nothing"
    print(printable(f"found {found} in {counted(summary.images, 'image')}: {summary.results.parent}"))
    if summary.resumed:
        say(f"{summary.resumed} of them were done before; --no-resume does them again")
    say(*summary.notes[:MOST_LINES])
    if len(summary.notes) > MOST_LINES:
        say(f"and {len(summary.notes) - MOST_LINES} more such lines")
    say(*(f"warning: {line}" for line in summary.unreadable))
    if summary.passed_over:
        say(f"warning: {passed_over_line(summary.passed_over)}")
    skipped = len(summary.unreadable) + len(summary.passed_over)
    if skipped:
        raise DataError(f"skipped {counted(skipped, 'image')} that could not be read")
