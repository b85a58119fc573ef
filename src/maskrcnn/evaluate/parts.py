"""What many processes found of a data set's images (`maskrcnn.scale`), as results to score."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from maskrcnn.errors import DataError, UserError
from maskrcnn.evaluate.found import Result
from maskrcnn.labels.types import Dataset
from maskrcnn.predict.journal import describe_model
from maskrcnn.progress import Progress
from maskrcnn.runtime.engine import Runner
from maskrcnn.scale.collect import Collected, rows_of, whole_run
from maskrcnn.scale.parts import Run
from maskrcnn.scale.rows import coco_results
from maskrcnn.shell import counted


def read_parts(
    run: Run, model: Runner, dataset: Dataset, progress: Progress | None = None
) -> tuple[list[Result], list[str]]:
    """The results of `model` in the parts of `run`, under the labels' own image and category ids.

    An image is known by its address: the labels' path or file name, of which it may have more in front.

    Returns:
        The results, and lines about what is not in the labels.

    Raises:
        UserError: it is by another model or engine.
        DataError: labelled images are missing, an image is there twice or could not be read, or is of another
            size than its labels.
    """
    folder, found = run.folder, Collected()
    own = describe_model(model)
    differ = [name for name in ("weights", "engine", "augmentation") if run.record.get(name) != own[name]]
    if differ:
        raise UserError(f"{folder}: was predicted with other {' and '.join(differ)}; give those")
    category_ids = dict(zip(dataset.classes, dataset.class_ids, strict=True))
    ids = {name: category_ids.get(name, -1) for name in run.category_ids()}
    places, seen = _places(dataset), set[int]()
    results: list[Result] = []
    for row in rows_of(run, found, progress):
        place = next((places[name] for name in _names(row["address"]) if name in places), None)
        if place is None:
            continue
        image = dataset.image(place)
        if place in seen:
            raise DataError(f"{folder}: has {image.file_name} of the labels twice; predict each image once")
        if row["error"] is not None:
            raise DataError(f"{row['address']}: {row['error']}; predict it again in a new folder")
        if (row["height"], row["width"]) != image.size:
            size = f"{row['width']} x {row['height']} pixels, in the labels {image.width} x {image.height}"
            raise DataError(f"{row['address']}: has {size}; it is not the image that is labelled")
        seen.add(place)
        row["id"] = image.image_id
        results += [result for result in coco_results(row, ids) if result["category_id"] != -1]
    lacking = [place for place in range(len(dataset)) if place not in seen]
    if lacking:
        first = dataset.image(lacking[0]).file_name
        raise DataError(
            f"{folder}: lacks {counted(len(lacking), 'labelled image')}, {first} first; predict them"
        )
    return results, _lines(found.images - len(seen), run.record.get("score"), model)


def open_parts(folder: Path, engine: str | None) -> Run:
    """The run in a folder, whose results are found to be that engine's before a network is exported for it.

    Args:
        engine: as it was typed.

    Raises:
        UserError: no run in the folder, or one by another engine.
        DataError: parts are missing.
    """
    run = whole_run(folder)
    known = run.record.get("engine")
    if engine not in (None, "auto", known):
        raise UserError(f"{folder}: was predicted with --engine {known}, not {engine}; give that")
    return run


def _lines(others: int, score: object, model: Runner) -> list[str]:
    lines = []
    if others:
        lines.append(f"{counted(others, 'image')} of the results have no labels here and are left out")
    least = model.config.test.score
    if score not in (None, str(None)) and float(str(score)) > least:
        lines.append(
            f"the results were found with --score {score}, which leaves out what AP counts: predict with"
            f" --score {least:g}"
        )
    return lines


def _places(dataset: Dataset) -> dict[str, int]:
    """The place of each image by its path and by its file name, where no other has the same."""
    names: list[tuple[str, int]] = []
    for place, image in enumerate(dataset):
        own = {str(PurePosixPath(image.file_name))}
        if image.path is not None:
            own.add(os.path.abspath(image.path))
        names += [(name, place) for name in own]
    counts = Counter(name for name, _ in names)
    return {name: place for name, place in names if counts[name] == 1}


def _names(address: str) -> Iterator[str]:
    """An address, and what is left of it without one folder after another in front."""
    yield os.path.abspath(address)
    parts = PurePosixPath(address).parts
    for start in range(len(parts)):
        yield str(PurePosixPath(*parts[start:]))
