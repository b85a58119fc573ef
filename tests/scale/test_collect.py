"""Parts as one file: nothing lost, nothing twice, and what is missing is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from blob_model import BlobModel
from photos import photos

from maskrcnn.cli.main import main
from maskrcnn.masks.rle import rle_area
from maskrcnn.predict.files import predict_files
from maskrcnn.scale.addresses import find_addresses
from maskrcnn.scale.batch_predictor import BatchPredictor
from maskrcnn.scale.parts import Run, read_run
from maskrcnn.scale.shards import predict_shard

pytest.importorskip("pyarrow")


def parts_of(tmp_path: Path, count: int = 7, broken: tuple[int, ...] = ()) -> Run:
    folder = photos(tmp_path / "photos", count, broken)
    predict_shard(BatchPredictor(BlobModel()), find_addresses([str(folder)]), tmp_path / "out", block=3)
    return read_run(tmp_path / "out")


def test_coco_is_what_predict_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts_of(tmp_path)
    assert main(["collect", str(tmp_path / "out"), "--to", "coco"]) == 0
    predict_files(BlobModel(), [tmp_path / "photos"], tmp_path / "plain", save=())
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "plain" / "results.json").read_bytes()
    count = len(json.loads((tmp_path / "out.json").read_text()))
    assert f"{count} objects in 7 images" in capsys.readouterr().out and count > 10


def test_images_that_may_hold_more_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("maskrcnn.cli.predict_shards.load_runner", lambda *_, **__: BlobModel(most=2))
    command = ["predict", "m", str(photos(tmp_path / "photos", 5, (1,))), "--out", str(tmp_path / "out")]
    for _ in range(2):  # a second run knows it of the parts
        assert main([*command, "--shard", "1/1"]) == 3
        assert "warning: 4 images with as many objects as the model gives" in capsys.readouterr().err
    assert main(["collect", str(tmp_path / "out"), "--to", "parquet"]) == 3
    assert "warning: 4 images with as many objects as the model gives" in capsys.readouterr().err
    run = read_run(tmp_path / "out")
    assert [row["capped"] for row in run.rows(0)] == [True, None, True, True, True]


@pytest.mark.parametrize("name", ["run.json", "part-000000-0123456789abcdef.parquet"])
def test_the_run_itself_is_not_written_over(name: str, tmp_path: Path) -> None:
    folder = parts_of(tmp_path).folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["collect", str(folder), "--to", "csv", "--out", str(folder / name)]) == 2
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_tables_hold_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pyarrow import parquet

    run = parts_of(tmp_path, broken=(4,))
    for kind in ("csv", "parquet"):
        assert main(["collect", str(run.folder), "--to", kind, "--out", str(tmp_path / kind)]) == 3
        told = capsys.readouterr()
        assert "004.png: not an image" in told.err and "1 image of them could not be read" in told.err
    rows = [row for block in run.blocks for row in run.rows(block)]
    assert parquet.read_table(tmp_path / "parquet").to_pylist() == rows
    with (tmp_path / "csv").open(newline="") as file:
        objects = list(csv.DictReader(file))
    assert len(objects) == sum(len(row["boxes"] or ()) for row in rows) > 10
    size = [rows[0]["height"], rows[0]["width"]]
    assert int(objects[0]["area"]) == rle_area({"size": size, "counts": rows[0]["rle"][0]})
    assert [float(objects[0][name]) for name in ("x0", "y0", "x1", "y1")] == rows[0]["boxes"][0]


def test_missing_parts_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = parts_of(tmp_path)
    run.part(1).unlink()
    assert main(["collect", str(run.folder), "--to", "coco"]) == 3
    assert "1 of 3 parts are missing (numbers 1)" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def rewritten(run: Run, block: int, change: Any) -> None:
    """A part whose rows are others, as of a program gone wrong."""
    rows = list(run.rows(block))
    run.write(block, change(rows))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [*rows, rows[-1]],
        lambda rows: rows[:-1],
        lambda rows: [rows[0], rows[0], rows[2]],
        lambda rows: [rows[1], rows[0], rows[2]],
    ],
    ids=["doubled", "missing", "one for another", "out of order"],
)
def test_doubled_and_missing_images_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any
) -> None:
    run = parts_of(tmp_path)
    rewritten(run, 1, change)
    for kind in ("coco", "csv", "parquet"):
        assert main(["collect", str(run.folder), "--to", kind, "--out", str(tmp_path / kind)]) == 3
        line = capsys.readouterr().err
        assert run.part(1).name in line and "remove it" in line
        assert not (tmp_path / kind).exists()


def test_parts_of_another_run_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = parts_of(tmp_path)
    (run.folder / f"part-000001-{'0' * 16}.parquet").write_bytes(run.part(1).read_bytes())
    assert main(["collect", str(run.folder), "--to", "coco"]) == 2
    assert "is of another run" in capsys.readouterr().err
    assert main(["collect", str(tmp_path), "--to", "coco"]) == 2
    assert "has no run.json" in capsys.readouterr().err
    assert main(["collect", str(run.folder), "--to", "xml"]) == 2
    assert "there are: coco, csv, parquet" in capsys.readouterr().err


def test_nothing_found_is_a_file_all_the_same(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 1, broken=(0,))
    predict_shard(BatchPredictor(BlobModel()), find_addresses([str(folder)]), tmp_path / "out")
    assert main(["collect", str(tmp_path / "out"), "--to", "coco"]) == 3
    assert json.loads((tmp_path / "out.json").read_text()) == []
