"""From image files to a folder of overlays and results.json: what `maskrcnn predict` does."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.regions import RegionImage, whole_pixels
from maskrcnn.instances import Instances
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.predict.kinds import RESULTS, WriterOptions, check_kinds, open_writers, spare_sources
from maskrcnn.predict.large import TiledImage, Tiles, tile_side
from maskrcnn.predict.predictor import check_batch, check_score, predict_pixels, tiled
from maskrcnn.predict.reading import SourceImage, open_image, source_images
from maskrcnn.predict.sources import Sources, find_sources
from maskrcnn.predict.writers.overlay import OverlayWriter
from maskrcnn.predict.writers.results import has_overlay
from maskrcnn.predict.writers.writer import Writer, WrittenImage
from maskrcnn.progress import Progress
from maskrcnn.runtime.engine import Runner
from maskrcnn.stop import telling


@dataclass
class Summary:
    """What `predict_files` did."""

    results: Path  # the JSON it wrote
    overlays: list[Path] = field(default_factory=list)
    images: int = 0  # that were predicted
    objects: Counter[str] = field(default_factory=Counter)  # found, by class name
    unreadable: list[str] = field(default_factory=list)  # one line for each image that could not be read
    notes: list[str] = field(default_factory=list)  # a line on each image in tiles, or too large without
    passed_over: list[Path] = field(default_factory=list)  # in folders, of formats that are not read

    @property
    def exit_code(self) -> int:
        """0, or 3 when an image could not be read or was passed over."""
        return DataError.exit_code if self.unreadable or self.passed_over else 0


@dataclass
class Part:
    """Objects of one image: all, or of a large image those of a row of tiles."""

    image: WrittenImage
    found: Instances
    first: bool = True  # of its image
    last: bool = True


def predict_files(
    model: Runner,
    sources: Sequence[str | Path] | Sources,
    out: Path,
    *,
    score: float | None = 0.5,
    batch: int = 1,
    tiles: Tiles = "auto",
    save: Collection[str] = ("overlay",),
    scale: float | None = None,
    simplify: float = 0.5,
    pages: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Find the objects in every image of `sources` and write what a person and a program want of it.

    `out` gets results.json: COCO results of all images, each with its `category_name`, its `file_name` as
    given and `image_id` counted from 1 in the order of `find_images`. An image that cannot be read is named
    in the summary and the rest go on. What is found is written as it is found.

    Args:
        sources: files, folders and patterns, or what `find_sources` found in them.
        tiles: as `predict` takes it.
        save: any of `KINDS`, what else is written.
        scale: micrometres per pixel, for the tables.
        simplify: pixels that outlines for a person to edit may be off the masks, for fewer points.
        pages: each page of a TIFF is an image of its own, called name[1], name[2] and so on.

    Raises:
        UserError: no images, `out` is not a folder that can be written, or an overlay would replace its
            image.
    """
    check_batch(batch)
    check_score(score)
    check_kinds(save)
    paths, passed_over = sources if isinstance(sources, Sources) else find_sources(sources)
    images = source_images(paths, pages, model.config.input.channels)
    stems = numbered_stems([image.stem for image in images])
    if "overlay" in save:
        spare_sources([image.path for image in images], stems, out)
    make_folder(out)
    summary, left_out = Summary(results=out / RESULTS, passed_over=passed_over), LeftOut()
    with contextlib.ExitStack() as stack:
        stack.enter_context(telling(lambda: f"{summary.images} of {len(images)} images are done: {out}"))
        options = WriterOptions(out, model.config, scale, simplify, left_out)
        writers = open_writers(save, options, stack)
        for start in range(0, len(images), batch):
            group = list(range(start, min(start + batch, len(images))))
            for part in _predict_readable(model, images, stems, group, score, tiles, summary, progress):
                _write(part, writers)
                summary.images += part.last
                summary.objects.update(part.found.names)
            if progress:
                progress(group[-1] + 1, len(images))
        summary.overlays = [
            path for writer in writers if isinstance(writer, OverlayWriter) for path in writer.written
        ]
    summary.notes += left_out.lines()
    return summary


def _write(part: Part, writers: list[Writer]) -> None:
    for writer in writers:
        if part.first:
            writer.begin(part.image)
        writer.add(part.found)
        if part.last:
            writer.end()


def make_folder(out: Path) -> None:
    """
    Raises:
        UserError: a file is in the way.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{out}: a file is in the way; name a folder for the results") from None


def _predict_readable(
    model: Runner,
    images: list[SourceImage],
    stems: list[str],
    group: list[int],
    score: float | None,
    tiles: Tiles,
    summary: Summary,
    progress: Progress | None,
) -> Iterator[Part]:
    """What is in the images at the places `group` of `images`; those that cannot be read are named in
    `summary`.
    """
    opened: dict[int, tuple[RegionImage, int | None]] = {}
    for place in group:
        try:
            opened[place] = open_image(images[place], model.config.input, tiles)
        except DataError as error:
            summary.unreadable.append(str(error))
    whole = {
        place: whole_pixels(image, image.size) for place, (image, side) in opened.items() if side is None
    }
    found = predict_pixels(
        model, list(whole.values()), score=score, paths=[images[place].path for place in whole]
    )
    results = dict(zip(whole, found, strict=True))
    for place, (image, side) in opened.items():
        source = images[place]
        written = WrittenImage(place + 1, source.name, source.path, stems[place], image.size, image)
        if side is None:
            summary.notes += _notes(source.name, results[place], model.config)
            yield Part(written, results[place])
            continue
        with contextlib.closing(image):
            try:
                yield from _parts(written, tiled(model, image, side, score=score), summary, progress)
            except DataError as error:
                summary.unreadable.append(str(error))


def _parts(
    image: WrittenImage, prediction: TiledImage, summary: Summary, progress: Progress | None
) -> Iterator[Part]:
    """A large image row by row."""
    for number, found in enumerate(prediction.parts(progress=progress)):
        last = number + 1 == len(prediction)
        yield Part(image, found, first=number == 0, last=last)
    summary.notes.append(f"{image.name}: {prediction.line()}")
    if not has_overlay(image.size):
        summary.notes.append(f"{image.name}: too large for an overlay")
    if prediction.full:
        summary.notes.append(f"warning: {image.name}: {prediction.full_line()}")


def _notes(name: str, found: Instances, config: ModelConfig) -> list[str]:
    """A line on an image that is too large or too crowded to be predicted whole."""
    height, width = found.size
    lines = []
    if tile_side(config.input, found.size, "auto") is not None:
        times = max(height, width) / (config.input.tile_side or 1)
        lines.append(
            f"warning: {name}: {width:,} x {height:,} pixels, {times:.1f} times what the model is made for, "
            "so objects are seen that much smaller; leave out --tiles"
        )
    if len(found) >= config.test.detections:
        lines.append(
            f"warning: {name}: {len(found)} objects are the most that the model gives for an image "
            "(model.test.detections), so there may be more; add --tiles, with half the image's side"
        )
    return lines


def numbered_stems(names: Sequence[str]) -> list[str]:
    """What the files of each are called: its own name, numbered where two have the same."""
    taken: set[str] = set()
    stems = []
    for name in names:
        stem, number = name, 1
        # lower case, for file systems that do not tell A.png from a.png
        while stem.lower() in taken:
            number += 1
            stem = f"{name}_{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems
