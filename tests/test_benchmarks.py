"""The benchmarks run and write what they measured; their figures are looked at by people, not here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
