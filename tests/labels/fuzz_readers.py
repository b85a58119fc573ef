"""Spoils label files of every format by the ten thousand and prints what the readers made of them.

    python tests/labels/fuzz_readers.py --count 20000 --seed 0 [READER ...]

Case N of a seed is always the same: `--only N` runs it by itself and leaves its files to look at.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fuzz import Outcome, Subject, forget_peak, peak_megabytes, try_one

READERS = [
    "cityscapes",
    "coco",
    "coco_dialects",
    "coco_panoptic",
    "cvat",
    "instance_png",
    "label_studio",
    "labelme",
    "lvis",
]
READERS += ["mask_folders", "penn_fudan", "supervisely", "via", "voc", "yolo", "yolo_dialects"]
READERS += ["cellpose", "segmentation_masks"]
READERS += ["qupath", "imagej_rois", "createml", "dota", "bdd100k", "kitti_mots", "mpii"]
READERS += ["datumaro", "open_images", "kitti_semantic", "run_lengths", "box_tables"]
KINDS = ("read", "repaired", "DataError", "UserError")
HANGS = 3600  # seconds; on a busy machine we may be stopped for long
SHOWN = 5  # examples of what goes wrong


@dataclass
class Tally:
    """The outcomes of one reader."""

    kinds: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    fewer: list[int] = field(default_factory=list)  # cases that lost something and do not say so
    defects: dict[str, list[int]] = field(default_factory=dict)  # cases by where they failed
    slowest: float = 0.0  # seconds
    memory: float = 0.0  # MB that a case added to the peak


def run_reader(name: str, folder: Path, cases: range, seed: int) -> Tally:
    """Run the cases of one reader. Defects are tallied, not raised."""
    subjects: list[Subject] = importlib.import_module(f"test_{name}").subjects(folder)
    tally = Tally()
    for number in cases:
        forget_peak()
        begin, before = time.process_time(), peak_megabytes()
        # a library that loops does not let Python end it: tell where it is and stop
        faulthandler.dump_traceback_later(HANGS, exit=True)
        try:
            outcome = try_one(subjects, _random(seed, name, number))
        except Exception as error:  # noqa: BLE001 - all that the claim excludes
            tally.defects.setdefault(_place(error), []).append(number)
        else:
            _add(tally, outcome, number, folder)
        tally.slowest = max(tally.slowest, time.process_time() - begin)
        tally.memory = max(tally.memory, peak_megabytes() - before)
    faulthandler.cancel_dump_traceback_later()
    return tally


def show_case(name: str, number: int, seed: int) -> None:
    """Run one case as `run_reader` does, with a traceback where it fails, and keep its files."""
    folder = tempfile.mkdtemp(prefix=f"fuzz-{name}-{number}-")
    print(f"{name}, case {number}: {folder}")
    try:
        print(
            try_one(
                importlib.import_module(f"test_{name}").subjects(Path(folder)),
                _random(seed, name, number),
                mend=False,
            )
        )
    except Exception:
        traceback.print_exc()


def _random(seed: int, name: str, number: int) -> Random:
    return Random(f"{seed} {name} {number}")


def _add(tally: Tally, outcome: Outcome, number: int, folder: Path) -> None:
    tally.kinds[outcome.kind] += 1
    if outcome.message:
        tally.messages[_kind(outcome.message.replace(str(folder), ""))] += 1
    if outcome.fewer:
        tally.fewer.append(number)


def _place(error: BaseException) -> str:
    """The innermost line of ours or of a test that an error came through, and its first line."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/site-packages/" not in frame.filename
    ]
    first = next(iter(str(error).splitlines()), "")
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: {type(error).__name__}: {first[:150]}"


def _kind(message: str) -> str:
    """A message without what is different in every case."""
    message = message.partition(": ")[2] or message
    return re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|[-+]?\d[\w.,+]*", "_", message)[:70]


def print_head() -> None:
    print(f"{'reader':<14}{'cases':>8}" + "".join(f"{kind:>11}" for kind in KINDS), end="")
    print(f"{'messages':>10}{'slowest s':>11}{'most MB':>9}{'defects':>9}")


def print_row(name: str, tally: Tally) -> None:
    failed = sum(map(len, tally.defects.values()))
    print(f"{name:<14}{sum(tally.kinds.values()) + failed:>8}", end="")
    print("".join(f"{tally.kinds[kind]:>11}" for kind in KINDS), end="")
    print(f"{len(tally.messages):>10}{tally.slowest:>11.2f}{tally.memory:>9.0f}{failed:>9}", flush=True)


def print_details(name: str, tally: Tally, messages: int) -> None:
    for place, cases in tally.defects.items():
        print(f"{name}: DEFECT {len(cases)} x {place}; cases {cases[:SHOWN]}")
    if tally.fewer:
        print(
            f"{name}: {len(tally.fewer)} data sets have fewer objects and no repair, cases "
            f"{tally.fewer[:SHOWN]}"
        )
    for message, count in tally.messages.most_common(messages):
        print(f"{name}: {count:>6} x {message}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "readers", nargs="*", default=READERS, metavar="READER", help=f"of {', '.join(READERS)}"
    )
    parser.add_argument("--count", type=int, default=20_000, help="cases of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one case")
    parser.add_argument("--messages", type=int, default=10, help="kinds of messages to show of each reader")
    options = parser.parse_args(arguments)
    for name in options.readers:
        importlib.import_module(f"test_{name}")  # all, before the first has taken its time
        if options.only is not None:
            show_case(name, options.only, options.seed)
    if options.only is not None:
        return 0
    print_head()
    tallies = {}
    for name in options.readers:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            tallies[name] = run_reader(name, Path(folder), range(options.count), options.seed)
        print_row(name, tallies[name])
    for name, tally in tallies.items():
        print_details(name, tally, options.messages)
    return 1 if any(tally.defects for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
