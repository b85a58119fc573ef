"""From videos to a folder of annotated copies, lines and tables: what `maskrcnn predict` does with them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from maskrcnn.errors import DataError, UserError
from maskrcnn.files import locked, make_folder
from maskrcnn.predict.files import LOCK, numbered_stems
from maskrcnn.predict.journal import NAME as JOURNAL
from maskrcnn.predict.kinds import spare_others
from maskrcnn.predict.predictor import Tiles, kept_score
from maskrcnn.predict.writers.tables import FrameTables
from maskrcnn.progress import Progress
from maskrcnn.runtime.engine import Runner, device_of
from maskrcnn.stop import telling
from maskrcnn.video.counting import Row
from maskrcnn.video.decode import EXTRA
from maskrcnn.video.journal import VideoJournal, describe_videos
from maskrcnn.video.output import TABLE_COLUMNS, VideoOutput, written_names
from maskrcnn.video.source import Source
from maskrcnn.video.stream import VideoStream
from maskrcnn.video.zones import Zone

SAVED = ("overlay", "csv")
DECODED = ("file", "network")  # kinds of sources that PyAV reads
ON_ACCELERATOR = 8  # frames that go through the network together; a CPU is no faster with more than one


@dataclass
class VideoSummary:
    """What `predict_videos` did with one video."""

    source: Source
    frames: int = 0  # that were predicted
    # by class name: tracks, or else those of all frames
    objects: Counter[str] = field(default_factory=Counter)
    failed: str | None = None  # why it ended before its end
    damaged: int = 0  # frames that are missing or visibly wrong
    unreadable: list[str] = field(default_factory=list)  # a line for each image of a sequence
    capped: int = 0  # frames with as many objects as the model gives
    dropped: int = 0  # frames of a live source
    audio_left_out: str | None = None  # the codec of audio that the annotated copy cannot have
    lost: int = 0  # times that a live source was lost and came back
    set_back: int = 0  # times that the time goes back
    counts: Sequence[Row] = ()  # of zones, at the end
    resumed: bool = False  # an earlier run did it
    anew: bool = False  # an earlier run stopped partway

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, for `of_earlier_run`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        return values | {"counts": [asdict(row) for row in self.counts]}

    @classmethod
    def of_earlier_run(cls, source: Source, told: dict[str, Any]) -> Self:
        """What `to_dict` gave."""
        objects, counts = Counter(told["objects"]), [Row(**row) for row in told["counts"]]
        return cls(source, **(told | {"objects": objects, "counts": counts, "resumed": True}))


def predict_videos(
    model: Runner,
    sources: Sequence[Source],
    out: Path,
    *,
    score: float | None = None,
    tiles: Tiles = "auto",
    save: Collection[str] = ("overlay",),
    scale: float | None = None,
    track: bool = False,
    zones: Sequence[Zone] = (),
    resume: bool = True,
    progress: Progress | None = None,
) -> Iterator[VideoSummary]:
    """Find the objects in every frame of videos; each gives a summary when it is done.

    `out` gets, for each video, NAME.jsonl (`VideoOutput`), and what is in `save`. Everything is written as it
    comes: after a stop the files are whole up to the last frame that was done.

    Args:
        score: as `VideoStream` takes it.
        save: "overlay", NAME.mp4 with the objects drawn, timing and audio as in the source; "csv", tables of
            all objects and of their count in each frame (`FrameTables`).
        scale: micrometres per pixel, for the tables.
        track, zones: as `VideoStream` takes them.
        resume: videos that an earlier run of the same command finished in `out` stay as they are, and one in
            whose midst it was stopped is begun anew; false: replace what is there, be it another run's.
        progress: of each video's frames.

    Raises:
        UserError: `out` cannot be written, holds another run's results or a recording of a live source, or
            another process writes into it; a video, or a file that is of no run, would be replaced; PyAV is
            not installed.
        OSError: the disk is full.
    """
    check_videos(sources, save)
    score = kept_score(score, model.config)
    stems = numbered_stems([source.name for source in sources], [Path(JOURNAL).stem])
    names = [*written_names(stems, save, bool(zones)), *(FrameTables.NAMES if "csv" in save else ())]
    read = [path for source in sources for path in source.images or [Path(source.address)]]
    spare_others(out, names, read, first=resume and not (out / JOURNAL).exists())
    make_folder(out)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(out / LOCK, wait=False))
        settings = {"score": score, "tiles": tiles, "track": track, "save": sorted(save), "scale": scale}
        run = describe_videos(model, sources, zones, **settings)
        journal = VideoJournal(out, run, len(sources), resume=resume)
        stack.callback(journal.close)
        done = [stems[number - 1] for number in journal.done]
        journal.check_files(written_names(done, save, bool(zones)))
        table = FrameTables(out, scale, TABLE_COLUMNS, journal.marks) if "csv" in save else None
        if table is not None:
            stack.callback(table.close)
        failed = False
        for number, (source, stem) in enumerate(zip(sources, stems, strict=True), 1):
            if number in journal.done:
                yield VideoSummary.of_earlier_run(source, journal.done[number])
                continue
            stream = VideoStream(
                model,
                source,
                score=score,
                batch=1 if device_of(model).type == "cpu" else ON_ACCELERATOR,
                track=track,
                zones=zones,
                tiles=tiles,
            )
            output = VideoOutput(stream, out, stem, overlay="overlay" in save, table=table)
            summary = _predict(stream, output, journal, number, progress)
            failed |= summary.failed is not None
            # what failed is done again by the next run, with those behind it in the tables
            if summary.frames and not (summary.failed if table is None else failed):
                journal.end(number, summary.to_dict(), (None, None) if table is None else table.marks())
            yield summary


def check_videos(sources: Sequence[Source], save: Collection[str]) -> None:
    """
    Raises:
        UserError: PyAV is not installed, or videos are not saved in that form.
    """
    for kind in save:
        if kind not in SAVED:
            raise UserError(f"save={kind}: of videos there are {', '.join(SAVED)}")
    if find_spec("av") is None and ("overlay" in save or any(each.kind in DECODED for each in sources)):
        raise UserError(f"{sources[0].shown}: a video {EXTRA}")


def _predict(
    stream: VideoStream, output: VideoOutput, journal: VideoJournal, number: int, progress: Progress | None
) -> VideoSummary:
    """Write what is in the frames of the video of that number until they end, be it too early."""
    reader, known = stream.reader, set[int]()
    summary = VideoSummary(reader.source, anew=number in journal.begun)

    def done() -> str:
        return f"{summary.frames} frames of {reader.source.shown} are done: {journal.path.parent}"

    try:
        with output, stream, telling(done):
            for frame in stream:
                output.add(frame)
                if not summary.frames:
                    journal.begin(number)
                summary.frames += 1
                names, ids = frame.found.names, frame.found.track_ids
                if ids is not None:
                    new = {id_: name for id_, name in zip(ids.tolist(), names, strict=True) if id_ > 0}
                    names = [name for id_, name in new.items() if id_ not in known]
                    known.update(new)
                summary.objects.update(names)
                summary.counts = frame.counts
                summary.capped += frame.found.capped
                if progress:
                    progress(summary.frames, reader.total)
    except DataError as error:
        summary.failed = str(error)
    summary.damaged, summary.unreadable = reader.damaged, reader.unreadable
    summary.set_back = reader.set_back
    summary.dropped, summary.lost = reader.dropped, reader.lost
    summary.audio_left_out = output.audio_left_out
    return summary
