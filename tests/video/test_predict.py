"""`maskrcnn predict` with videos: what is written, said, and kept when it is stopped."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from clips import frame, write_clip
from fixed_model import FixedModel
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.masks.rle import json_rle, rle_area
from maskrcnn.predict.files import LOCK
from maskrcnn.video.predict import predict_videos
from maskrcnn.video.source import video_source

av = pytest.importorskip("av")


def test_sound_that_an_mp4_cannot_hold_is_told(tmp_path: Path, fixed: FixedModel, capsys) -> None:
    clip = write_clip(tmp_path / "clip.mkv", 5, audio="pcm_u8")
    assert main(["predict", "any", str(clip), "--out", str(tmp_path / "out")]) == 0
    line = "an MP4 cannot hold its audio (pcm_u8), which is left out"
    assert f"{clip}: {line}" in " ".join(capsys.readouterr().err.split())
    assert times_of(tmp_path / "out/clip.mp4") == times_of(clip)


def test_joined_files_and_pixels_that_are_no_squares_are_copied(tmp_path, fixed: FixedModel, capsys) -> None:
    clip = write_clip(tmp_path / "clip.ts", 25, audio=True, aspect=2)
    clip.write_bytes(clip.read_bytes() * 2)
    assert main(["predict", "any", str(clip), "--out", str(tmp_path / "out")]) == 0
    assert f"{clip}: its time goes back 1 time" in capsys.readouterr().err
    assert times_of(tmp_path / "out/clip.mp4") == [number / 25 for number in range(50)]
    with av.open(str(tmp_path / "out/clip.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2
    times = [time for time, _ in sound_of(tmp_path / "out/clip.mp4")]
    assert times == sorted(times) and times[-1] == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("option", [["--pages"], ["--simplify", "2"], ["--json", "figures.json"]])
def test_options_of_images_are_refused(option: list[str], tmp_path: Path, fixed: FixedModel, capsys) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    assert main(["predict", "any", str(clip), "--out", str(tmp_path / "out"), *option]) == 2
    assert capsys.readouterr().err.strip().endswith(f"{option[0]}: is for images; leave it out")


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> FixedModel:
    model = FixedModel()
    monkeypatch.setattr("maskrcnn.cli.predict.load_runner", lambda *_, **__: model)
    return model


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(each.pts * each.time_base) for each in container.decode(video=0)]


def sound_of(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_annotated_copy_keeps_times_and_sound(tmp_path: Path, fixed: FixedModel, capsys) -> None:
    times = [0, 31, 100, 133, 533, 534, 900]
    clip, out = write_clip(tmp_path / "clip.mp4", times=times, audio=True), tmp_path / "out"
    assert main(["predict", "any", str(clip), "--out", str(out), "--save", "overlay,csv"]) == 0
    assert capsys.readouterr().out == f"found 7 cat in 7 frames of {clip}: {out}\n"
    assert times_of(out / "clip.mp4") == [time / 1000 for time in times] == times_of(clip)
    old, new = sound_of(clip), sound_of(out / "clip.mp4")
    assert len(new) >= len(old) - 1 and new == old[len(old) - len(new) :]
    lines = lines_of(out / "clip.jsonl")
    assert [(line["frame"], line["seconds"]) for line in lines] == list(
        enumerate(time / 1000 for time in times)
    )
    assert lines[0]["size"] == [96, 128] and [each["class"] for each in lines[0]["objects"]] == ["cat"]
    assert rle_area(json_rle(lines[0]["objects"][0]["segmentation"], 96, 128)) > 100
    rows = list(csv.DictReader((out / "objects.csv").open()))
    columns = "image", "frame", "seconds", "object", "class"
    assert [rows[1][column] for column in columns] == [str(clip), "1", "0.031", "1", "cat"]
    counts = list(csv.DictReader((out / "summary.csv").open()))
    assert len(counts) == 7 and counts[-1]["frame"] == "6" and counts[-1]["count"] == "1"
    with av.open(str(out / "clip.mp4")) as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert (
        shown.shape == (96, 128, 3) and np.abs(shown.astype(int) - frame(0)).mean() > 5
    )  # objects are drawn


def test_rotated_and_odd_videos_keep_their_look(tmp_path: Path, fixed: FixedModel) -> None:
    clip = write_clip(tmp_path / "phone.mp4", 3, rotation=-90)
    for number in range(3):
        Image.fromarray(frame(number)[:95, :127]).save(tmp_path / f"{number}.png")
    assert main(["predict", "any", str(clip), "--out", str(tmp_path / "turned")]) == 0
    images = ["predict", "any", str(tmp_path / "%d.png"), "--fps", "10", "--out", str(tmp_path / "odd")]
    assert main(images) == 0
    for name, shape in ((f"odd/{tmp_path.name}.mp4", (96, 128, 3)), ("turned/phone.mp4", (128, 96, 3))):
        with av.open(str(tmp_path / name)) as container:
            assert next(container.decode(video=0)).to_ndarray(format="rgb24").shape == shape
    assert times_of(tmp_path / "odd" / f"{tmp_path.name}.mp4") == [0, 0.1, 0.2]


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(tmp_path: Path, fixed: FixedModel, capsys) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    good, out = write_clip(tmp_path / "good.mp4", 3), tmp_path / "out"
    assert main(["predict", "any", str(tmp_path / "bad.mp4"), str(good), "--out", str(out)]) == 3
    told = capsys.readouterr()
    assert "found 3 cat in 3 frames of" in told.out
    bad, error = told.err.splitlines()
    assert bad.startswith(f"warning: {tmp_path}/bad.mp4: cannot be read as a video: ")
    assert error == "maskrcnn: error: 1 of 2 videos could not be read in full"
    # an image of a sequence
    for number in range(3):
        Image.fromarray(frame(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"none")
    out = tmp_path / "images"
    assert main(["predict", "any", str(tmp_path / "%d.png"), "--fps", "5", "--out", str(out)]) == 3
    assert "1 frame damaged or missing" in capsys.readouterr().err
    assert [line["seconds"] for line in lines_of(out / f"{tmp_path.name}.jsonl")] == [0, 0.4]


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["clip.mp4", "image.png"], "image.png: images and videos are predicted by a command each; give the videos alone"),
        (["image.png", "--track"], "--track: is for videos, and these are images; leave it out"),
        (["image.png", "--allow-network"], "--allow-network: is for videos, and these are images; leave it out"),
        (["http://127.0.0.1/a.mp4"], "http://127.0.0.1/a.mp4: is on the network, which is used only with --allow-network"),
        (["clip.mp4", "--out", "."], "clip.mp4: the run reads it and would replace it; name another folder for the results"),
        (["clip.mp4", "--fps", "5"], "clip.mp4: has its own times, and fps is for images; leave it out"),
        (["missing.mp4"], "missing.mp4: no such file or folder; check the name"),
        (["-"], "-: no path came on standard input; give one a line"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line(
    arguments, line, tmp_path, fixed, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    write_clip(tmp_path / "clip.mp4", 1)
    Image.fromarray(frame(0)).save(tmp_path / "image.png")
    assert main(["predict", "any", *arguments]) == 2
    assert capsys.readouterr().err == f"maskrcnn: error: {line}\n"


def test_paths_come_on_standard_input(tmp_path: Path, fixed: FixedModel, monkeypatch, capsys) -> None:
    for number in range(3):
        Image.fromarray(frame(number)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"\ufeff{tmp_path}/1.png\n\n{tmp_path}/0.png\r\n"))
    assert main(["predict", "any", "-", "--out", str(tmp_path / "out")]) == 0
    assert "in 2 images" in capsys.readouterr().out
    shown = sorted(path.name for path in (tmp_path / "out").iterdir() if path.name[0] != ".")
    assert shown == ["0.png", "1.png", "journal.jsonl", "results.json"]


def test_no_source_and_nothing_of_another_is_replaced(tmp_path: Path, fixed: FixedModel, capsys) -> None:
    first, second = write_clip(tmp_path / "x.mov", 1), write_clip(tmp_path / "x.mp4", 2)
    before = second.read_bytes()
    assert main(["predict", "any", str(first), str(second), "--out", str(tmp_path)]) == 2
    assert f"{second}: the run reads it and would replace it" in capsys.readouterr().err
    assert main(["predict", "any", str(first), "--out", str(tmp_path)]) == 2
    assert f"{second}: is of no run, and a run would replace it; remove it" in capsys.readouterr().err
    assert second.read_bytes() == before


@pytest.mark.parametrize("track", [[], ["--track"]])
def test_frames_that_may_hold_more_are_counted(track, tmp_path, fixed: FixedModel, capsys) -> None:
    fixed.config.test.detections = 1
    clip = write_clip(tmp_path / "clip.mp4", 3)
    assert main(["predict", "any", str(clip), "--out", str(tmp_path / "out"), "--no-overlay", *track]) == 0
    assert f"warning: {clip}: 3 frames with as many objects as the model gives" in capsys.readouterr().err


def test_a_video_may_be_called_as_the_journal_is(tmp_path: Path, fixed: FixedModel) -> None:
    arguments = [str(write_clip(tmp_path / "journal.mp4", 2)), "--out", str(tmp_path / "out")]
    for _ in range(2):
        assert main(["predict", "any", *arguments]) == 0
    assert len(lines_of(tmp_path / "out/journal_2.jsonl")) == 2 and len(fixed.seen) == 2


def test_two_videos_of_one_name_are_told_apart(tmp_path: Path, fixed: FixedModel) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_clip(tmp_path / folder / "clip.mp4", 1)
    clips = [str(tmp_path / folder / "clip.mp4") for folder in ("a", "b")]
    again = f"{tmp_path}/a/../a/clip.mp4"  # is predicted once, as images are
    assert (
        main(["predict", "any", *clips, clips[0], again, "--out", str(tmp_path / "out"), "--no-overlay"]) == 0
    )
    shown = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert shown == [LOCK, "clip.jsonl", "clip_2.jsonl", "journal.jsonl"]


@pytest.mark.parametrize("more", [[], ["--no-overlay"]], ids=["overlay", "none"])
def test_a_full_disk_is_one_line_and_what_was_written_stays(more, tmp_path, fixed, capsys) -> None:
    resource = pytest.importorskip("resource")
    clip, out = write_clip(tmp_path / "clip.mp4", 200), tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, before[1]))
        code = main(["predict", "any", str(clip), "--out", str(out), *more])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = capsys.readouterr().err
    assert code == 2 and "File too large; raise the limit of file sizes" in told
    assert told.count("\n") == 1 and lines_of(out / "clip.jsonl")


SLOW_MODEL = """
import sys, time
sys.path[:0] = sys.argv[1:3]
from fixed_model import FixedModel
import maskrcnn.cli.predict as predict
class Slow(FixedModel):
    def forward(self, images, sizes):
        time.sleep(0.02)
        return super().forward(images, sizes)
predict.load_runner = lambda *_, **__: Slow()
from maskrcnn.cli.main import main
sys.exit(main(["predict", "any", *sys.argv[3:]]))
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stop_keeps_what_was_done(number: signal.Signals, code: int, tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", 250, audio=True), tmp_path / "out"
    paths = [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parents[1] / "predict")]
    command = [sys.executable, "-c", SLOW_MODEL, *paths, str(clip), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    lines = out / "clip.jsonl"
    begin = time.monotonic()
    while time.monotonic() - begin < 60 and (not lines.exists() or lines.read_bytes().count(b"\n") < 60):
        time.sleep(0.02)
    os.killpg(process.pid, number)
    _, told = process.communicate()
    assert process.returncode == code
    done = lines_of(lines)  # every line is whole
    assert 60 <= len(done) < 250 and [line["frame"] for line in done] == list(range(len(done)))
    if number == signal.SIGKILL:
        time.sleep(0.5)  # the encoder, were it alive, would close the file; it was killed with the rest
    else:
        assert told == f"maskrcnn: error: terminated; {len(done)} frames of {clip} are done: {out}\n"
    times = times_of(out / "clip.mp4")
    assert times == [frame / 25 for frame in range(len(times))]
    assert len(times) >= len(done) - (50 if number == signal.SIGKILL else 0)
    assert sound_of(out / "clip.mp4")[-1][0] == pytest.approx(times[-1], abs=1.0)


def test_ctrl_c_keeps_what_was_done(tmp_path: Path, fixed: FixedModel, monkeypatch, capsys) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", 60), tmp_path / "out"

    def forward(*given: object) -> object:
        if len(fixed.seen) == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return FixedModel.forward(fixed, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(fixed, "forward", forward)
    assert main(["predict", "any", str(clip), "--out", str(out)]) == 130
    assert capsys.readouterr().err == f"maskrcnn: error: interrupted; 20 frames of {clip} are done: {out}\n"
    assert len(lines_of(out / "clip.jsonl")) == len(times_of(out / "clip.mp4")) == 20


def test_formats_of_images_are_refused_of_videos(tmp_path: Path) -> None:
    source = video_source(str(write_clip(tmp_path / "clip.mp4", 1)))
    assert source is not None
    with pytest.raises(UserError, match="save=coco: of videos there are overlay, csv"):
        list(predict_videos(FixedModel(), [source], tmp_path / "out", save=["coco"]))  # type: ignore[arg-type]


def test_two_processes_do_not_share_a_folder(tmp_path: Path, fixed: FixedModel, capsys) -> None:
    write_clip(tmp_path / "a.mp4", 2)
    (tmp_path / "out").mkdir()
    other = "import sys; from pathlib import Path; from maskrcnn.files import locked\n"
    other += "with locked(Path(sys.argv[1]), wait=False): print(1, flush=True); input()"
    command = [sys.executable, "-c", other, str(tmp_path / "out" / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert main(["predict", "x", str(tmp_path / "a.mp4"), "--out", str(tmp_path / "out")]) == 2
        assert "writes into it; wait, or name another folder" in capsys.readouterr().err
        process.communicate(b"\n")


@pytest.mark.parametrize("fps", ["1", "0.1", "10"])
def test_the_last_frame_of_a_copy_lasts_as_long_as_the_one_before(
    fps: str, tmp_path: Path, fixed: FixedModel
) -> None:
    for number in range(4):
        Image.fromarray(frame(number)).save(tmp_path / f"{number}.png")
    assert (
        main(["predict", "any", str(tmp_path / "%d.png"), "--fps", fps, "--out", str(tmp_path / "out")]) == 0
    )
    with av.open(str(tmp_path / f"out/{tmp_path.name}.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(4 / float(fps), rel=1e-3)
