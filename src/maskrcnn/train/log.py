"""What a training reports: a progress bar or plain lines for people, JSON lines and trackers for programs."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from maskrcnn.config.load import Config
from maskrcnn.errors import UserError
from maskrcnn.files import write_text
from maskrcnn.shell import printable
from maskrcnn.train.checkpoint import TrainingState
from maskrcnn.train.trackers import Trackers

PLAIN_EVERY = 30.0  # seconds between lines where there is no terminal
RECORD_EVERY = 20  # iterations between lines of metrics.jsonl, at most
RECORDS = 100  # of a short training: one for each percent


class Log:
    """Gathers the figures of each step and reports them now and then. `active` in one process only."""

    def __init__(
        self,
        run: Path,
        config: Config,
        total: int,
        per_epoch: int,
        progress: TrainingState,
        active: bool = True,
    ) -> None:
        start = progress.iteration
        self.active = active
        self.total = total
        self.per_epoch = per_epoch
        self.metrics = run / "metrics.jsonl" if "jsonl" in config.train.log else None
        self._every = max(1, min(RECORD_EVERY, total // RECORDS))
        self.console = Console(quiet=not active, soft_wrap=True, highlight=False)
        self._began = (time.monotonic(), start)
        self._reported = -math.inf
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._smooth: dict[str, float] = {}
        self._steps = 0
        self._images = 0
        self._since = time.monotonic()
        self._trackers: Trackers | None = None
        self._bar: Progress | None = None
        self._evaluation: TaskID | None = None  # its bar
        if active:
            drop_after(run / "metrics.jsonl", start, progress.evaluated_at)
            self._trackers = Trackers(config, run, start, self.note)
            self._bar = self._start_bar(start)

    def note(self, text: str) -> None:
        """One line for the person."""
        self.console.print(printable(text), markup=False)

    def step(self, iteration: int, losses: dict[str, float], rate: float, norm: float, images: int) -> None:
        """Report one optimiser step. `iteration` counts it, from 1; losses are means over its images."""
        if not self.active:
            return
        self._last = iteration, rate
        for name, value in {**losses, "gradient_norm": norm}.items():
            self._sums[name] += value
        self._steps += 1
        self._images += images
        for name, value in losses.items():
            self._smooth[name] = 0.9 * self._smooth.get(name, value) + 0.1 * value
        if self._bar is not None:
            self._bar.update(self._task, completed=iteration, text=self._text(iteration, images))
        elif time.monotonic() - self._reported > PLAIN_EVERY or iteration == self.total:
            self._reported = time.monotonic()
            self.note(f"{iteration}/{self.total}  {self._text(iteration, images)}  lr {rate:.2g}")
        if iteration % self._every == 0 or iteration == self.total:
            self._record(iteration, rate)

    def evaluation(self, iteration: int, scores: dict[str, Any], seconds: float) -> None:
        """Record the AP of one evaluation."""
        if self.active:
            self._write(
                {
                    "kind": "evaluation",
                    **self._where(iteration),
                    "seconds": round(seconds, 1),
                    "scores": scores,
                }
            )
            figures = {
                f"{kind}/{name}": value for kind, numbers in scores.items() for name, value in numbers.items()
            }
            self._track({name: value for name, value in figures.items() if value is not None}, iteration)

    def pause(self) -> None:
        """The time from now to `go_on` is not training time."""
        self._paused = time.monotonic()

    def evaluating(self, done: int, total: int | None) -> None:
        """How far the evaluation is, below the bar of the training."""
        if self._bar is None:
            return
        if self._evaluation is None:
            self._evaluation = self._bar.add_task("evaluate", text="images evaluated")
        self._bar.update(self._evaluation, completed=done, total=total)

    def go_on(self) -> None:
        if self._bar is not None and self._evaluation is not None:
            self._bar.remove_task(self._evaluation)
            self._evaluation = None
        pause = time.monotonic() - self._paused
        began, start = self._began
        self._began = (began + pause, start)
        self._since += pause

    def close(self) -> None:
        if self._steps:
            self._record(*self._last)
        if self._bar is not None:
            self._bar.stop()
        if self._trackers is not None:
            self._trackers.close()

    def _start_bar(self, start: int) -> Progress | None:
        if not self.console.is_terminal:
            return None
        one_line = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        text = TextColumn("{task.fields[text]}", markup=False, table_column=one_line)
        columns = (BarColumn(bar_width=20), MofNCompleteColumn(), text)
        bar = Progress(*columns, console=self.console, expand=True)
        self._task = bar.add_task("train", total=self.total, completed=start, text="")
        bar.start()
        return bar

    def _text(self, iteration: int, images: int) -> str:
        """Speed, time left and memory, then the smoothed losses, which a narrow terminal may cut off."""
        began, start = self._began
        seconds = max(1e-9, time.monotonic() - began) / max(1, iteration - start)
        left = _duration(seconds * (self.total - iteration))
        losses = "  ".join(f"{name} {value:.3f}" for name, value in self._smooth.items())
        return f"{left} left  {images / seconds:.1f} images/s  {memory_gb():.1f} GB  {losses}"

    def _record(self, iteration: int, rate: float) -> None:
        seconds = time.monotonic() - self._since
        means = {name: value / self._steps for name, value in self._sums.items()}
        record = {
            "kind": "train",
            **self._where(iteration),
            "lr": rate,
            **{
                name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in means.items()
            },
            "images_per_s": round(self._images / max(seconds, 1e-9), 3),
            "memory_gb": round(memory_gb(), 3),
        }
        self._write(record)
        floats = {f"train/{name}": value for name, value in record.items() if isinstance(value, float)}
        self._track(floats, iteration)
        self._sums.clear()
        self._steps = self._images = 0
        self._since = time.monotonic()

    def _where(self, iteration: int) -> dict[str, float]:
        return {"iteration": iteration, "epoch": round(iteration / self.per_epoch, 4)}

    def _write(self, record: dict[str, Any]) -> None:
        if self.metrics is not None:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def _track(self, figures: dict[str, float], iteration: int) -> None:
        if self._trackers is not None:
            self._trackers.log(figures, iteration)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl; a last line that a kill left unfinished is left out.

    Raises:
        UserError: damaged; the line is named.
    """
    records = []
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(_record_of(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            if number < len(lines):
                remedy = "remove that line, or the whole file"
                raise UserError(f"{path}: line {number} is damaged; {remedy}") from None
    return records


def _record_of(line: bytes) -> dict[str, Any]:
    """A line of metrics.jsonl, with what the report and a resume ask of it.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: damaged.
    """
    record = json.loads(line)
    known = isinstance(record["iteration"], int) and isinstance(record["epoch"], int | float)
    scores = record["scores"].values() if record["kind"] == "evaluation" else ()
    figures = [kind[name] for kind in scores for name in ("AP", "AP50")]
    if not known or not all(figure is None or isinstance(figure, int | float) for figure in figures):
        raise ValueError("a figure is no number")
    return record  # type: ignore[no-any-return]


def drop_after(path: Path, iteration: int, evaluated_at: int) -> None:
    """Remove the records of what a resume does again: steps after `iteration`, evaluations after
    `evaluated_at`.
    """
    if not path.exists():
        return
    last = {"evaluation": evaluated_at}
    kept = [r for r in read_metrics(path) if r["iteration"] <= last.get(r["kind"], iteration)]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def memory_gb() -> float:
    """Memory at the peak on a GPU, of this process now on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return float(psutil.Process().memory_info().rss) / 2**30


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
