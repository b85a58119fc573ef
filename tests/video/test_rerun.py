"""Videos into a folder that has results: what is done stays, and another run replaces nothing unasked."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from clips import frame, write_clip
from fixed_model import FixedModel
from PIL import Image
from test_journal import contents
from test_reader import server

from maskrcnn.cli.main import main
from maskrcnn.errors import DataError
from maskrcnn.video.output import VideoOutput
from maskrcnn.video.stream import Frame

pytest.importorskip("av")
SAVE = ["--save", "overlay,csv"]


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> FixedModel:
    model = FixedModel()
    monkeypatch.setattr("maskrcnn.cli.predict.load_runner", lambda *_, **__: model)
    return model


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    return [str(write_clip(tmp_path / f"{name}.mp4", 30)) for name in ("a", "b")]


def interrupted(fixed: FixedModel, monkeypatch: pytest.MonkeyPatch, arguments: list[str], after: int) -> None:
    """A run that Ctrl-C stops when so many frames are done."""
    begin = len(fixed.seen)

    def forward(*given: object) -> object:
        if len(fixed.seen) - begin == after:
            os.kill(os.getpid(), signal.SIGINT)
        return FixedModel.forward(fixed, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(fixed, "forward", forward)
        assert main(["predict", "any", *arguments]) == 130


def test_videos_that_are_done_stay_as_they_are(tmp_path: Path, fixed: FixedModel, clips, capsys) -> None:
    out = tmp_path / "out"
    arguments = ["predict", "any", *clips, "--out", str(out), *SAVE]
    assert main(arguments) == 0
    told, before, seen = capsys.readouterr().out, contents(out), len(fixed.seen)
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == told and again.err.count("was done before; --no-resume does it again") == 2
    assert contents(out) == before and len(fixed.seen) == seen
    assert main([*arguments, "--no-resume"]) == 0 and len(fixed.seen) == 2 * seen
    (out / "a.mp4").unlink()
    assert main(arguments) == 2
    assert "a.mp4: is gone or cut off, and holds what an earlier run finished" in capsys.readouterr().err


def test_a_stopped_run_goes_on_with_what_is_not_done(
    tmp_path: Path, fixed: FixedModel, clips, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    arguments = [*clips, "--out", str(tmp_path / "out"), *SAVE]
    assert main(["predict", "any", *clips, "--out", str(tmp_path / "whole"), *SAVE]) == 0
    interrupted(fixed, monkeypatch, arguments, 40)  # in the second
    seen, _ = len(fixed.seen), capsys.readouterr()
    assert main(["predict", "any", *arguments]) == 0
    assert len(fixed.seen) == seen + 30
    told = capsys.readouterr().err
    assert f"{clips[0]}: was done before" in told
    assert f"{clips[1]}: an earlier run stopped partway; it was done again from the start" in told
    made, whole = contents(tmp_path / "out"), contents(tmp_path / "whole")
    for name in ("a.jsonl", "b.jsonl", "objects.csv", "summary.csv"):
        assert made[name] == whole[name]


def test_a_video_that_failed_is_done_again(
    tmp_path: Path, fixed: FixedModel, clips, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    arguments = ["predict", "any", *clips, "--out", str(tmp_path / "out")]
    add = VideoOutput.add

    def broken(output: VideoOutput, frame: Frame) -> None:
        if frame.number == 5 and output._source.shown == clips[0]:
            raise DataError("the decoder was killed")
        add(output, frame)

    for save, done in ((["--save", "overlay"], 1), (SAVE, 0)):
        out = [*arguments[:-1], str(tmp_path / str(done)), *save]
        with monkeypatch.context() as patched:
            patched.setattr(VideoOutput, "add", broken)
            assert main(out) == 3
        capsys.readouterr()
        assert main(out) == 0
        assert capsys.readouterr().err.count("was done before") == done
    rows = (tmp_path / "0/summary.csv").read_text().splitlines()
    assert len(rows) == len(set(rows)) and sum(clips[0] in row for row in rows) >= 30


def test_counts_that_are_gone_are_told(tmp_path: Path, fixed: FixedModel, clips, capsys) -> None:
    (tmp_path / "zones.json").write_text('{"zones": [{"name": "l", "line": [[60, 0], [60, 90]]}]}')
    count = ["--count", str(tmp_path / "zones.json"), "--no-overlay", "--out", str(tmp_path / "out")]
    assert main(["predict", "any", clips[0], *count]) == 0
    (tmp_path / "out/a.counts.csv").unlink()
    assert main(["predict", "any", clips[0], *count]) == 2
    assert "a.counts.csv: is gone or cut off" in capsys.readouterr().err


def test_another_run_replaces_nothing_unasked(
    tmp_path: Path, fixed: FixedModel, clips, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    out = tmp_path / "out"
    interrupted(fixed, monkeypatch, [clips[0], "--out", str(out)], 10)
    before, _ = contents(out), capsys.readouterr()
    Image.fromarray(frame(0)).save(tmp_path / "image.png")
    for arguments, other in (
        ([clips[0], "--score", "0.7"], "score"),
        ([clips[0], "--track"], "track"),
        ([clips[0], *SAVE], "save"),
        ([clips[1]], "videos"),
        ([str(tmp_path / "image.png")], "images"),
    ):
        assert main(["predict", "any", *arguments, "--out", str(out)]) == 2
        line = f"{out}: holds results of another run (other {other}"
        told = capsys.readouterr().err
        assert line in told and "replace them with --no-resume" in told
    assert contents(out) == before
    assert main(["predict", "any", clips[1], "--out", str(out), "--no-resume"]) == 0


def test_a_recording_of_a_stream_is_never_replaced_unasked(
    tmp_path: Path, fixed: FixedModel, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with server(write_clip(tmp_path / "clip.ts", 100), seconds=4) as here:
        address = f"http://127.0.0.1:{here.server_port}/door"
        arguments = [address, "--allow-network", "--out", str(tmp_path / "out")]
        interrupted(fixed, monkeypatch, arguments, 5)
        before, _ = contents(tmp_path / "out"), capsys.readouterr()
        assert main(["predict", "any", *arguments]) == 2
    assert "holds results of another run (other recording); name another folder" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before
