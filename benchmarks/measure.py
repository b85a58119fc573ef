"""Timing of several ways beside one another: taken in turns, so that a noisy machine is noisy to all of them
alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from maskrcnn.files import write_json

OURS, PEER = "ours", "torchvision"
BEGIN = time.monotonic()


@dataclass
class Line:
    """One thing that was measured: seconds of each round, by who did it."""

    name: str
    seconds: dict[str, list[float]]
    least: float | dict[str, float] | None = (
        None  # the ratio that we aim at: to the first peer, or to those named
    )
    notes: dict[str, Any] = field(default_factory=dict)

    def median(self, who: str) -> float:
        return statistics.median(self.seconds[who])

    def ratio(self, peer: str) -> float:
        """How many times faster ours is, as the median over rounds: both of a round saw the same machine."""
        pairs = zip(self.seconds[peer], self.seconds[OURS], strict=True)
        return statistics.median(theirs / mine for theirs, mine in pairs)

    def aims(self) -> dict[str, float]:
        """The ratio that we aim at, by peer."""
        if isinstance(self.least, dict):
            return self.least
        others = [who for who in self.seconds if who != OURS]
        return {others[0]: self.least} if self.least and others else {}


def in_turns(ways: dict[str, Callable[[], Any]], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of each way in each of `rounds`, after `warm` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm + rounds):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            if number >= warm:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many other processes that do nothing but keep a core busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


class Apart:
    """A way that runs in a process of its own, because its setting is the whole process's; `serve` is its
    other end.
    """

    def __init__(self, script: str, name: str, *options: str) -> None:
        command = [sys.executable, script, "--serve", name, *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def __call__(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self._answer()

    def close(self) -> int:
        """End the process; its peak memory in bytes."""
        assert self._process.stdin is not None
        self._process.stdin.write("end\n")
        self._process.stdin.flush()
        peak = int(self._answer().split()[1])
        self._process.wait()
        return peak

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("done"):
            raise SystemExit(f"the process of {' '.join(map(str, self._process.args))} ended: {line}")  # type: ignore[arg-type]
        return line


def serve(way: Callable[[], Any]) -> None:
    """Do the way each time that a line is read; the other end is `Apart`."""
    print("done", flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        way()
        print("done", flush=True)
    print("done", peak_memory(), flush=True)


def peak_memory(process: int | str = "self") -> int:
    """Bytes that a process has held at most, 0 where it has ended; Linux only. `getrusage` would count what
    its parent held, too.
    """
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")), 0)


def held_memory(process: int | str, kind: str = "Pss:") -> int:
    """Bytes that a process and its children hold now, 0 where it has ended; Linux only.

    Args:
        kind: "Pss:" counts each one's part of what several share; "Pss_Anon:" leaves out files, such as
            libraries, which other programs may share from now on.
    """
    try:
        children = Path(f"/proc/{process}/task").glob("*/children")
        below = sum(held_memory(child, kind) for file in children for child in file.read_text().split())
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return below + next(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))


def in_child(script: str, *options: str) -> dict[str, Any]:
    """The JSON on the last line that a script prints in a process of its own."""
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(done.stderr.strip() or f"{script} ended with {done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peak_gflops(side: int = 2048, rounds: int = 5) -> float:
    """What this machine reaches in fp32, in 1e9 operations a second: the best round of a product of two
    square matrices or of a 3x3 convolution of 256 channels, which PyTorch gives to two libraries, of which
    either may be the faster."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    x, weight = torch.rand(1, 256, 100, 168), torch.rand(256, 256, 3, 3)
    x, weight = (each.to(memory_format=torch.channels_last) for each in (x, weight))
    ways = {"product": lambda: a @ b, "convolution": lambda: torch.nn.functional.conv2d(x, weight, padding=1)}
    with torch.no_grad():
        seconds = in_turns(ways, rounds, warm=2)
    operations = {"product": 2 * side**3, "convolution": 2 * 9 * 256 * x.numel()}
    return max(operations[way] / min(taken) for way, taken in seconds.items()) / 1e9


def share_of_peak(gflop: float, seconds: float, peak: float) -> str:
    """How much of the peak `gflop` in `seconds` reach."""
    return f"{gflop / seconds / peak:.0%}"


def torchvision() -> Any | None:
    """torchvision, where the interpreter has it (benchmarks/README.md says how); None where it has not."""
    try:
        import torchvision as found
    except (ImportError, RuntimeError, OSError):
        return None
    return found


def arguments(about: str | None, rounds: bool = True) -> argparse.ArgumentParser:
    """The options that every benchmark has, or every one that goes in rounds."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=form)
    parser.add_argument("--json", type=Path, help="write the figures here")
    if rounds:
        parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    return parser


def machine() -> dict[str, Any]:
    """Where and with what the figures were taken."""
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    except OSError:
        commit = ""
    peer = torchvision()
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "torchvision": getattr(peer, "__version__", None),
        "python": platform.python_version(),
        "commit": commit,
        "load": Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "",
        "took_s": round(time.monotonic() - BEGIN),
    }


def in_words(facts: dict[str, Any]) -> str:
    """On one line."""
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def report(title: str, lines: list[Line], out: Path | None, **more: Any) -> None:
    """Print medians, spread and ratios as a table, and write everything as JSON."""
    where = machine()
    table = Table(title=title)
    names = list(dict.fromkeys(who for line in lines for who in line.seconds))
    table.add_column("")
    for who in names:
        table.add_column(f"{who}, ms", justify="right")
    for who in names[1:]:
        table.add_column(f"{who} / {names[0]}", justify="right")
    extra = list(dict.fromkeys(key for line in lines for key in line.notes))
    for key in extra:
        table.add_column(key, justify="right")
    for line in lines:
        cells = [_milliseconds(line.seconds[who]) if who in line.seconds else "" for who in names]
        cells += [_ratio(line, who) if who in line.seconds else "" for who in names[1:]]
        table.add_row(line.name, *cells, *[str(line.notes.get(key, "")) for key in extra])
    console = Console(width=None if sys.stdout.isatty() else 150)  # else a log gets tables of 80 columns
    console.print(table)
    told = {key: value for key, value in more.items() if not isinstance(value, list | dict)}
    console.print(in_words(where | told), highlight=False)
    if out is not None:
        rows = [
            {"name": line.name, "seconds": line.seconds, "aims": line.aims()}
            | {"ratios": {who: line.ratio(who) for who in line.seconds if who != names[0]}}
            | line.notes
            for line in lines
        ]
        write_json(out, {"title": title, "machine": where, "lines": rows} | more)


def _ratio(line: Line, who: str) -> str:
    """The ratio, and what it is to be at least."""
    aim = line.aims().get(who)
    return f"{line.ratio(who):.2f}" + (f" (aim {aim:g})" if aim else "")


def _milliseconds(seconds: list[float]) -> str:
    """The median and how far the rounds lie apart."""
    ms = [1e3 * s for s in seconds]
    digits = 0 if statistics.median(ms) >= 100 else 1
    return f"{statistics.median(ms):,.{digits}f} ({min(ms):,.{digits}f} to {max(ms):,.{digits}f})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
