"""From image files to a folder of overlays and results.json: what `maskrcnn predict` does."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import DataError
from maskrcnn.files import locked, make_folder, naming, remove_unfinished
from maskrcnn.images.regions import RegionImage
from maskrcnn.instances import Instances
from maskrcnn.labels.writers.left_out import LeftOut
from maskrcnn.masks.encoding import encode, encoders
from maskrcnn.masks.measure import check_scale
from maskrcnn.masks.polygons import check_tolerance
from maskrcnn.predict.corrected import SharedLabels
from maskrcnn.predict.journal import NAME as JOURNAL
from maskrcnn.predict.journal import Finished, Journal, describe_run
from maskrcnn.predict.kinds import (
    LABELS,
    RESULTS,
    WriterOptions,
    check_kinds,
    open_writers,
    spare_labels,
    spare_others,
    written_names,
)
from maskrcnn.predict.large import TiledImage, Tiles, tile_side
from maskrcnn.predict.predictor import check_batch, kept_score, predict_opened, tiled
from maskrcnn.predict.reading import LazyImage, SourceImage, open_image, source_images
from maskrcnn.predict.sources import Sources, find_sources
from maskrcnn.predict.writers.overlay import OverlayWriter, reduction
from maskrcnn.predict.writers.writer import Writer, WrittenImage
from maskrcnn.progress import Progress
from maskrcnn.runtime.engine import Runner, device_of
from maskrcnn.stop import telling

LOCK = ".journal.lock"
LONGEST_STEM = 200  # bytes
READERS = 4  # threads that read the images of a batch
Reading = list[tuple[int, Future[tuple[RegionImage, int | None]]]]  # images by their places


@dataclass
class Summary:
    """What `predict_files` did."""

    results: Path  # the JSON it wrote
    overlays: list[Path] = field(default_factory=list)
    images: int = 0  # that were predicted
    resumed: int = 0  # of them by earlier runs
    objects: Counter[str] = field(default_factory=Counter)  # found, by class name
    begun: Counter[str] = field(default_factory=Counter)  # of the image in work, likewise
    unreadable: list[str] = field(default_factory=list)  # one line for each image that could not be read
    notes: list[str] = field(default_factory=list)  # a line on each image in tiles, or too large without
    passed_over: list[Path] = field(default_factory=list)  # in folders, of formats that are not read

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        found = {"images": self.images, "resumed": self.resumed, "objects": dict(self.objects)}
        paths = {"results": str(self.results), "passed_over": [str(path) for path in self.passed_over]}
        return found | paths | {"unreadable": self.unreadable, "notes": self.notes}

    @property
    def exit_code(self) -> int:
        """0, or 3 when an image could not be read or was passed over."""
        return DataError.exit_code if self.unreadable or self.passed_over else 0


@dataclass
class Run:
    """What is needed at every image."""

    model: Runner
    images: list[SourceImage]
    stems: list[str]
    score: float
    tiles: Tiles
    summary: Summary
    journal: Journal
    overlays: bool  # are written
    pool: Executor | None  # for `encode`
    progress: Progress | None
    broken: set[int] = field(default_factory=set)  # images whose pixels a writer could not read


def predict_files(
    model: Runner,
    sources: Sequence[str | Path] | Sources,
    out: str | Path,
    *,
    score: float | None = None,
    batch: int = 1,
    tiles: Tiles = "auto",
    save: Collection[str] = ("overlay",),
    scale: float | None = None,
    simplify: float = 0.5,
    pages: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
) -> Summary:
    """Find the objects in every image of `sources` and write what a person and a program want of it.

    `out` gets results.json: COCO results of all images, each with its `category_name`, its `file_name` as
    given and `image_id` counted from 1 in the order of `find_images`. An image that cannot be read is named
    in the summary and the rest go on. What is found is written as it is found.

    Args:
        sources: files, folders and patterns, or what `find_sources` found in them.
        score: as `predict` takes it.
        tiles: likewise.
        save: any of `KINDS`, what else is written.
        scale: micrometres per pixel, for the tables.
        simplify: pixels that outlines for a person to edit may be off the masks, for fewer points.
        pages: each page of a TIFF is an image of its own, called name[1], name[2] and so on.
        resume: where `out` has a journal of this run, go on with what is missing; false: begin anew, and
            replace what is there.

    Raises:
        UserError: an argument out of its range; no images; `out` is not a folder that can be written, holds
            another run's results, or is written by another process; or an image, or a file that is of no
            run, would be replaced.
    """
    check_batch(batch)
    score = kept_score(score, model.config)
    check_scale(scale)
    check_tolerance("simplify", simplify)
    check_kinds(save)
    out = Path(out)
    paths, passed_over = sources if isinstance(sources, Sources) else find_sources(sources)
    images = source_images(paths, pages, model.config.input.channels)
    stems = numbered_stems([image.stem for image in images])
    own, there = [image.path for image in images], (out / JOURNAL).exists()
    labels = [name for name in LABELS if name in save]
    spare_others(out, written_names(save, own, stems), own, first=resume and not there, labels=labels)
    make_folder(out)
    if not (resume and there):
        spare_labels(labels, out)
    summary, left_out = Summary(results=out / RESULTS, passed_over=passed_over), LeftOut()
    with contextlib.ExitStack() as stack:
        stack.enter_context(naming(out))
        line = "{} of {} images are done: {}; the same command goes on"
        stack.enter_context(telling(lambda: line.format(summary.images, len(images), out)))
        stack.enter_context(locked(out / LOCK, wait=False))
        names = [(image.name, image.path) for image in images]
        this = describe_run(model, names, score=score, tiles=tiles)
        journal = Journal(out, this, model.config, len(images), resume=resume)
        stack.callback(journal.close)
        if journal.resumed:  # nobody else writes here now
            for folder in (out, *(out / name for name in LABELS)):
                remove_unfinished(folder, deep=folder != out)
        pool = stack.enter_context(encoders(device_of(model).type != "cpu"))
        run = Run(model, images, stems, score, tiles, summary, journal, "overlay" in save, pool, progress)
        shared = SharedLabels(out, labels)
        summary.notes += shared.lines
        stack.callback(shared.remember)
        wanted = [name for name in save if name not in shared.corrected]
        writers = open_writers(wanted, WriterOptions(out, model.config, scale, simplify, left_out), stack)
        for image, part in _finished(run):
            summary.resumed += _write(run, image, part, writers) and part.last
        for image, part in _missing(run, batch):
            if _write(run, image, part, writers):
                journal.add(part)
        summary.overlays = [
            path for writer in writers if isinstance(writer, OverlayWriter) for path in writer.written
        ]
    summary.notes += left_out.lines()
    return summary


def _write(run: Run, image: WrittenImage, part: Finished, writers: list[Writer]) -> bool:
    """Give a part to all writers; False where one of them could not read the pixels that it wants."""
    summary = run.summary
    try:
        for writer in writers if part.part == 0 else ():
            writer.begin(image)
        for writer in writers:
            writer.add(part.found)  # all of them, before one ends: some keep nothing of an image that fails
        for writer in writers if part.last else ():
            writer.end()
    except DataError as error:
        summary.unreadable.append(str(error))
        run.broken.add(image.number)
        return False
    if part.part == 0:
        summary.begun.clear()
    summary.begun.update(part.found.names)
    if part.last:  # only then: of an image that breaks off nothing is written, so nothing is counted
        summary.images += 1
        summary.objects.update(summary.begun)
    summary.notes += part.notes
    return True


def _finished(run: Run) -> Iterator[tuple[WrittenImage, Finished]]:
    """Images that earlier runs finished, whose pixels are read where a writer wants them."""
    for number in run.journal.ended:
        source, stem = run.images[number - 1], run.stems[number - 1]
        with contextlib.closing(LazyImage(source, run.model.config.input, run.tiles)) as pixels:
            for part in run.journal.finished(number):
                size = part.found.size
                yield WrittenImage(number, source.name, source.path, stem, size, pixels, True), part
                if number in run.broken:
                    break


def _missing(run: Run, batch: int) -> Iterator[tuple[WrittenImage, Finished]]:
    """Images that no run has finished, those that are begun first."""
    numbers = [number for number in range(1, len(run.images) + 1) if number not in run.journal.ended]
    numbers.sort(key=lambda number: number not in run.journal.parts)
    done = len(run.images) - len(numbers)
    for reading in _read(run, [numbers[start : start + batch] for start in range(0, len(numbers), batch)]):
        yield from _predict_readable(run, reading)
        done += len(reading)
        if run.progress:
            run.progress(done, len(run.images))


def _read(run: Run, groups: list[list[int]]) -> Iterator[Reading]:
    """Each group's images, in threads; those of the next one too where the CPU is free meanwhile."""
    ahead = 0 if device_of(run.model).type == "cpu" else 1
    threads = ThreadPoolExecutor(READERS, "images")
    waiting: deque[Reading] = deque()
    form = run.model.config.input, run.tiles
    try:
        for group in groups:
            places = [number - 1 for number in group]
            waiting.append(
                [(place, threads.submit(open_image, run.images[place], *form)) for place in places]
            )
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting
    finally:
        threads.shutdown(cancel_futures=True)


def _predict_readable(run: Run, reading: Reading) -> Iterator[tuple[WrittenImage, Finished]]:
    """What is in some images; those that cannot be read are named in the summary."""
    opened: dict[int, tuple[RegionImage, int | None]] = {}
    for place, image_read in reading:
        try:
            opened[place] = image_read.result()
        except DataError as error:
            run.summary.unreadable.append(str(error))
    whole = {place: one for place, one in opened.items() if one[1] is None}
    paths = [run.images[place].path for place in whole]
    found = predict_opened(run.model, list(whole.values()), run.score, paths)
    encode((one.masks for one in found), run.pool)  # for results.json and for the journal
    results = dict(zip(whole, found, strict=True))
    for place, (image, side) in opened.items():
        source = run.images[place]
        written = WrittenImage(place + 1, source.name, source.path, run.stems[place], image.size, image)
        if side is None:
            notes = _notes(source.name, results[place], run.model.config)
            yield written, Finished(place + 1, 0, True, notes, 0, results[place])
            continue
        with contextlib.closing(image):
            try:
                for part in _parts(run, written, tiled(run.model, image, side, score=run.score)):
                    yield written, part
                    if place + 1 in run.broken:
                        break
            except DataError as error:
                run.summary.unreadable.append(str(error))


def _parts(run: Run, image: WrittenImage, prediction: TiledImage) -> Iterator[Finished]:
    """A large image tile by tile: what earlier runs finished, then the rest."""
    yield from run.journal.finished(image.number)
    start = run.journal.parts.get(image.number, 0)
    parts = prediction.parts(start, run.progress, run.journal.full.get(image.number, 0))
    for number, found in enumerate(parts, start):
        encode([found.masks], None)
        last, notes = number + 1 == len(prediction), []
        if last:
            notes.append(f"{image.name}: {prediction.line()}")
            if run.overlays and reduction(image.size) > 1:
                notes.append(f"{image.name}: its overlay is drawn {reduction(image.size)} times smaller")
            if prediction.full:
                notes.append(f"warning: {image.name}: {prediction.full_line()}")
        yield Finished(image.number, number, last, notes, prediction.full, found)


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
    if found.capped:
        lines.append(
            f"warning: {name}: {len(found)} objects are the most that the model gives for an image "
            "(model.test.detections), so there may be more; add --tiles, with half the image's side"
        )
    return lines


def numbered_stems(names: Sequence[str], reserved: Collection[str] = ()) -> list[str]:
    """What the files of each are called: its own name, shortened to what suffixes and numbers leave of
    the 255 bytes of a file's name, and numbered where two have the same, or it is `reserved`.
    """
    taken = set(reserved)
    stems = []
    for name in names:
        name = os.fsdecode(os.fsencode(name)[:LONGEST_STEM])
        stem, number = name, 1
        # lower case, for file systems that do not tell A.png from a.png
        while stem.lower() in taken:
            number += 1
            stem = f"{name}_{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems
