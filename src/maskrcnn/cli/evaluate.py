"""`maskrcnn evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskrcnn.cli.common import (
    ClassAttribute,
    ClassName,
    Data,
    Device,
    EngineName,
    Images,
    LabelSettings,
    SplitParts,
    TrustCode,
    Tta,
    Weights,
    augmented,
    choice,
    label_options,
    load_runner,
    refuse_swapped,
    say,
    tell_repairs,
    told_progress,
)
from maskrcnn.cli.outputs import check_outputs, files_of
from maskrcnn.cli.predict import Tiles
from maskrcnn.cli.value_range import ValueRangeOption, parse_value_range, set_value_range
from maskrcnn.errors import UserError
from maskrcnn.shell import nearest

if TYPE_CHECKING:
    import hotcoco

    from maskrcnn.cli.value_range import Wanted
    from maskrcnn.config.model import ModelConfig
    from maskrcnn.evaluate.found import Result
    from maskrcnn.evaluate.truth import Kind
    from maskrcnn.labels.types import Dataset
    from maskrcnn.predict import large
    from maskrcnn.runtime.engine import Runner
    from maskrcnn.scale.parts import Run

METRICS = ("coco", "stardist")


def evaluate(
    weights: Weights,
    data: Data,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file as JSON.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="Write what the model finds to this COCO results file, NAME.json; or take what is in this"
            " folder of predict --shard.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page to this file: curves, kinds of errors, worst and best images."),
    ] = None,
    metrics: Annotated[
        str, choice("coco|stardist", "stardist: matched objects and counting errors beside COCO's figures.")
    ] = "coco",
    score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least score of objects that are counted one by one, or drawn. [default: as in predict]",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    class_name: ClassName = None,
    images: Images = None,
    class_attribute: ClassAttribute = None,
    split_parts: SplitParts = False,
    set_: LabelSettings = None,
    split: Annotated[
        str | None,
        choice("train|val|test", "Which part of DATA. [default: val, or DATA itself if it has no splits]"),
    ] = None,
    tiles: Tiles = "auto",
    tta: Tta = False,
    device: Device = None,
    engine: EngineName = None,
    trust_code: TrustCode = False,
    value_range: ValueRangeOption = None,
) -> None:
    """Measure COCO AP of boxes, masks and keypoints."""
    parts, results = _parts_or_file(results)
    check_outputs(json, results, html, inputs=[data])
    if metrics not in METRICS:
        raise UserError(f"--metrics {metrics}: {nearest(metrics, METRICS)}")
    wanted = parse_value_range(value_range)
    from maskrcnn.predict.large import read_tiles

    side = read_tiles(tiles)
    from maskrcnn.evaluate.coco import comparable_kinds, most_of, score_results
    from maskrcnn.evaluate.parts import open_parts
    from maskrcnn.evaluate.report import print_objects, print_scores
    from maskrcnn.evaluate.stardist import match_objects
    from maskrcnn.evaluate.which_score import which_score
    from maskrcnn.files import write_json
    from maskrcnn.labels.open import open_named
    from maskrcnn.predict.predictor import kept_score

    refuse_swapped(weights, data)
    run = open_parts(parts, engine) if parts else None
    options = label_options(class_name, images, class_attribute, split_parts, set_)
    dataset = open_named(data, split, options=options)
    check_outputs(json, results, html, inputs=files_of(dataset))
    tell_repairs(dataset)
    model = load_runner(weights, device, engine, trust_code=trust_code)
    dataset = _as_the_model_sees(dataset, model.config, wanted)
    dataset = _kept_from(Path(weights), dataset) if split is None else dataset
    score = kept_score(score, model.config)
    model = augmented(model) if tta else model
    kinds, notes = comparable_kinds(model, dataset)
    if metrics == "stardist" and "segm" not in kinds:
        raise UserError("--metrics stardist matches masks, which the model or the labels do not have")
    found, lines = _find(model, dataset, run, results, batch, workers, side)
    notes += lines
    matched: dict[Kind, hotcoco.COCOeval] = {}
    most = most_of(found, model.config)
    scores = score_results(dataset, found, kinds, most=most, matched=matched)
    scores.notes = notes + scores.notes
    print_scores(scores)
    chosen = which_score(dataset, found, score=score, most=most)
    if chosen:
        say(chosen.line())
    objects = match_objects(dataset, found, score=score) if metrics == "stardist" else None
    if objects is not None:
        print_objects(objects)
    if json:
        more = {"at_score": chosen, "stardist": objects}
        write_json(json, scores.to_dict() | {name: one.to_dict() for name, one in more.items() if one})
    if html:
        from maskrcnn.evaluate.page import write_page

        write_page(
            html,
            f"{weights} on {data}",
            dataset,
            found,
            scores,
            matched,
            score=score,
            most=most,
            chosen=chosen,
            objects=objects,
        )


def _parts_or_file(results: Path | None) -> tuple[Path | None, Path | None]:
    """What `--results` is: a folder of predict --shard to read, or a file to write."""
    if results is None or results.is_dir():
        return results, None
    if results.suffix.lower() != ".json":  # a folder's name mistyped, say
        raise UserError(
            f"--results {results}: neither a folder of predict --shard, nor a .json file to write to"
        )
    if results.exists() and (results.parent / "journal.jsonl").exists():
        raise UserError(
            f"--results {results}: predict wrote it, and it would be written over; give another name,"
            " or, to read what was found, a folder of predict --shard"
        )
    if results.is_file():
        with results.open("rb") as file:
            begin = file.read(64).lstrip()
        if begin and not begin.startswith(b"["):
            raise UserError(f"--results {results}: is there and holds no results; give another name")
    return None, results


def _as_the_model_sees(dataset: Dataset, config: ModelConfig, wanted: Wanted | None) -> Dataset:
    """The data set with the model's classes and channels; what differs is said."""
    from maskrcnn.labels.channels import with_channels
    from maskrcnn.labels.match_classes import passed_over, take_class
    from maskrcnn.training_data.fill_config import value_range_of

    dataset, lines = take_class(dataset, config.classes)
    say(*lines, *passed_over(dataset, config.classes))
    set_value_range(config, wanted, partial(value_range_of, dataset, config.input.channels))
    return with_channels(dataset, config.input.channels, config.input.value_range)


def _kept_from(weights: Path, dataset: Dataset) -> Dataset:
    """Of the images that a run was trained on those that it kept to evaluate on: the others it knows."""
    from maskrcnn.train.run_folder import kept_images

    kept, line = kept_images(weights, dataset)
    say(*([line] if line else []))
    return kept


def _find(
    model: Runner,
    dataset: Dataset,
    run: Run | None,
    results: Path | None,
    batch: int,
    workers: int,
    tiles: large.Tiles,
) -> tuple[list[Result], list[str]]:
    """The detections, those of `run` where it is given, and what is to be told of them.

    They are written to `results`, also where a signal stops the work.
    """
    from maskrcnn.evaluate.coco import find_all
    from maskrcnn.evaluate.parts import read_parts
    from maskrcnn.files import write_json
    from maskrcnn.predict.large import tile_side

    found: list[Result] = []
    lines: list[str] = []

    def reached(done: int, total: int | None) -> str:
        if results and found:
            write_json(results, found)
        return f"{done} of {total} images are done{f': {results}' if results else ''}" if done else ""

    sizes = map(dataset.size, range(len(dataset)))
    tiled = sum(tile_side(model.config.input, size, tiles) is not None for size in sizes)
    if run is None and tiled:
        say(f"{tiled} of {len(dataset)} images are looked at in tiles, as predict does; --tiles off: whole")
    with told_progress("evaluating", reached) as progress:
        if run is None:
            found.extend(
                find_all(model, dataset, batch=batch, workers=workers, tiles=tiles, progress=progress)
            )
        else:
            found, lines = read_parts(run, model, dataset, progress)
    if results:
        write_json(results, found)
        say(f"what this model found is written to {results}")
    return found, lines
