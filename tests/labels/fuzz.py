"""The claim about every reader: of any bytes it makes a data set, or one line that names the file and says
what is wrong.

It holds within bounds of time and memory, and no image of the data set lies outside its folder.
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from claims import check_lines, one_line
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spoil import spoil

from maskrcnn.errors import DataError, RecordError, UserError
from maskrcnn.labels.detect import detect
from maskrcnn.labels.types import Dataset

SECONDS = 5.0  # of one processor for a case; most take a few thousandths
# an image of the largest size that we read is 0.5 GB; labels may claim as much
MEGABYTES = 1024


class TooSlow(BaseException):
    """Not an Exception: readers turn those into a DataError."""


@dataclass
class Subject:
    """A small valid data set, whose files are spoilt one at a time."""

    root: Path  # everything lies in here
    source: Path  # what is read
    read: Callable[[Path], Dataset]
    looks_like: Callable[[Path], bool]
    files: list[Path]  # that are spoilt
    by_folder: bool = False  # its images are those of a folder, so none can be gone without a word
    good: dict[Path, bytes] = field(default_factory=dict)  # their content
    size: tuple[int, int] = (0, 0)  # images and objects of the good data set

    def __post_init__(self) -> None:
        self.good = {path: path.read_bytes() for path in self.files}
        assert self.looks_like(self.source)
        self.size = _size(self.read(self.source))


@dataclass
class Outcome:
    """What came of one case."""

    kind: str  # "read", "repaired" or the name of the error
    message: str = ""
    fewer: bool = False  # images or objects are gone, and nothing is said about it


def check_spoilt(subjects: list[Subject], examples: int = 100) -> None:
    """Spoil the files of the subjects many times; Hypothesis chooses how, and shrinks what fails."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.randoms(use_true_random=False))
    def any_bytes_are_read_or_refused(rng: Random) -> None:
        try_one(subjects, rng)

    gc.collect()  # what tests before this one left open would warn in its midst
    any_bytes_are_read_or_refused()


def try_one(subjects: list[Subject], rng: Random, mend: bool = True) -> Outcome:
    """Spoil a file of one of the subjects, see what its reader makes of it, and mend it again."""
    subject = rng.choice(subjects)
    path = rng.choice(subject.files)
    good = subject.good[path]
    try:
        path.write_bytes(spoil(good, rng))
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            warnings.simplefilter("ignore", DeprecationWarning)  # which nobody is shown
            with bounded():
                outcome = judge(subject)
        assert not warned, f"warns: {warned[0].message}"
        return outcome
    finally:
        if mend:
            path.write_bytes(good)


def judge(subject: Subject) -> Outcome:
    """What the reader makes of the subject as it lies there.

    Raises:
        AssertionError: the outcome is neither a sound data set nor a sound refusal.
    """
    subject.looks_like(subject.source)
    try:
        detect(subject.source)
    except UserError as error:
        one_line(error)
    try:
        dataset = subject.read(subject.source)
    except UserError as error:
        line = one_line(error)
        assert str(subject.root) in line, f"names no file: {line}"
        if isinstance(error, DataError):
            assert isinstance(error, RecordError), f"a sentence, not a record: {line}"
            assert error.remedy and line == f"{error.fault}; {error.remedy}", f"no remedy: {line}"
        return Outcome("DataError" if isinstance(error, DataError) else "UserError", line)
    check_data_set(dataset, subject.root)
    size = _size(dataset)
    if subject.by_folder:
        assert size[0] >= subject.size[0] or dataset.problems, "an image is gone and nothing says so"
    fewer = not dataset.problems and (size[0] < subject.size[0] or size[1] < subject.size[1])
    return Outcome("repaired" if dataset.problems else "read", fewer=fewer)


def check_data_set(dataset: Dataset, root: Path) -> None:
    """Whether a data set is fit to be used, whatever it was read from."""
    assert len(dataset) >= 1, "no image"
    check_lines(dataset.problems.texts(), dataset.problems.lines())
    for index in range(len(dataset)):
        image = dataset.image(index)
        assert image.path is not None
        assert Path(os.path.realpath(image.path)).is_relative_to(os.path.realpath(root)), image.path
        for annotation in image.annotations:
            assert 0 <= annotation.label < len(dataset.classes)
            x0, y0, x1, y1 = annotation.box
            inside = -0.05 <= x0 < x1 <= image.width + 0.05 and -0.05 <= y0 < y1 <= image.height + 0.05
            assert inside, f"box {annotation.box}"
            assert 0 < annotation.area < float("inf"), f"area {annotation.area}"
        try:
            dataset.pixels(index)
        except DataError as error:
            assert str(root) in one_line(error)


@contextmanager
def bounded(seconds: float = SECONDS, megabytes: float = MEGABYTES) -> Iterator[None]:
    """Ends what takes too long, and fails after what took too much memory."""

    def stop(*_: object) -> None:
        raise TooSlow(f"not done after {seconds} s")

    forget_peak()
    before = peak_megabytes()
    begin = time.process_time()
    handler = signal.signal(
        signal.SIGVTALRM, stop
    )  # of the time that we compute, however busy the machine is
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    except TooSlow as error:
        raise AssertionError(str(error)) from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
    # a library that does not return to Python is not interrupted
    assert time.process_time() - begin < seconds, f"took {time.process_time() - begin:.1f} s"
    assert peak_megabytes() - before < megabytes, f"took {peak_megabytes() - before:.0f} MB"


def forget_peak() -> None:
    """Let `peak_megabytes` begin anew, which Linux can; elsewhere only more than ever before is noticed."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)  # memory that was freed and kept (maskrcnn.tuning) could be taken again without a trace
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """The most memory that this process has had."""
    with suppress(OSError):  # getrusage's figure is never below that of the process that started this one
        if found := re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()):
            return int(found[1]) / 2**10
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def _size(dataset: Dataset) -> tuple[int, int]:
    return len(dataset), sum(len(dataset.image(index).annotations) for index in range(len(dataset)))
