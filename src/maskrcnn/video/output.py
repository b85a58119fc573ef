"""What is written of one video: an annotated copy, a line of JSON for each frame, rows of tables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from maskrcnn.errors import UserError
from maskrcnn.images.regions import ArrayRegions
from maskrcnn.labels.writers.growing_file import GrowingFile
from maskrcnn.predict.writers.tables import FrameTables
from maskrcnn.predict.writers.writer import WrittenImage
from maskrcnn.video.counting import CountsWriter
from maskrcnn.video.drawing import send_end, send_frame
from maskrcnn.video.overlapped import Overlapped
from maskrcnn.video.pipe import end_child, receive, start_child
from maskrcnn.video.stream import Frame, VideoStream

TABLE_COLUMNS = ("frame", "seconds")


def written_names(stems: Sequence[str], save: Collection[str], zones: bool) -> list[str]:
    """What the files of videos are called, those that `save` asks for and with `zones` their counts; tables
    are of all videos.
    """
    suffixes = [".jsonl", *([".mp4"] if "overlay" in save else ()), *([".counts.csv"] if zones else ())]
    return [stem + suffix for stem in stems for suffix in suffixes]


class VideoOutput:
    """The files of a video. Lines are written and frames sent in threads of their own; another process draws
    and encodes.

    NAME.jsonl has a line for each frame, whole at any moment: `frame`, its number from 0, `seconds`, `size`
    (height, width) and `objects`, each as in results.json with its `class` and, where it is tracked, its
    `track_id`. Where a live source was lost a line has `gap`, from when to when. NAME.counts.csv has the
    counts of zones (`CountsWriter`).
    """

    def __init__(
        self,
        stream: VideoStream,
        folder: Path,
        stem: str,
        *,
        overlay: bool = True,
        table: FrameTables | None = None,
    ) -> None:
        """
        Args:
            stream: gives the frames.
            overlay: write NAME.mp4 too.
            table: gets a row for each object.

        Raises:
            OSError: the folder cannot be written to.
        """
        source = stream.reader.source
        audio = str(Path(source.address).absolute()) if source.kind == "file" else None
        self._source, self._stem, self._table = source, stem, table
        self._lines = GrowingFile(folder / f"{stem}.jsonl", "", "", "")
        self._drawn = _Encoded(folder / f"{stem}.mp4", stream, audio) if overlay else None
        self._counts = CountsWriter(folder / f"{stem}.counts.csv", stream.zones) if stream.zones else None
        self._writing = Overlapped(self._write)
        self._drawing = None if self._drawn is None else Overlapped(self._drawn.add)

    @property
    def audio_left_out(self) -> str | None:
        """The codec of the source's audio, where an MP4 cannot hold it; known once the files are closed."""
        return None if self._drawn is None else self._drawn.left_out

    def add(self, frame: Frame) -> None:
        """
        Raises:
            OSError: the disk is full: what was written before stays.
        """
        self._writing.put(frame)
        if self._drawing is not None:
            self._drawing.put(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what was added and close the files, also after an error or a stop.

        Raises:
            OSError: the disk is full.
        """
        try:
            try:
                if self._drawing is not None:
                    self._drawing.close()
            finally:
                self._writing.close()
        finally:
            self._lines.close()
            if self._counts is not None:
                self._counts.close()
            if self._drawn is not None:
                self._drawn.close(whole=error is None)

    def _write(self, frame: Frame) -> None:
        lines = []
        if frame.gap is not None:
            lines.append(json.dumps({"gap": frame.gap}) + "\n")
        objects = [
            {name: value for name, value in result.items() if name != "image_id"} | {"class": name}
            for result, name in zip(frame.found.to_coco(0), frame.found.names, strict=True)
        ]
        line = {"frame": frame.number, "seconds": frame.seconds, "size": frame.found.size, "objects": objects}
        self._lines.add([*lines, json.dumps(line) + "\n"])
        if self._counts is not None:
            self._counts.add(frame.changed)
        if self._table is not None:
            path, pixels = Path(self._source.address), ArrayRegions(frame.pixels)
            more = (frame.number, frame.seconds)
            name = self._source.shown
            self._table.begin(WrittenImage(1, name, path, self._stem, frame.found.size, pixels, more=more))
            self._table.add(frame.found)
            self._table.end()


class _Encoded:
    """An MP4 that a child process draws and writes, begun with the first frame."""

    def __init__(self, path: Path, stream: VideoStream, audio: str | None) -> None:
        self._path, self._stream, self._audio = path, stream, audio
        self.left_out: str | None = None  # the codec of the source's audio, where the copy cannot have it
        self._child: subprocess.Popen[bytes] | None = None

    def add(self, frame: Frame) -> None:
        if self._child is None:
            ratio = self._stream.time_base.as_integer_ratio()
            task: dict[str, Any] = {
                "path": str(self._path.absolute()),
                "time_base": ratio,
                "aspect": self._stream.reader.aspect.as_integer_ratio(),
                "audio": self._audio,
            }
            self._child = start_child("encode", task)
        assert self._child.stdin is not None
        try:
            zones = self._stream.zones
            send_frame(self._child.stdin, frame.ticks, frame.pixels, frame.found, zones, frame.counts)
        except BrokenPipeError:
            self._finish()

    def close(self, whole: bool) -> None:
        """Close the file.

        Args:
            whole: the frames ended as they should, so all of the audio belongs to them.

        Raises:
            OSError: it could not be written.
        """
        if self._child is not None and whole:
            assert self._child.stdin is not None
            with suppress(BrokenPipeError):
                send_end(self._child.stdin)
        self._finish()

    def _finish(self) -> None:
        """Wait for the child and tell what it could not do."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        with suppress(BrokenPipeError):
            child.stdin.close()
        answer = receive(child.stdout)
        code = child.wait()
        end_child(child)
        message = {"kind": "killed"} if answer is None else answer[0]
        self.left_out = message.get("left_out")
        if message["kind"] == "refused":
            raise OSError(message["number"], message["line"], str(self._path))
        if message["kind"] == "error":
            raise UserError(message["line"])
        if message["kind"] == "killed":
            raise UserError(f"{self._path}: the encoder ended with code {code}, for want of memory perhaps")
        if message["kind"] == "defect":
            raise RuntimeError(f"the encoder failed:\n{message['line']}")
