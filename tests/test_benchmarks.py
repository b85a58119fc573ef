"""The benchmarks run and write what they measured; their figures are looked at by people, not here."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.config.section import dotted
from maskrcnn.files import write_json
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.labels.writers.coco import write_coco
from maskrcnn.weights.trunk import shipped_trunks

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, more",
    [
        ("operators", ["--rounds", "1"]),
        ("evaluation", ["--rounds", "1", "--images", "3"]),
        ("start", ["--rounds", "1"]),
    ],
)
def test_runs_and_writes_json(name, more, tmp_path):
    out = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--json", str(out), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(out.read_text())
    assert figures["machine"]["torch"] and figures["lines"]
    assert all(
        seconds > 0 for line in figures["lines"] for each in line["seconds"].values() for seconds in each
    )


@pytest.mark.slow
def test_gpu_goes_through_on_a_cpu(tmp_path):
    out = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--cpu-check", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "torchvision is not installed" in done.stdout and "failed" not in done.stdout
    rows = json.loads(out.read_text())["rows"]
    assert all(row["images_per_s"] > 0 for row in rows if "torchvision" not in row["way"])
    assert {row["task"].split(",")[0] for row in rows} == {
        *("training", "network", "image to RLE", "data loader alone")
    }


def test_false_finds(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    out, folder = tmp_path / "figures.json", tmp_path / "nothing"
    folder.mkdir()
    Image.fromarray(np.full((120, 160, 3), 128, np.uint8)).save(folder / "grey.png")
    write_coco(Synthetic(count=3, seed=0), tmp_path / "labels.json", tmp_path / "images")
    for more in (["--images", str(folder)], ["--data", str(tmp_path / "labels.json"), "--least", "50"]):
        words = ["person-mobilenet", "nuclei-mobilenet", *more, "--json", str(out)]
        importlib.import_module("false_finds").main(words)
        written = json.loads(out.read_text())
        assert set(written["figures"]) == {"person-mobilenet", "nuclei-mobilenet"}
        for figures in written["figures"].values():
            assert figures["0.5"]["each"] >= figures["0.7"]["each"] >= figures["0.9"]["each"] >= 0
            assert figures["0.9"]["images with any"] <= 1
    assert written["images"] > 1


def test_tiles(tmp_path):
    out = tmp_path / "figures.json"
    small = ["--discs", "100", "--side", "512", "--borders", "8000", "--sides", "1024", "2048"]
    command = [sys.executable, str(BENCHMARKS / "tiles.py"), "discs", "whole", "borders", "slides", *small]
    done = subprocess.run([*command, "--json", str(out)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = {line["name"]: line["value"] for line in json.loads(out.read_text())["lines"]}
    assert figures["missed, twice, not whole"] == [0, 0, 0] and figures["objects on a border, joined"] == 8000
    assert figures["matched at IoU 0.9"] == "100.00%"
    for side in ("1,024 x 1,024", "2,048 x 2,048"):
        drawn, found = figures[f"{side}: blobs, found"]
        assert drawn == found


@pytest.fixture
def small_data(monkeypatch):
    """The benchmark as a module, on ten images of three shapes of 64 x 96."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("small_data")
    data = Synthetic(10, side=(64, 96)), Synthetic(3, split="val", side=(64, 96))
    monkeypatch.setattr(module, "open_data", lambda source: data)
    return module


def test_small_data_shares_subsets_and_equal_trainings(small_data, tmp_path):
    words = ["--sizes", "4", "6", "all", "50", "--steps", "9", "--seeds", "2", "--out", str(tmp_path)]
    options = small_data.parser().parse_args([*words, "--change", "train.ema=0.5"])
    study = small_data.SmallData(options)
    assert study.sizes == [4, 6, 10]
    for seed in (0, 1):
        few, more, every = (set(study.subset(size, seed).indices.tolist()) for size in study.sizes)
        assert few < more < every == set(range(10)) and len(few) == 4 and len(more) == 6
    assert set(study.subset(4, 0).indices) != set(study.subset(4, 1).indices)
    auto, recipe, trunk, scratch, changed = (study.job(way, 4, 0) for way in study.ways)
    assert len({job.folder for job in (auto, recipe, trunk, scratch)}) == 4
    # no shipped model knows these classes, so auto's start is not measured untrained
    assert auto.config.train.init == study.start == "person-efficientnet" and not study.known
    assert len(study.jobs()) == 2 * 3 * 5
    for job in (auto, recipe, scratch, trunk, changed):
        assert job.train.indices.tolist() == auto.train.indices.tolist()
        assert (job.config.train.batch, job.config.train.epochs) == (4, 9)  # an epoch is one step
    one, other = (dotted(job.config.model_dump()) for job in (auto, changed))
    assert {key for key in one if one[key] != other[key]} == {"train.ema"} and other["train.ema"] == 0.5
    kind = trunk.config.model.backbone.kind
    assert trunk.config.train.trunk == f"{kind}-imagenet" in shipped_trunks()
    assert trunk.config.train.init is None
    assert scratch.config.train.trunk is None and scratch.config.train.init is None


def test_small_data_compares_what_is_done(small_data, tmp_path):
    """All labels found again against those of two images in three, of one seed of two."""
    words = ["--sizes", "4", "--steps", "9", "--seeds", "2", "--draws", "20", "--out", str(tmp_path)]
    options = small_data.parser().parse_args([*words, "--ways", "auto", "--change", "train.ema=0.5"])
    study = small_data.SmallData(options)
    results = []
    for number in range(3):
        image = study.val.image(number)
        for each in image.annotations:
            x0, y0, x1, y1 = each.box
            code = {**each.rle, "counts": each.rle["counts"].decode()}
            found = {"image_id": image.image_id, "category_id": each.label + 1, "score": 0.9}
            results.append(found | {"bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": code})
    for way, kept in zip(study.ways, (3, 2), strict=True):
        folder = study.job(way, 4, 1).folder
        write_json(folder / "found.json", [each for each in results if each["image_id"] <= kept])
    base, changed = study.rows()
    assert (base["way"], changed["way"], changed["seeds"]) == ("auto", "auto train.ema=0.5", 1)
    for kind in ("segm", "bbox"):
        assert base[kind]["mean"] == pytest.approx(100) and base[f"{kind} difference"]["mean"] == 0
        lost = changed[f"{kind} difference"]
        assert lost["mean"] == pytest.approx(changed[kind]["mean"] - 100) and -90 < lost["mean"] < -10
        assert lost["low"] < lost["mean"] < lost["high"]
    lines = small_data.table([base, changed], study.kinds, "auto")
    assert (
        lines[2].startswith("| 4 | auto | 100.0 (100.0 to 100.0) |  | ")
        and f"{lost['mean']:+.1f}" in lines[3]
    )


@pytest.mark.slow
def test_small_data_goes_on_and_reports(small_data, tmp_path, capsys):
    words = ["--sizes", "4", "6", "--ways", "recipe", "--recipe", "quick", "--steps", "2", "--seeds", "2"]
    words += ["--change", "train.lr=0.1", "--draws", "5", "--batch", "2", "--out", str(tmp_path / "out")]
    words += ["--set", "data.workers=0", "--json", str(tmp_path / "figures.json")]
    small_data.main([*words, "--only", "1/2"])
    told = capsys.readouterr().out
    assert "Not done: recipe train.lr=0.1, 4 images, seed 0; " in told and "| recipe train.lr" not in told
    found = sorted((tmp_path / "out").glob("*/found.json"))
    before = {path: path.stat().st_mtime_ns for path in found}
    assert len(found) == 4
    small_data.main([*words, "--only", "2/2"])
    assert "Not done" not in (tmp_path / "out" / "table.md").read_text()
    assert all(path.stat().st_mtime_ns == before[path] for path in found)
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert [(row["images"], row["way"]) for row in rows] == [
        *((size, way) for size in (4, 6) for way in ("recipe", "recipe train.lr=0.1"))
    ]
    assert all(row["seeds"] == 2 and len(row["segm"]["each"]) == 2 for row in rows)
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000
