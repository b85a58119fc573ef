"""Which videos of a run are done: the same command leaves them as they are, and no other replaces them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from maskrcnn.errors import UserError
from maskrcnn.labels.writers.growing_file import Mark
from maskrcnn.predict.journal import Run, RunJournal, describe_run
from maskrcnn.predict.writers.tables import FrameTables
from maskrcnn.runtime.engine import Runner
from maskrcnn.video.source import Source
from maskrcnn.video.zones import Zone

LIVE = ("camera", "network")  # kinds of sources that never give the same twice


class VideoJournal(RunJournal):
    """A record when the first frame of a video is written, and one at its end with what is told of it."""

    def __init__(self, folder: Path, run: Run, videos: int, *, resume: bool = True) -> None:
        """
        Args:
            videos: how many the run has.
            folder, run, resume: as `RunJournal` takes them; its errors are raised.
        """
        self._videos = videos
        self.begun: set[int] = set()  # videos, from 1, of which there are frames
        self.done: dict[int, dict[str, Any]] = {}  # what is told of each that ended
        self.marks: Sequence[Mark | None] = (None, None)  # of the tables, behind the last that is done
        super().__init__(folder, run, resume=resume)

    def begin(self, video: int) -> None:
        self._put({"video": video})

    def end(self, video: int, told: dict[str, Any], marks: Sequence[Mark | None]) -> None:
        self._put({"video": video, "told": told, "marks": marks})

    def check_files(self, names: Sequence[str]) -> None:
        """
        Args:
            names: of the files of the videos that are done, beside the tables.

        Raises:
            UserError: a file of theirs is gone or too short.
        """
        least = dict.fromkeys(names, 0)
        least |= {name: mark[0] for name, mark in zip(FrameTables.NAMES, self.marks, strict=True) if mark}
        for name, size in least.items():
            path = self.path.parent / name
            if not path.is_file() or path.stat().st_size < size:
                raise UserError(
                    f"{path}: is gone or cut off, and holds what an earlier run finished; "
                    "start anew with --no-resume, or name another --out"
                )

    def _remember(self, record: dict[str, Any], place: int) -> None:
        video, told = record.get("video"), record.get("told")
        if not isinstance(video, int) or not 0 < video <= self._videos or video in self.done:
            raise self._damaged()
        self.begun.add(video)
        if isinstance(told, dict):
            self.done[video] = told
            self.marks = [mark and (int(mark[0]), bool(mark[1])) for mark in record["marks"]]


def describe_videos(model: Runner, sources: Sequence[Source], zones: Sequence[Zone], **settings: Any) -> Run:
    """What makes another run's results others.

    Args:
        settings: that change what is found or written, by name.
    """
    files = [(source.shown, path) for source in sources for path in source.images or [Path(source.address)]]
    live = any(source.kind in LIVE for source in sources)
    return describe_run(
        model,
        files,
        kind="videos",
        zones=hashlib.sha256(repr([zone.model_dump() for zone in zones]).encode()).hexdigest(),
        fps=sources[0].fps,
        recording=datetime.now().astimezone().isoformat() if live else "",
        **settings,
    )
