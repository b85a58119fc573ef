"""The trainings of a table: planned to a budget, each variant and seed in a folder of its own, resumed after
any kill.

Variants with equal seeds see the same images in the same order for the same number of steps.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from typing import Any

from pydantic import Field

from maskrcnn.config.load import Config
from maskrcnn.config.section import Section, validate
from maskrcnn.errors import UserError
from maskrcnn.evaluate.coco import find_all
from maskrcnn.files import locked, write_json
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.types import Dataset
from maskrcnn.reproduce.table import Table, Variant
from maskrcnn.safe_files import parse_json
from maskrcnn.train.log import read_metrics
from maskrcnn.train.run_folder import describe_data, environment
from maskrcnn.train.trainer import train
from maskrcnn.training_data.prepare import prepare_data
from maskrcnn.weights.load import load_model

FOUND = "found.json"  # what a finished run's weights find in the val split; it is written last
PILOT = 12  # steps of a pilot run
LEAST_STEPS = 60  # of a training
TIMED_IMAGES = 8

Say = Callable[[str], None]


class Pilot(Section):
    """What the short run measured that scales the steps to a budget."""

    minutes: float
    """The budget."""
    seconds_per_step: dict[str, float]
    """Of each variant."""
    memory_gb: dict[str, float | None]
    """Of each variant."""
    seconds_per_evaluation: float
    """Of the whole val split."""


class Plan(Section):
    """What was settled before the first training; a later call goes on with it."""

    steps: int = Field(ge=1)
    """Of each training."""
    seeds: int = Field(ge=1)
    """Trainings of each variant."""
    pilot: Pilot | None
    """None: the steps were given, not scaled to a budget."""
    digest: str
    """Of the table and the data."""
    data: dict[str, Any]
    """What was trained and measured on."""
    environment: dict[str, Any]
    """Commit, versions and machine."""


@dataclass(frozen=True)
class Job:
    """One training."""

    variant: Variant
    seed: int
    folder: Path

    @property
    def done(self) -> bool:
        return (self.folder / FOUND).is_file()


@dataclass
class Study:
    """A table with the data that it is measured on, and the folder of its runs."""

    table: Table
    train_data: Dataset
    val_data: Dataset
    folder: Path
    source: str  # the data, as a person named them

    def jobs(self, seeds: int) -> list[Job]:
        """All trainings, a seed after the other."""
        return [
            Job(variant, seed, self._run(variant.name, seed))
            for seed in range(seeds)
            for variant in self.table.variants
        ]

    def _run(self, name: str, seed: int) -> Path:
        return self.folder / "runs" / f"{_plain(name)}-{seed}"

    def config(self, job: Job, steps: int) -> Config:
        """What is trained."""
        batch = self.table.config(job.variant, job.seed, **self._start(job)).train.batch
        per_epoch = -(-len(self.train_data) // batch)
        return self.table.config(
            job.variant, job.seed, epochs=steps / per_epoch, evaluate_every_epochs=0, **self._start(job)
        )

    def _start(self, job: Job) -> dict[str, str]:
        after = job.variant.after
        return {} if after is None else {"init": str(self._run(after, job.seed) / "weights" / "last")}

    def waits_for(self, job: Job) -> str | None:
        """The training that must be done before `job`, where it is not."""
        after = job.variant.after
        if after is None or (self._run(after, job.seed) / FOUND).is_file():
            return None
        return f"{after}, seed {job.seed}"

    def digest(self) -> str:
        """Of the table and the data: what must not change under a plan."""
        parts = [self.table.model_dump_json(), *(one["digest"] for one in self.described.values())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def described(self) -> dict[str, dict[str, Any]]:
        """Source, number of images and digest of both splits; it goes through all labels."""
        splits = {"train": describe_data(self.train_data), "val": describe_data(self.val_data)}
        return {
            split: {name: one[name] for name in ("source", "images", "digest")}
            for split, one in splits.items()
        }

    # ---- plan

    def plan(self, minutes: float | None, steps: int | None, seeds: int, say: Say) -> Plan:
        """The plan of this folder, made at the first call.

        Args:
            minutes: the budget, to which a pilot run scales the steps; None: `steps` are given.
            steps: of each training.

        Raises:
            UserError: the folder holds another plan, or the budget is too small.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "plan.json"
        with locked(self.folder / ".lock"):
            if not path.is_file():
                pilot = None
                if minutes is not None:
                    steps, pilot = self._pilot(minutes, seeds, say)
                assert steps is not None
                made = Plan(
                    steps=steps,
                    seeds=seeds,
                    pilot=pilot,
                    digest=self.digest(),
                    data={"source": self.source, **self.described},
                    environment=environment(1),
                )
                write_json(path, made.model_dump())
            plan = validate(Plan, parse_json(path, "remove the folder and start again"), str(path))
        asked = {"seeds": seeds, "digest": self.digest()}
        other = [name for name, value in asked.items() if getattr(plan, name) != value]
        if minutes != (plan.pilot.minutes if plan.pilot else None):
            other.append("budget")
        elif minutes is None and steps != plan.steps:
            other.append("steps")
        if other:
            raise UserError(
                f"{self.folder}: holds runs of {'other data' if 'digest' in other else 'another plan'} "
                f"({', '.join(other)}); give the same as before, or another --out"
            )
        return plan

    def _pilot(self, minutes: float, seeds: int, say: Say) -> tuple[int, Pilot]:
        """The steps of a training that `minutes` have room for, and what they were scaled by."""
        say(f"pilot run: {len(self.table.variants)} variants, {PILOT} steps each")
        started = time.monotonic()
        times, memory = {}, {}
        for job in self.jobs(1):
            times[job.variant.name], memory[job.variant.name] = self._time(job)
        weights = self._pilot_folder(self.jobs(1)[-1]) / "weights" / "last"
        begun = time.monotonic()
        few = Subset(self.val_data, list(range(min(TIMED_IMAGES, len(self.val_data)))))
        list(find_all(load_model(weights), few))
        evaluation = (time.monotonic() - begun) / len(few) * len(self.val_data)
        rmtree(self.folder / "pilot")
        runs = seeds * len(times)
        fixed = time.monotonic() - started + runs * evaluation
        steps = int((minutes * 60 - fixed) / (seeds * sum(times.values())))
        if steps < LEAST_STEPS:
            fewer = ", or fewer --seeds" if seeds > 1 else ""
            needed = (fixed + LEAST_STEPS * seeds * sum(times.values())) / 60 * 1.1
            raise UserError(
                f"--budget: {runs} trainings of {LEAST_STEPS} steps take about {needed:.0f} minutes here; "
                f"give --budget {needed:.0f}m{fewer}"
            )
        say(f"{runs} trainings of {steps} steps: {sum(times.values()) / len(times):.2f} s a step")
        return steps, Pilot(
            minutes=minutes, seconds_per_step=times, memory_gb=memory, seconds_per_evaluation=evaluation
        )

    def _pilot_folder(self, job: Job) -> Path:
        return self.folder / "pilot" / _plain(job.variant.name)

    def _time(self, job: Job) -> tuple[float, float | None]:
        """Seconds of a step of `job`, and the memory that it took, GB."""
        folder = self._pilot_folder(job)
        if folder.exists():  # of a pilot run that was killed
            rmtree(folder)
        config = self.config(job, PILOT)
        if config.train.init is not None:
            assert job.variant.after is not None
            after = Job(self.table.variant(job.variant.after), job.seed, folder)
            config.train.init = str(self._pilot_folder(after) / "weights" / "last")
        _train(config, self.train_data, self.val_data, folder, "maskrcnn reproduce", resume=False)
        # without the first step, which takes longer, and the last, told together with the one before
        steps = [r for r in read_metrics(folder / "metrics.jsonl") if r["kind"] == "train"]
        times = [config.train.batch / step["images_per_s"] for step in steps[1:-1]]
        return sum(times) / len(times), steps[-1].get("memory_gb")

    # ---- run

    def run(self, plan: Plan, share: tuple[int, int], say: Say) -> list[str]:
        """Train and evaluate what is not done yet.

        Args:
            share: (2, 3): the second of three processes, each of which does every third training.

        Returns:
            What is not done: other processes' share, and what waits for it.
        """
        jobs = self.jobs(plan.seeds)
        for number, job in enumerate(jobs):
            if job.done or number % share[1] != share[0] - 1 or self.waits_for(job):
                continue
            say(f"training {number + 1} of {len(jobs)}: {job.variant.name}, seed {job.seed}")
            train_and_find(
                self.config(job, plan.steps), self.train_data, self.val_data, job.folder, "maskrcnn reproduce"
            )
        return [f"{job.variant.name}, seed {job.seed}" for job in jobs if not job.done]


def train_and_find(
    config: Config, train_data: Dataset, val_data: Dataset, folder: Path, command: str
) -> None:
    """Train in `folder`, going on where a kill stopped it, and write what the weights find in `val_data`."""
    resume = (folder / "config.yaml").is_file()
    prepared = _train(config, train_data, val_data, folder, command, resume)
    assert prepared is not None
    write_json(folder / FOUND, list(find_all(load_model(folder / "weights" / "last"), prepared)))
    (folder / "state.pt").unlink(missing_ok=True)  # of a finished run it is of no more use


def read_found(folder: Path) -> list[dict[str, Any]]:
    """What `train_and_find` wrote: COCO results.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FOUND
    try:
        results: list[dict[str, Any]] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}; remove {folder} to train it again") from None
    return results


def _train(
    config: Config, train_data: Dataset, val_data: Dataset | None, folder: Path, command: str, resume: bool
) -> Dataset | None:
    """One training without evaluation; returns the val split as its weights take it."""
    config, train_data, val_data, _ = prepare_data(config, train_data, val_data)
    train(config, train_data, None, folder, resume=resume, command=command)
    return val_data


def _plain(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
