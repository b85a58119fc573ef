"""Image files in, overlays and results.json out, with a network that gives a fixed answer."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import pytest
import torch
from fixed_model import FixedModel, image
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.labels.writers.growing_file import GrowingFile
from maskrcnn.masks import encoding
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.predict.files import predict_files
from maskrcnn.runtime.engine import run_network


def test_predict_files_writes_overlays_and_results_and_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out" / "deep"
    (source / "more").mkdir(parents=True)
    Image.fromarray(image()).save(source / "a.jpg")
    Image.fromarray(image()).save(source / "b.tif")
    Image.fromarray(image()).save(source / "more" / "b.png")
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    steps: list[tuple[int, int]] = []
    sources = [str(source), str(source / "more")]
    summary = predict_files(FixedModel(), sources, out, batch=3, progress=lambda *step: steps.append(step))
    assert [path.name for path in summary.overlays] == ["a.jpg", "b.png", "b_2.png"]
    assert all(Image.open(path).size == (512, 256) for path in summary.overlays)
    assert summary.exit_code == 3 and len(summary.unreadable) == 1 and "broken.png" in summary.unreadable[0]
    assert summary.objects == {"dog": 3, "cat": 3} and steps == [(3, 4), (4, 4)]
    results = json.loads(summary.results.read_text())
    assert [result["overlay"] for result in results[::2]] == ["a.jpg", "b.png", "b_2.png"]
    assert len(results) == 6 and summary.results == out / "results.json"
    names = {result["image_id"]: result["file_name"] for result in results}
    assert names == {1: f"{source}/a.jpg", 2: f"{source}/b.tif", 4: f"{source}/more/b.png"}
    assert {"bbox", "segmentation", "keypoints", "score", "category_id"} <= set(results[0])
    assert {(result["category_id"], result["category_name"]) for result in results} == {
        (1, "cat"),
        (2, "dog"),
    }


def test_category_ids_are_those_of_the_labels_that_the_model_learned_from(tmp_path: Path) -> None:
    model = FixedModel()
    model.config.class_ids = [0, 7]
    Image.fromarray(image()).save(tmp_path / "a.png")
    summary = predict_files(model, [tmp_path / "a.png"], tmp_path / "out")
    results = json.loads(summary.results.read_text())
    assert {(result["category_id"], result["category_name"]) for result in results} == {
        (0, "cat"),
        (7, "dog"),
    }


def test_predict_files_without_trouble_has_exit_code_0(tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.png")
    assert predict_files(FixedModel(), [str(tmp_path / "a.png")], tmp_path / "out").exit_code == 0


def test_predict_files_never_replaces_a_image_nor_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(image()).save(path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="replace"):
        predict_files(FixedModel(), [str(tmp_path)], tmp_path)
    with pytest.raises(UserError, match="in the way"):
        predict_files(FixedModel(), [str(path)], path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["results.json", "summary.csv", "a.png"])
def test_files_that_are_of_no_run_are_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(image()).save(tmp_path / "in/a.png")
    out = tmp_path / "masks"
    out.mkdir()
    (out / name).write_text("mine")
    save = ("overlay", "summary")
    with pytest.raises(UserError, match=rf"{name}: is of no run, and a run would replace it; remove it"):
        predict_files(FixedModel(), [tmp_path / "in"], out, save=save)
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == "mine"
    if name != "results.json":  # what is not written is in nobody's way
        predict_files(FixedModel(), [tmp_path / "in"], out, save=())
        assert (out / name).read_text() == "mine"
    assert predict_files(FixedModel(), [tmp_path / "in"], out, save=save, resume=False).images == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_was_found_is_kept_when_it_is_interrupted(stop: type[BaseException], tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(image()).save(tmp_path / name)

    def progress(done: int, total: int | None) -> None:
        if done == 2:
            raise stop

    with pytest.raises(stop):
        predict_files(FixedModel(), [str(tmp_path)], tmp_path / "out", progress=progress)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {Path(result["file_name"]).name for result in results} == {"a.png", "b.png"}


def test_predict_files_counts_what_it_passed_over(tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.avif")
    Image.fromarray(image()).save(tmp_path / "b.jfif", "JPEG")
    (tmp_path / "c.psd").write_bytes(b"8BPS")
    summary = predict_files(FixedModel(), [tmp_path], tmp_path / "out")
    assert [path.name for path in summary.overlays] == ["a.png", "b.png"]
    assert summary.passed_over == [tmp_path / "c.psd"] and summary.exit_code == 3


def test_tables_in_place_of_overlays(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    for name in ("a.png", "b.png"):
        Image.fromarray(image()).save(tmp_path / name)
    summary = predict_files(
        FixedModel(), [tmp_path], out := tmp_path / "out", save=["csv"], scale=0.25, tiles=100
    )
    assert summary.images == 2 and not summary.overlays and summary.exit_code == 0
    names = sorted(path.name for path in out.iterdir() if path.name[0] != ".")
    assert names == ["journal.jsonl", "objects.csv", "results.json", "summary.csv"]
    objects = list(csv.DictReader((out / "objects.csv").open(encoding="utf-8")))
    assert len(objects) == sum(summary.objects.values()) == len(json.loads(summary.results.read_text()))
    assert float(objects[0]["area_um2"]) == float(objects[0]["area"]) / 16
    counts = [int(row["count"]) for row in csv.DictReader((out / "summary.csv").open(encoding="utf-8"))]
    assert sum(counts) == len(objects)
    assert len(summary.notes) == 2 and "predicted in 10 tiles of 100" in summary.notes[0]
    with pytest.raises(UserError, match="--save pdf: there are: overlay, coco, csv"):
        predict_files(FixedModel(), [tmp_path], out, save=["pdf"])


def test_images_that_may_hold_more_are_named(tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.png")
    model = FixedModel()
    model.config.test.detections = 2
    (line,) = predict_files(model, [tmp_path / "a.png"], tmp_path / "out").notes
    assert "2 objects are the most that the model gives" in line
    model.config.test.detections = 3
    assert not predict_files(model, [tmp_path / "a.png"], tmp_path / "more").notes
    model.config.input.tile_side = 32
    (line,) = predict_files(model, [tmp_path / "a.png"], tmp_path / "off", tiles="off").notes
    assert "8.0 times what the model is made for" in line and "leave out --tiles" in line
    (line,) = predict_files(model, [tmp_path / "a.png"], tmp_path / "auto").notes
    assert "tiles of 32" in line


def test_a_full_disk_leaves_the_growing_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = GrowingFile(tmp_path / "a.json", "[", "]")
    file.add(["1"])
    real, room = file._file.write, 3

    def write(content: memoryview) -> int:
        nonlocal room
        if room <= 0 and len(content) > 1:
            raise OSError(28, "No space left on device")
        put = real(content[: max(room, 1)])
        room -= put
        return put

    class Full:
        truncate, seek, close = file._file.truncate, file._file.seek, file._file.close

    full = Full()
    full.write = write  # type: ignore[attr-defined]
    monkeypatch.setattr(file, "_file", full)
    with pytest.raises(OSError, match="No space"):
        file.add(["2", "333333"])
    assert json.loads((tmp_path / "a.json").read_text()) == [1]
    room = 100
    file.add(["4", "5"])
    file.close()
    assert json.loads((tmp_path / "a.json").read_text()) == [1, 4, 5]


def test_results_are_whole_after_every_image(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(image()).save(tmp_path / name)
    lengths = []

    def progress(done: int, total: int | None) -> None:
        lengths.append(len(json.loads((tmp_path / "out" / "results.json").read_text())))

    predict_files(FixedModel(), [tmp_path], tmp_path / "out", progress=progress)
    assert lengths == [2, 4, 6]


class OnGpu:
    """An engine that says it is on a GPU."""

    name = "torch"
    device = torch.device("cuda")

    def __init__(self) -> None:
        self.model = FixedModel()
        self.config = self.model.config

    def __call__(
        self, images: torch.Tensor, sizes: torch.Tensor, score: float | None = None
    ) -> RawDetections:
        return run_network(self.model, images, sizes, score)


def test_beside_a_gpu_images_are_read_ahead_and_encoded_in_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "usable_cores", lambda: 3)
    source = tmp_path / "in"
    source.mkdir()
    for number in range(7):
        Image.fromarray(image()).save(source / f"{number}.png")
    (source / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    steps: list[tuple[int, int]] = []
    here = predict_files(FixedModel(), [source], tmp_path / "here", batch=2)
    gpu = predict_files(
        OnGpu(), [source], tmp_path / "gpu", batch=2, progress=lambda *step: steps.append(step)
    )
    assert (tmp_path / "gpu/results.json").read_bytes() == (tmp_path / "here/results.json").read_bytes()
    assert gpu.unreadable == here.unreadable and len(gpu.unreadable) == 1
    assert gpu.objects == here.objects and steps == [(2, 7), (4, 7), (6, 7), (7, 7)]


def test_predict_files_takes_a_name_and_refuses_odd_arguments(tmp_path: Path) -> None:
    Image.fromarray(image()).save(tmp_path / "a.png")
    out = str(tmp_path / "out")
    for tolerance in (-1, float("nan"), float("inf"), 1e300, "a"):
        with pytest.raises(UserError, match="simplify=.*give pixels, 0 to"):
            predict_files(FixedModel(), [tmp_path / "a.png"], out, simplify=tolerance)  # type: ignore[arg-type]
    assert not Path(out).exists()
    assert predict_files(FixedModel(), [tmp_path / "a.png"], out).results == tmp_path / "out" / "results.json"


def test_a_full_disk_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open file that cannot grow says nothing of its name."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Image.fromarray(image()).save(tmp_path / "a.png")
    monkeypatch.setattr("maskrcnn.predict.files.Journal", full)
    with pytest.raises(OSError, match="No space left") as caught:
        predict_files(FixedModel(), [tmp_path / "a.png"], tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out")
