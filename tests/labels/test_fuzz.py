"""The large run over all readers, and whether the fuzzing itself would see what it looks for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from fuzz import Subject, bounded, judge
from fuzz_readers import READERS, print_details, print_head, print_row, run_reader
from PIL import Image
from spoil import spoil

from maskrcnn.errors import DataError, RecordError
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage

EXAMPLES = 20_000


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_twenty_thousand_spoilt_files(name: str, tmp_path: Path) -> None:
    tally = run_reader(name, tmp_path, range(EXAMPLES), seed=0)
    print_details(name, tally, 10)
    print_head()
    print_row(name, tally)
    assert not tally.defects


def subject(folder: Path, read: object) -> Subject:
    """A label file of one word for one image."""
    Image.new("RGB", (8, 6)).save(folder / "a.png")
    (folder / "labels").write_text("good")
    return Subject(folder, folder / "labels", read, lambda path: True, [folder / "labels"], by_folder=True)


def reader(
    path: Path, box: tuple[float, float, float, float] = (1, 1, 3, 4), name: str = "a.png"
) -> FileDataset:
    image = LabelledImage(1, name, path.parent / name, 6, 8, [Annotation(box, 0, area=6.0, id=1)])
    return FileDataset([image], DatasetInfo(name=str(path), classes=["x"], class_ids=[1]))


def fail(error: Exception) -> FileDataset:
    raise error


def test_sound_outcomes(tmp_path: Path) -> None:
    good = subject(tmp_path, reader)
    assert judge(good).kind == "read"
    good.read = lambda path: fail(RecordError(path, "not sound", "mend it"))
    assert judge(good).kind == "DataError"


@pytest.mark.parametrize(
    ("read", "word"),
    [
        (lambda path: fail(ValueError("a traceback")), "a traceback"),
        (lambda path: fail(DataError(f"{path}: two\nlines")), "lines"),
        (lambda path: fail(DataError(f"{path}: \x1b[2J")), "x1b"),
        (lambda path: fail(DataError("of no file")), "names no file"),
        (lambda path: fail(DataError(f"{path}: not sound; mend it")), "a sentence"),
        (lambda path: fail(RecordError(path, "not sound", "")), "no remedy"),
        (lambda path: reader(path, box=(1, 1, 1, 4)), "box"),
        (lambda path: reader(path, box=(1, 1, 99, 4)), "box"),
        (lambda path: reader(path, name="../secret.png"), "secret.png"),
        (lambda path: FileDataset([], DatasetInfo(name="none", classes=["x"], class_ids=[1])), "no image"),
    ],
)
def test_what_is_no_sound_outcome(read: object, word: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    spoilt = subject(tmp_path / "data", reader)
    spoilt.read = read
    with pytest.raises((AssertionError, ValueError), match=word):
        judge(spoilt)


def test_time_and_memory_are_bounded() -> None:
    with pytest.raises(AssertionError, match="not done after"), bounded(seconds=0.2):
        while True:
            pass
    if os.path.exists("/proc/self/clear_refs"):
        with pytest.raises(AssertionError, match="MB"), bounded(megabytes=50):
            assert len(bytearray(80 << 20)) == 80 << 20
    with bounded(megabytes=50):
        assert len(bytearray(10 << 20)) == 10 << 20


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
def test_memory_that_the_process_kept_is_counted_again() -> None:
    code = (
        "from maskrcnn.tuning import tune\n"
        "from fuzz import bounded\n"
        "assert tune().keeps_memory\n"
        "kept = [bytearray(10 << 20) for _ in range(30)]\n"
        "del kept\n"
        "with bounded(megabytes=50):\n"
        "    bytearray(80 << 20)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert "AssertionError: took 8" in done.stderr


def test_a_seed_always_spoils_alike_and_nearly_always_spoils() -> None:
    contents = [
        b'{"images": [{"id": 1, "file_name": "a.png"}]}',
        b"<a><b x='1'>2</b></a>",
        b"0 0.5 0.5 0.1 0.1\n",
    ]
    for content in contents:
        spoilt = [spoil(content, Random(number)) for number in range(200)]
        assert spoilt == [spoil(content, Random(number)) for number in range(200)]
        assert sum(each != content for each in spoilt) > 100 and len(set(spoilt)) > 40
    assert len({spoil(b"", Random(number)) for number in range(200)}) > 5
