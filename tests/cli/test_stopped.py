"""What is kept and said when a verb is stopped, cannot write, or meets a pipe for an image."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import small_model

from maskrcnn.cli.main import main
from maskrcnn.errors import ImageError, UserError
from maskrcnn.export import run
from maskrcnn.files import cache_folder, new_folder
from maskrcnn.images.header import maybe_deep, upright_size
from maskrcnn.images.read import read_image
from maskrcnn.images.write import save_image
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.system_errors import refusal
from maskrcnn.weights.store import save_model

STOPS = [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")


def three_images(folder: Path) -> Path:
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), (number, 9, 9)).save(folder / f"{number}.png")
    return folder


def stop_at(monkeypatch: pytest.MonkeyPatch, where: str, count: int, stop: int = signal.SIGTERM) -> None:
    """A signal to this process at the call number `count` of the function called `where`."""
    module, _, name = where.rpartition(".")
    original = getattr(__import__(module, fromlist=[name]), name)
    calls = 0

    def counted(*words: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), stop)
        return original(*words, **named)

    monkeypatch.setattr(where, counted)


def test_a_stopped_prediction_keeps_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_line: Callable[[], str]
) -> None:
    images, out = three_images(tmp_path / "in"), tmp_path / "out"
    stop_at(monkeypatch, "maskrcnn.predict.files.open_image", 3)
    assert main(["predict", "person-mobilenet", str(images), "--out", str(out), "--score", "0.5"]) == 143
    assert (
        error_line()
        == f"maskrcnn: error: terminated; 2 of 3 images are done: {out}; the same command goes on"
    )
    assert json.loads((out / "results.json").read_text()) is not None
    shown = sorted(path.name for path in out.iterdir() if path.name[0] != ".")
    assert shown == ["0.png", "1.png", "journal.jsonl", "results.json"]


def test_a_stopped_check_says_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_line: Callable[[], str]
) -> None:
    write_coco(Synthetic(count=3, side=(64, 64), people=True), tmp_path / "train.json", tmp_path)
    data = str(tmp_path / "train.json")
    with monkeypatch.context() as patch:
        stop_at(patch, "maskrcnn.check.run.check_annotations", 3)
        assert main(["check", data, "--no-steps"]) == 143
        assert error_line().endswith("terminated; 2 of 3 images were looked at, and no report is written")


@pytest.mark.parametrize(("stop", "code", "word"), STOPS)
@pytest.mark.parametrize("kept", [True, False])
def test_a_stopped_evaluation_keeps_what_was_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error_line: Callable[[], str],
    stop: int,
    code: int,
    word: str,
    kept: bool,
) -> None:
    data, results = Synthetic(count=3, side=(64, 64)), tmp_path / "results.json"
    write_coco(data, tmp_path / "val.json", tmp_path)
    save_model(small_model(classes=data.classes), tmp_path / "model")
    stop_at(monkeypatch, "maskrcnn.evaluate.coco.finish", 3, stop)
    words = ["evaluate", str(tmp_path / "model"), str(tmp_path / "val.json")]
    figures = ["--json", str(tmp_path / "figures.json")]
    assert main([*words, *figures, *(["--results", str(results)] if kept else [])]) == code
    said = f": {results}" if kept else ""
    assert error_line() == f"maskrcnn: error: {word}; 2 of 3 images are done{said}"
    assert not (tmp_path / "figures.json").exists()  # of two images they would be false
    if kept:
        assert {result["image_id"] for result in json.loads(results.read_text())} == {1, 2}


@pytest.mark.parametrize(("stop", "code", "word"), STOPS)
@pytest.mark.parametrize("moment", ["maskrcnn.export.run._write", "maskrcnn.export.run.write_export"])
def test_a_stopped_export_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stop: int,
    code: int,
    word: str,
    moment: str,
) -> None:
    """Before its graph is there, and after."""
    save_model(small_model(), tmp_path / "model")
    monkeypatch.setattr(run, "trace", lambda model: None)  # what is written does not matter here
    monkeypatch.setattr(torch.export, "save", lambda program, file: file.write(bytes(1 << 10)))
    stop_at(monkeypatch, moment, 1, stop)
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "model"), "--to", "torch", "--out", str(out)]) == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"maskrcnn: error: {word}; {out} is not written"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("form", ["coco", "yolo", "labelme", "voc", "instance-png"])
def test_a_stopped_conversion_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_line: Callable[[], str], form: str
) -> None:
    write_coco(Synthetic(count=3, side=(64, 64)), tmp_path / "in" / "train.json", tmp_path / "in")
    stop_at(monkeypatch, "shutil.copyfile", 2)
    out = tmp_path / "out"
    assert (
        main(["convert", "data", str(tmp_path / "in" / "train.json"), "--to", form, "--out", str(out)]) == 143
    )
    assert error_line() == f"maskrcnn: error: terminated; {out} is not written"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_of_two_that_make_one_folder_the_later_one_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="out: another process has made it meanwhile"),
        new_folder(tmp_path / "out") as unfinished,
    ):
        (unfinished / "mine").touch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]


def test_an_image_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    save_image(Image.new("RGBA", (8, 8)), path)
    before = path.read_bytes()

    def full(self: Path, content: bytes) -> None:
        with self.open("wb") as file:
            file.write(content[:4])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_image(Image.new("RGB", (8, 8)), path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["a.jpg"]


@posix
@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.tif"])
@pytest.mark.parametrize(
    "read",
    [read_image, upright_size, lambda path: read_image(path, 5), lambda path: maybe_deep(path) and None],
)
def test_a_pipe_for_an_image_is_not_waited_for(tmp_path: Path, name: str, read: Any) -> None:
    os.mkfifo(tmp_path / name)
    try:
        assert read(tmp_path / name) in (None, False)
    except ImageError as error:
        assert "a pipe or a device" in str(error) and "\n" not in str(error)


@posix
def test_a_pipe_among_images_is_named_and_the_rest_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = three_images(tmp_path / "in")
    os.mkfifo(images / "pipe.png")
    out = str(tmp_path / "out")
    assert main(["predict", "person-mobilenet", *map(str, sorted(images.iterdir())), "--out", out]) == 3
    assert "pipe.png: a pipe or a device, no file" in capsys.readouterr().err


def test_no_home_folder_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    for name in ("MASKRCNN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="set MASKRCNN_CACHE to a folder"):
        cache_folder()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory; use smaller images"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
            "out of memory",
        ),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory"),
        (RuntimeError("std::bad_alloc"), "out of memory"),
        (RuntimeError("can't start new thread"), "starts no more threads"),
        (OSError(errno.EFBIG, "File too large", "x"), r"x: File too large; raise the limit of file sizes"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "x: Too many open files; too many files"),
        (ValueError("I/O error: No space left on device (os error 28)"), "No space left on device; free"),
    ],
)
def test_what_the_system_refuses_is_a_line(error: Exception, words: str) -> None:
    found = refusal(error)
    assert found is not None and words in found[1] and "\n" not in found[1]


def test_a_defect_is_no_refusal() -> None:
    try:
        try:
            open("/no/such/file")
        except OSError:
            raise ZeroDivisionError from None
    except ZeroDivisionError as error:
        assert refusal(error) is None
    assert refusal(ValueError("a")) is None
    assert refusal(io.UnsupportedOperation("read")) is None
