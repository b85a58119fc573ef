"""A run that is stopped or killed anywhere goes on where it was, to the same files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from blob_model import BlobModel, blobs
from fixed_model import FixedModel, image
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.files import locked
from maskrcnn.predict.augment import Augmented
from maskrcnn.predict.corrected import SharedLabels
from maskrcnn.predict.files import LOCK, Summary, predict_files
from maskrcnn.predict.journal import NAME, describe_run

SAVE = ("overlay", "labelme", "cvat", "yolo", "coco-dataset", "geojson", "label-studio", "summary")


def images(folder: Path, count: int = 4) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(image(seed=number)).save(folder / f"{number}.png")
    return folder


def run(folder: Path, out: Path, **options: object) -> Summary:
    options = {"save": SAVE} | options
    return predict_files(FixedModel(), [folder], out, **options)  # type: ignore[arg-type]


def contents(out: Path) -> dict[str, bytes]:
    """All files but the lock."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != LOCK
    }


class Stop:
    """Stops a run when so many images are done."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, done: int, total: int | None) -> None:
        if (done, total) == (self.after, 4):
            raise SystemExit(143)


@pytest.mark.parametrize("tiles", ["off", 100])
def test_a_stopped_run_goes_on_to_the_same_files(tiles: int | str, tmp_path: Path) -> None:
    folder = images(tmp_path / "in")
    run(folder, tmp_path / "whole", tiles=tiles)
    for after in (1, 3):
        with pytest.raises(SystemExit):
            run(folder, tmp_path / "out", tiles=tiles, progress=Stop(after))
    summary = run(folder, tmp_path / "out", tiles=tiles)
    assert summary.images == 4 and summary.resumed >= 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    again = run(folder, tmp_path / "out", tiles=tiles)
    assert again.resumed == 4 and again.objects == summary.objects
    # of label files that stay nothing is counted as lost
    told = [[note for note in one.notes if not note.startswith("lost")] for one in (again, summary)]
    assert told[0] == told[1]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_files_are_made_from_the_journal(tmp_path: Path) -> None:
    """What is found does not depend on what is written: another --save predicts nothing anew."""
    folder, model = images(tmp_path / "in"), FixedModel()
    predict_files(model, [folder], tmp_path / "out", save=[])
    seen = len(model.seen)
    pytest.importorskip("skimage")
    predict_files(model, [folder], tmp_path / "out", save=["csv", "overlay"], scale=0.5)
    assert len(model.seen) == seen
    predict_files(model, [folder], tmp_path / "whole", save=["csv", "overlay"], scale=0.5)
    made, whole = contents(tmp_path / "out"), contents(tmp_path / "whole")
    for number in range(4):  # small images are drawn enlarged, where masks of pixels are less smooth
        two = [Image.open(tmp_path / out / f"{number}.png") for out in ("out", "whole")]
        apart = np.abs(np.asarray(two[0], int) - np.asarray(two[1], int))
        assert two[0].size == two[1].size and (apart > 20).mean() < 0.01
        del made[f"{number}.png"], whole[f"{number}.png"]
    assert made == whole


def test_a_torn_line_is_left_out_and_a_damaged_journal_refused(tmp_path: Path) -> None:
    folder, out = images(tmp_path / "in"), tmp_path / "out"
    run(folder, out)
    whole, journal = contents(out), (out / NAME).read_bytes()
    for cut in (1, 10, len(journal) // 2, len(journal) - 1):
        (out / NAME).write_bytes(journal[:cut])
        run(folder, out)
        assert contents(out) == whole
    lines = journal.splitlines(keepends=True)
    for bad in (b"[]\n", b'{"image": 9}\n', lines[1], lines[2].replace(b'"bbox": [', b'"bbox": ["')):
        (out / NAME).write_bytes(b"".join([*lines[:2], bad, *lines[3:]]))
        with pytest.raises(UserError, match="journal.jsonl: damaged; start anew with --no-resume"):
            run(folder, out)


def test_each_flipped_bit_of_a_journal_is_told(tmp_path: Path) -> None:
    folder, out = images(tmp_path / "in", 1), tmp_path / "out"
    run(folder, out, save=())
    whole, results = (out / NAME).read_bytes(), (out / "results.json").read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole) - 1, 300).tolist():
        (out / NAME).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"journal\.jsonl: damaged; start anew with --no-resume"):
            run(folder, out, save=())
    (out / NAME).write_bytes(whole)
    run(folder, out, save=())
    assert (out / "results.json").read_bytes() == results


def test_another_runs_results_are_refused(tmp_path: Path) -> None:
    folder, out = images(tmp_path / "in"), tmp_path / "out"
    run(folder, out)
    before = contents(out)
    with pytest.raises(UserError, match=r"other score\); name another folder with --out, or replace"):
        run(folder, out, score=0.7)
    other = FixedModel()
    other.weight.data += 1
    with pytest.raises(UserError, match="other weights"):
        predict_files(other, [folder], out)
    with pytest.raises(UserError, match="other weights and model settings and augmentation"):
        predict_files(Augmented(other), [folder], out)  # type: ignore[arg-type]
    Image.fromarray(image(seed=9)).save(folder / "9.png")
    with pytest.raises(UserError, match="other images"):
        run(folder, out)
    assert contents(out) == before
    with pytest.raises(UserError, match="labelme: holds label files already"):
        run(folder, out, resume=False, save=["labelme"])
    assert run(folder, out, resume=False, save=["overlay"]).images == 5


def test_a_run_that_finished_nothing_is_in_nobodys_way(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    stack, out = tmp_path / "stack.tif", tmp_path / "out"
    tifffile.imwrite(stack, np.stack([image(seed=k)[..., 0] for k in range(3)]), photometric="minisblack")
    model = FixedModel()
    assert predict_files(model, [stack], out).images == 0  # says to use --pages
    summary = predict_files(model, [stack], out, pages=True)
    assert (summary.images, summary.resumed) == (3, 0)


def test_a_run_with_test_time_augmentation_is_another_by_the_same_weights() -> None:
    plain, augmented = describe_run(FixedModel(), []), describe_run(Augmented(FixedModel()), [])  # type: ignore[arg-type]
    assert plain["weights"] == augmented["weights"] and plain["model settings"] != augmented["model settings"]


def test_a_corrected_label_file_is_kept(tmp_path: Path) -> None:
    folder, out = images(tmp_path / "in"), tmp_path / "out"
    run(folder, out)
    (out / "labelme" / "1.json").write_text("corrected")
    run(folder, out)
    assert (out / "labelme" / "1.json").read_text() == "corrected"


@pytest.mark.parametrize(
    "name", ["coco-dataset/train.json", "cvat/annotations.xml", "label-studio/tasks.json"]
)
def test_a_corrected_file_of_all_images_is_kept_too(name: str, tmp_path: Path) -> None:
    folder, out = images(tmp_path / "in"), tmp_path / "out"
    run(folder, out)
    before = contents(out)
    assert "changed since" not in str(run(folder, out).notes) and contents(out) == before
    (out / name).write_text("corrected")
    for _ in range(2):
        summary = run(folder, out)
        assert (out / name).read_text() == "corrected"
        (note,) = [note for note in summary.notes if "lost: " not in note]
        assert note.startswith(f"{out / Path(name).parent}: changed since it was written, so it stays")
    (out / name).unlink()
    assert "changed since" not in str(run(folder, out).notes) and contents(out) == before


def test_what_a_killed_run_wrote_is_not_taken_for_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = images(tmp_path / "in"), tmp_path / "out"
    with pytest.raises(SystemExit):
        run(folder, out, progress=Stop(1))
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(SharedLabels, "remember", lambda _: None)  # as after a SIGKILL
        run(folder, out, progress=Stop(3))
    assert "changed since" not in str(run(folder, out).notes)
    run(folder, tmp_path / "whole")
    for name in ("coco-dataset/train.json", "cvat/annotations.xml", "label-studio/tasks.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    folder, out = images(tmp_path / "in", 1), tmp_path / "out"
    run(folder, out)
    code = f"""
import sys; sys.path[:0] = {[str(Path(__file__).parent)]!r}
from pathlib import Path
from test_journal import run
run(Path({str(folder)!r}), Path({str(out)!r}))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    with locked(out / LOCK, wait=False):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "writes into it; wait, or name another folder" in done.stderr


def test_rows_of_a_large_image_are_not_lost(tmp_path: Path) -> None:
    """A stop within an image in tiles keeps its finished rows."""
    tifffile = pytest.importorskip("tifffile")
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()
    pixels = rng.integers(0, 256, (900, 300, 3), dtype=np.uint8)
    tifffile.imwrite(folder / "a.tif", pixels, tile=(128, 128), photometric="rgb")
    run(folder, tmp_path / "whole", tiles=128)
    calls = 0

    def stop(done: int, total: int | None) -> None:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise SystemExit(143)

    with pytest.raises(SystemExit):
        run(folder, tmp_path / "out", tiles=128, progress=stop)
    parts = [json.loads(line) for line in (tmp_path / "out" / NAME).read_text().splitlines()[1:]]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(parts) >= 2 and results == []  # an image is there whole or not at all
    run(folder, tmp_path / "out", tiles=128)
    made, whole = contents(tmp_path / "out"), contents(tmp_path / "whole")
    assert made.pop("a.png") and whole.pop("a.png")  # drawn enlarged, as above
    assert made == whole


def test_rows_of_an_image_that_could_not_be_read_once_stay_its_own(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    folder = tmp_path / "in"
    folder.mkdir()
    tall, count = blobs(300, 100)
    form = {"chunks": (32, 32, 3), "dtype": "u1", "zarr_format": 2}
    zarr.create_array(str(folder / "a.zarr"), shape=tall.shape, **form)[:] = tall
    small, few = blobs(100, 100, seed=5)
    Image.fromarray(small).save(folder / "b.png")
    chunk = folder / "a.zarr" / "7.0.0"
    whole, state = chunk.read_bytes(), chunk.stat()
    chunk.write_bytes(b"damaged".ljust(len(whole)))  # as a drive that fails gives it
    os.utime(chunk, ns=(state.st_atime_ns, state.st_mtime_ns))
    for _ in range(2):
        assert len(predict_files(BlobModel(), [folder], tmp_path / "out", save=()).unreadable) == 1
    chunk.write_bytes(whole)
    os.utime(chunk, ns=(state.st_atime_ns, state.st_mtime_ns))
    for save in ((), ("summary",)):
        summary = predict_files(BlobModel(), [folder], tmp_path / "out", save=save)
        assert summary.exit_code == 0 and summary.objects == {"blob": count + few}
        results = json.loads((tmp_path / "out" / "results.json").read_text())
        assert Counter(one["file_name"][-6:] for one in results) == {"a.zarr": count, "/b.png": few}
    chunk.write_bytes(whole)  # in place: the folder's own time stays
    with pytest.raises(UserError, match="other images"):
        predict_files(BlobModel(), [folder], tmp_path / "out", save=())


def test_an_image_that_a_table_cannot_read_does_not_stop_the_others(tmp_path: Path) -> None:
    tifffile, _ = pytest.importorskip("tifffile"), pytest.importorskip("skimage")
    pixels, count = blobs(200, 200)
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "c.tif"):
        path = tmp_path / "in" / name
        tifffile.imwrite(path, pixels, photometric="rgb", tile=(32, 32), compression="deflate")
    content = (tmp_path / "in" / "a.tif").read_bytes()
    (tmp_path / "in" / "a.tif").write_bytes(content[: len(content) // 2])
    for _ in range(2):
        summary = predict_files(BlobModel(), [tmp_path / "in"], tmp_path / "out", save=("csv",))
        assert [line.partition(": ")[0][-5:] for line in summary.unreadable] == ["a.tif"]
        assert (summary.images, summary.exit_code) == (1, 3)
        assert (tmp_path / "out" / "objects.csv").read_text().count("c.tif") == count


@pytest.mark.parametrize("letter", ["n", "ü"])
def test_a_name_as_long_as_a_file_can_have(letter: str, tmp_path: Path) -> None:
    name = (letter * 251).encode()[:251].decode(errors="ignore") + ".png"
    Image.fromarray(image()).save(tmp_path / name)
    summary = run(tmp_path / name, tmp_path / "out")
    assert summary.images == 1 and len(summary.overlays) == 1


CHILD = """
import sys; sys.path[:0] = [{tests!r}]
import time
from pathlib import Path
from fixed_model import FixedModel
from maskrcnn.predict.files import predict_files
class Slow(FixedModel):
    def forward(self, *given):
        time.sleep(0.03)
        return super().forward(*given)
print("ready", flush=True)
predict_files(Slow(), [{folder!r}], Path({out!r}), save={save!r})
print("done", flush=True)
"""


def killed(folder: Path, out: Path, number: int, after: float) -> bool:
    """Whether a process that predicts was killed, so long after its start, before it was done."""
    code = CHILD.format(tests=str(Path(__file__).parent), folder=str(folder), out=str(out), save=list(SAVE))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    time.sleep(after)
    process.send_signal(number)
    output, _ = process.communicate()
    return b"done" not in output


def kill_often(tmp_path: Path, times: int, after: list[float], count: int) -> None:
    folder, out = images(tmp_path / "in", count), tmp_path / "out"
    run(folder, tmp_path / "whole", batch=1)
    done = stopped = 0
    for number in range(times):
        # as a class of the same name and weights, the child's model is the run's
        stopped += killed(folder, out, (signal.SIGKILL, signal.SIGTERM)[number % 3 == 2], after[number])
        if (out / "results.json").exists():
            json.loads((out / "results.json").read_text())  # whole
            lines = (out / NAME).read_bytes().count(b"\n") - 1
            assert lines >= done  # nothing that was finished is lost
            done = max(done, lines)
    assert stopped
    run(folder, out)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_kill_loses_at_most_one_image(tmp_path: Path) -> None:
    kill_often(tmp_path, 3, [0.3, 0.5, 0.4], 12)


@pytest.mark.slow
def test_many_kills_at_any_moment(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kill_often(tmp_path, 40, rng.uniform(0, 1.2, 40).tolist(), 60)


def test_an_image_that_broke_since_stays_in_no_file(tmp_path: Path) -> None:
    """results.json needs no pixels, a table of intensities does."""
    folder = images(tmp_path / "in")
    first = run(folder, tmp_path / "out", save=())
    broken = folder / "2.png"
    times = broken.stat()
    broken.write_bytes(b"\0" * times.st_size)
    os.utime(broken, ns=(times.st_atime_ns, times.st_mtime_ns))  # so that it is the same run
    summary = run(folder, tmp_path / "out", save=("csv",))
    assert (first.images, summary.images, len(summary.unreadable)) == (4, 3, 1)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {each["file_name"] for each in results} == {str(folder / f"{n}.png") for n in (0, 1, 3)}
