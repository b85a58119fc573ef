"""Trainings of a tiny network that are killed and resumed until they are done.

Run as a program, since a fork lacks the threads that other tests have started: `kill_harness.py FOLDER SEED TRIALS KILLS`.
A trial runs in a fork of this process, which has torch loaded. It is killed at its n-th file operation (Python's
audit events), where files are written and replaced, or by a signal after some time.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from maskrcnn.train.checkpoint import read_state
from maskrcnn.train.log import read_metrics
from maskrcnn.train.trainer import Trainer, train
from tiny_network import tiny_config, tiny_data, tiny_network

CONFIG = {"epochs": 1, "ema": 0.9, "save_every_seconds": 1e-9, "evaluate_every_epochs": 0.5}
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "shutil.rmtree")


def train_tiny(run: Path, resume: bool) -> None:
    set_seed(0)
    config = tiny_config(**CONFIG)
    train(config, tiny_data(), tiny_data("val"), run, resume=resume, network=tiny_network(config))


def begun(run: Path) -> bool:
    return any((run / name).exists() for name in ("config.yaml", "state.pt", "metrics.jsonl", "weights"))


def in_fork(run: Path, prepare: Any = None) -> int:
    """Train in a fork, which `prepare` may doom; its exit code, negative for a signal."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        Trainer._draw = lambda *_: None  # type: ignore[method-assign]  # drawing takes most of the time
        if prepare:
            prepare(run)
        train_tiny(run, resume=begun(run))
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


def at_file_operation(number: int) -> Any:
    """Kill the process at its file operation `number` in the run's folder."""

    def prepare(run: Path) -> None:
        seen = 0

        def count(event: str, words: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in FILE_EVENTS and words and str(words[0]).startswith(str(run)):
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)

    return prepare


def after(seconds: float, number: signal.Signals) -> Any:
    """Send the process a signal after some time."""

    def prepare(run: Path) -> None:
        def send() -> None:
            time.sleep(seconds)
            os.kill(os.getpid(), number)

        threading.Thread(target=send, daemon=True).start()

    return prepare


def outcome(run: Path) -> dict[str, Any]:
    """What a training must leave, however often it was killed."""
    state = read_state(run / "state.pt")
    del state["progress"]["seconds"]
    records = read_metrics(run / "metrics.jsonl")
    weights = {name: (run / "weights" / name / "model.safetensors").read_bytes() for name in ("last", "best")}
    scores = [(r["iteration"], r["scores"]) for r in records if r["kind"] == "evaluation"]
    return {"state": state, "weights": weights, "scores": scores, "report": (run / "report.md").exists()}


def survive(run: Path, seed: int, kills: int) -> list[int]:
    """Train to the end through so many kills at random moments; the exit codes of the killed ones."""
    draw, codes = random.Random(seed), []
    for _ in range(kills):
        doom = (
            at_file_operation(draw.randrange(1, 250))
            if draw.random() < 0.7
            else after(draw.uniform(0, 1.5), draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        )
        codes.append(in_fork(run, doom))
    assert in_fork(run) == 0
    return codes


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def main(folder: Path, seed: int, trials: int, kills: int) -> None:
    """Exit code 1 where a training that was killed ends otherwise than one that was not."""
    torch.set_num_threads(1)
    assert in_fork(folder / "whole") == 0
    whole = outcome(folder / "whole")
    for trial in range(seed, seed + trials):
        run = folder / str(trial)
        codes = survive(run, trial, kills)
        # before its loop a training leaves signals to the program around it: here Python's own answer
        wrong = set(codes) - {0, 130, 143, -signal.SIGKILL, -signal.SIGTERM}
        found = outcome(run)
        differ = [key for key, value in whole.items() if not same(found[key], value)]
        left = [path.name for path in run.rglob("*.tmp")]
        print(trial, codes, differ, left, flush=True)
        if wrong or differ or left:
            sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
