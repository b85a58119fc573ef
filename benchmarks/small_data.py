"""AP against the number of training images: by what a training starts from, and with a setting changed.

    python benchmarks/small_data.py --data DATA --sizes 25 100 all --steps 300 --out FOLDER

Each seed draws its own order of the training images, of which the sizes are the first so many, the same for
all ways; every training has the same batch and the same steps (or, by --time, what takes as long) and is
measured once, at its end, on the whole val split. The ways:

- auto: what `maskrcnn train DATA` chooses for these images, started from a shipped model;
- recipe: the shipped recipe of such objects, as it is;
- trunk, scratch: as auto, but started from an ImageNet trunk, or from random weights with group norms (He et
  al. 2019);
- any other name: as auto, started from that model.

--change KEY=VALUE adds --of (auto) with a setting changed, and the difference. The first way, or --of, is
what the others are compared with, by the paired bootstrap over images and seeds of `reproduce`. Trainings
that come to the same settings are one. A killed run goes on by the same command; --only 1/2 and 2/2 share
the work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, machine

from maskrcnn.check.advice import Advice
from maskrcnn.check.auto import choose
from maskrcnn.check.measure import measure
from maskrcnn.cli.common import say, seconds_of, share_of
from maskrcnn.config.load import Config, load_config
from maskrcnn.config.section import dotted
from maskrcnn.environment import best_device
from maskrcnn.errors import UserError
from maskrcnn.evaluate.coco import find_all
from maskrcnn.evaluate.resampled import Matches, match_images
from maskrcnn.evaluate.truth import KIND_NAMES, Kind, labelled_kinds
from maskrcnn.files import locked, write_json, write_text
from maskrcnn.labels.open import open_pair
from maskrcnn.labels.subset import Subset
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.types import Dataset
from maskrcnn.reproduce.charts import save_chart
from maskrcnn.reproduce.compare import DRAWS, compare
from maskrcnn.reproduce.runs import FOUND, read_found, train_and_find
from maskrcnn.reproduce.table import Comparison
from maskrcnn.safe_files import parse_json
from maskrcnn.train.run_folder import describe_data
from maskrcnn.train.setup import take_only_class
from maskrcnn.tuning import tune
from maskrcnn.weights.load import find_folder, load_model
from maskrcnn.weights.store import load_model_config

GENERATED = "generated images of ten classes"
WAYS = ("auto", "recipe", "trunk", "scratch")
SCRATCH = [
    *("train.init=null", "train.trunk=null", "train.backbone_lr_factor=1"),
    *("model.backbone.freeze=0", "model.backbone.norm=group"),
]
PLACES = {"data.workers", "train.log"}  # settings that change no result


@dataclass(frozen=True)
class Way:
    """A line of the chart."""

    start: str  # of WAYS, or the name of a model
    change: tuple[str, ...] = ()  # settings over it

    @property
    def name(self) -> str:
        return " ".join([self.start, *self.change])


@dataclass
class Job:
    """One training."""

    config: Config
    train: Dataset
    val: Dataset
    folder: Path

    @property
    def done(self) -> bool:
        return (self.folder / FOUND).is_file()


class SmallData:
    """What is asked for, with the data that it is measured on."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.train, self.val = open_data(options.data)
        # masks, where there are any, first: the first is drawn
        self.kinds = sorted(labelled_kinds(self.val), key="segm".__ne__)
        self.source = options.data or GENERATED
        self.digest = "".join(describe_data(one)["digest"] for one in (self.train, self.val))
        whole = len(self.train)
        numbers = (whole if size == "all" else int(size) for size in options.sizes)
        self.sizes = sorted({size for size in numbers if size <= whole})
        if not self.sizes:
            raise UserError(f"--sizes: there are {whole} images; give fewer, or all")
        self.ways = [Way(name) for name in options.ways]
        self.base = Way(options.of or options.ways[0])
        self.ways += [Way(self.base.start, tuple(change)) for change in options.change]
        if self.base not in self.ways:
            self.ways.insert(0, self.base)
        self._jobs: dict[tuple[str, int, int], Job] = {}
        self._measured: dict[Way, int] = {}  # steps that --time is enough for

    def subset(self, size: int, seed: int) -> Subset:
        """The first so many images in the order of the seed."""
        order = np.random.default_rng(seed).permutation(len(self.train))
        return Subset(self.train, np.sort(order[:size]).tolist())

    def job(self, way: Way, size: int, seed: int) -> Job:
        """The training of a way; ways of equal settings have equal folders."""
        key = (way.name, size, seed)
        if key not in self._jobs:
            self._jobs[key] = self._job(way, size, seed, self._steps(way))
        return self._jobs[key]

    def jobs(self) -> dict[str, Job]:
        """All trainings, each once, by what they are: a seed after the other."""
        found: dict[Path, tuple[str, Job]] = {}
        for seed in range(self.options.seeds):
            for size in self.sizes:
                for way in self.ways:
                    job = self.job(way, size, seed)
                    found.setdefault(job.folder, (f"{way.name}, {size} images, seed {seed}", job))
        return dict(found.values())

    def _job(self, way: Way, size: int, seed: int, steps: int) -> Job:
        subset = self.subset(size, seed)
        config = self._config(way, subset, seed, steps)
        train, val, _ = take_only_class(config, subset, self.val)
        settings = {k: v for k, v in dotted(config.model_dump(mode="json")).items() if k not in PLACES}
        text = json.dumps([settings, self.digest, subset.indices.tolist()], sort_keys=True)
        name = f"{size}-{seed}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        return Job(config, train, val, self.options.out / name)

    def _config(self, way: Way, train: Dataset, seed: int, steps: int) -> Config:
        batch = min(self.options.batch, len(train))
        asked = [
            f"train.seed={seed}",
            f"train.batch={batch}",
            f"train.epochs={steps / -(-len(train) // batch)}",
        ]
        asked += ["train.evaluate_every_epochs=0", *self.options.set]
        advice = self._advice(train, [*asked, *self._start(way.start)])
        if advice.config.data.tiles is not None:
            raise UserError(
                f"{self.source}: auto cuts these images into tiles, which this benchmark does not"
            )
        if way.start != "recipe":
            return load_config(advice.recipe, [*advice.overrides, *way.change])
        heads = [] if train.keypoints else ["model.keypoint_head=null"]
        precision = f"train.precision={advice.config.train.precision}"
        recipe = self.options.recipe or ("quick" if self.options.data is None else advice.recipe)
        return load_config(recipe, [*heads, precision, *asked, *way.change])

    def _advice(self, train: Dataset, asked: Sequence[str]) -> Advice:
        return choose(self.source, train, self.val, asked=asked)

    def _start(self, start: str) -> list[str]:
        if start in ("auto", "recipe"):
            return []
        if start == "trunk":
            return ["train.init=null", f"train.trunk={self.whole.model.backbone.kind}-imagenet"]
        return SCRATCH if start == "scratch" else [f"train.init={start}"]

    @cached_property
    def whole(self) -> Config:
        """What auto chooses for all images."""
        return self._advice(self.train, []).config

    @property
    def start(self) -> str | None:
        """The model that auto starts from."""
        return self.whole.train.init

    @property
    def known(self) -> bool:
        """Whether that model knows the classes, so that it can be measured untrained."""
        if self.start is None:
            return False
        return load_model_config(find_folder(self.start)).classes == self.untrained.train.classes

    def _steps(self, way: Way) -> int:
        """Of each training of the way: as asked, or what --time is enough for, measured once."""
        if self.options.steps:
            return self.options.steps
        if way not in self._measured:
            self._measured[way] = self._measure(way)
        return self._measured[way]

    def _measure(self, way: Way) -> int:
        """Steps that --time is enough for; other processes, and later ones, take the first one's figure."""
        path, job = self.options.out / "steps.json", self._job(way, self.sizes[-1], 0, 1000)
        key = f"{job.folder.name} {self.options.time}"
        with locked(self.options.out / ".lock"):
            known = parse_json(path, "remove it to measure anew") if path.is_file() else {}
            if key not in known:
                cost = measure(job.config.model_copy(deep=True), job.train, None, best_device())
                known[key] = max(
                    1, int(seconds_of("--time", self.options.time) / cost.step / job.config.train.batch)
                )
                write_json(path, known)
        return int(known[key])

    # ---- run

    def run(self) -> None:
        """Train what this process is to do and is not done."""
        part, parts = share_of("--only", self.options.only)
        jobs = self.jobs()
        for number, (name, job) in enumerate(jobs.items()):
            if number % parts == part - 1 and not job.done:
                say(f"training {number + 1} of {len(jobs)}: {name}")
                train_and_find(job.config, job.train, job.val, job.folder, " ".join(sys.argv))
        if part == 1 and self.known and not self.untrained.done:
            say(f"{self.start}, untrained")
            model = load_model(self.start)
            write_json(self.untrained.folder / FOUND, list(find_all(model, self.untrained.val)))

    @cached_property
    def untrained(self) -> Job:
        """What auto starts from, as it is: measured, not trained."""
        train, val, _ = take_only_class(self.whole, self.train, self.val)
        name = hashlib.sha256(self.digest.encode()).hexdigest()[:12]
        return Job(self.whole, train, val, self.options.out / f"untrained-{self.start}-{name}")

    # ---- report

    def rows(self) -> list[dict[str, Any]]:
        """AP of each size and way, over the seeds that are done of it and of what it is compared with."""
        found = []
        for size in self.sizes:
            for way in self.ways:
                both = [
                    [self.job(one, size, n) for one in (way, self.base)] for n in range(self.options.seeds)
                ]
                pairs = [(own, other) for own, other in both if own.done and other.done]
                if pairs:
                    row = {"images": size, "way": way.name, "steps": self._steps(way), "seeds": len(pairs)}
                    found.append(row | self._compared(way.name, pairs))
        return found

    def _compared(self, name: str, pairs: list[tuple[Job, Job]]) -> dict[str, Any]:
        """AP of each kind, percent, and the difference to the way in second place."""
        base, found = self.base.name, {}
        for kind in self.kinds:
            runs = {base: [_matches(job, kind) for _, job in pairs]}
            runs[name] = [_matches(job, kind) for job, _ in pairs]
            outcome = compare(Comparison(of=name, to=base, kind=kind), runs, self.options.draws)
            found[kind] = asdict(outcome.figures[name]["AP"]) | {"each": outcome.each[name]}
            found[f"{kind} difference"] = asdict(outcome.difference["AP"])
        return found

    def untrained_ap(self) -> dict[str, float] | None:
        """AP of what auto starts from, where that is a model and was measured."""
        if not self.known or not self.untrained.done:
            return None
        return {kind: _matches(self.untrained, kind).average_precision()["AP"] for kind in self.kinds}

    def report(self) -> None:
        """The table, the chart and the JSON of what is done."""
        rows, untrained, where = self.rows(), self.untrained_ap(), machine()
        lines = table(rows, self.kinds, self.base.name)
        if untrained:
            figures = [f"{KIND_NAMES[kind]} AP {figure:.1f}" for kind, figure in untrained.items()]
            lines += ["", f"{self.start}, untrained: {', '.join(figures)}"]
        waiting = [name for name, job in self.jobs().items() if not job.done]
        lines += ["", f"Not done: {'; '.join(waiting)}"] if waiting else []
        told = [f"{self.source}: {len(self.val)} val images", f"batch {self.options.batch}"]
        told += [f"{key} {value}" for key, value in where.items() if key not in ("torchvision", "took_s")]
        lines += ["", ", ".join(told)]
        print("\n".join(lines))
        write_text(self.options.out / "table.md", "\n".join(lines) + "\n")
        if rows:
            draw(rows, untrained, self.kinds[0], self.source, self.options.out / "curves.png")
        if self.options.json:
            content = {"data": self.source, "machine": where, "untrained": untrained, "rows": rows}
            write_json(self.options.json, content)


def open_data(source: str | None) -> tuple[Dataset, Dataset]:
    """Train and val split; generated images where none are named."""
    if source is None:
        return Synthetic(fine=True, more=True), Synthetic(split="val", fine=True, more=True)
    train, val = open_pair(source)
    if val is None:
        raise UserError(f"{source}: has no val split; make one: maskrcnn split {source} --out FOLDER")
    return train, val


def _matches(job: Job, kind: Kind) -> Matches:
    return match_images(job.val, read_found(job.folder), kind)


def table(rows: list[dict[str, Any]], kinds: Sequence[Kind], base: str) -> list[str]:
    """The figures in Markdown, each with its interval."""
    names = [name for kind in kinds for name in (f"{KIND_NAMES[kind]} AP", f"less {base}")]
    lines = [["images", "way", *names, "steps", "seeds"], ["---:", "---", *["---:"] * (len(names) + 2)]]
    for row in rows:
        cells = [cell for kind in kinds for cell in (_interval(row[kind]), "")]
        if row["way"] != base:
            cells[1::2] = [_interval(row[f"{kind} difference"], "+") for kind in kinds]
        lines.append([str(row["images"]), row["way"], *cells, str(row["steps"]), str(row["seeds"])])
    return [f"| {' | '.join(line)} |" for line in lines]


def _interval(figure: dict[str, Any], sign: str = "") -> str:
    mean, low, high = (format(figure[key], f"{sign}.1f") for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def draw(
    rows: list[dict[str, Any]], untrained: dict[str, float] | None, kind: Kind, title: str, path: Path
) -> None:
    """AP against the number of images: a line for each way, with a band for its interval."""
    from matplotlib.figure import Figure

    image = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = image.subplots()
    curves: dict[str, tuple[list[dict[str, Any]], list[str]]] = {}  # ways of equal settings are one line
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        curves.setdefault(str([row[kind] for row in own]), (own, []))[1].append(way)
    for own, names in curves.values():
        x = [row["images"] for row in own]
        mean, low, high = ([row[kind][key] for row in own] for key in ("mean", "low", "high"))
        (line,) = axes.plot(x, mean, "o-", ms=5, label=", ".join(names))
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.12, lw=0)
    if untrained:
        axes.axhline(untrained[kind], color="grey", ls=":", label="auto's start, untrained")
    sizes = sorted({row["images"] for row in rows})
    axes.set(xscale="log", xlabel="training images", ylim=(0, None), title=title)
    axes.set_ylabel(f"{KIND_NAMES[kind]} AP, percent")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize="small")
    save_chart(image, path)


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    found = arguments(__doc__, rounds=False)
    found.add_argument("--data", help=f"labelled images with a val split; else {GENERATED}")
    found.add_argument("--sizes", nargs="+", default=["25", "50", "100", "250", "500", "all"])
    found.add_argument("--ways", nargs="+", default=list(WAYS), help="also names of models to start from")
    found.add_argument("--recipe", help="of the way of that name; else the one that auto begins with")
    found.add_argument("--seeds", type=int, default=3)
    found.add_argument("--steps", type=int, help="of each training; else --time")
    found.add_argument("--time", default="10m", help="of each training, evaluation apart")
    found.add_argument("--batch", type=int, default=4, help="images of a step, of all ways")
    found.add_argument("--set", action="append", default=[], help="KEY=VALUE of all trainings")
    found.add_argument("--change", nargs="+", action="append", default=[], help="KEY=VALUE over --of")
    found.add_argument("--of", help="what is changed and compared with; else the first of --ways")
    found.add_argument("--only", default="1/1", help="K/N: of N processes, do the K-th share")
    found.add_argument("--draws", type=int, default=DRAWS, help="of the bootstrap")
    found.add_argument("--out", type=Path, default=Path("out/small-data"))
    return found


def main(words: list[str] | None = None) -> None:
    options = parser().parse_args(words)
    tune()
    try:
        study = SmallData(options)
        options.out.mkdir(parents=True, exist_ok=True)
        study.run()
        study.report()
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
