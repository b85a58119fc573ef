"""The results of many processes are scored as those of one, and nothing that lacks is passed over."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.predict.predictor import predict
from maskrcnn.scale.addresses import find_addresses
from maskrcnn.scale.batch_predictor import BatchPredictor
from maskrcnn.scale.parts import read_run
from maskrcnn.scale.shards import predict_shard

pytest.importorskip("pyarrow")
sys.path.insert(0, str(Path(__file__).parents[1] / "predict"))

from blob_model import BlobModel, blobs  # noqa: E402

COUNT = 5


def labelled(tmp_path: Path, labels: int = COUNT) -> Path:
    """Images in a folder, and labels of some of them that a network finds in part."""
    (tmp_path / "photos").mkdir()
    images, annotations = [], []
    for number in range(COUNT):
        path = tmp_path / "photos" / f"{number}.png"
        Image.fromarray(blobs(48, 60, seed=number)[0]).save(path)
        if number >= labels:
            continue
        images.append({"id": 70 - number, "file_name": path.name, "height": 48, "width": 60})
        for one in predict(BlobModel(), path).to_coco(70 - number)[number % 2 :: 2]:
            x, y, width, height = one["bbox"]
            mask = {"segmentation": one["segmentation"]}
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 70 - number, "category_id": 4, "iscrowd": 0}
                | {"bbox": [x, y, width * 0.8, height], "area": width * height * 0.8}
                | mask
            )
    file = tmp_path / "labels.json"
    categories = [{"id": 4, "name": "blob"}]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


@pytest.fixture(autouse=True)
def _blob_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn.cli.evaluate.load_runner", lambda *_, **__: BlobModel())


def found(tmp_path: Path, **options: Any) -> Path:
    options = {"score": 0.05} | options
    addresses = find_addresses([str(tmp_path / "photos")])
    predict_shard(BatchPredictor(BlobModel(), **options), addresses, tmp_path / "out", block=2)
    return tmp_path / "out"


def evaluate(labels: Path, *words: object) -> int:
    return main(["evaluate", "m", str(labels), "--images", str(labels.parent / "photos"), *map(str, words)])


def test_the_figures_are_those_of_evaluate(tmp_path: Path) -> None:
    labels = labelled(tmp_path)
    assert evaluate(labels, "--json", tmp_path / "one.json") == 0
    assert evaluate(labels, "--json", tmp_path / "two.json", "--results", found(tmp_path)) == 0
    assert evaluate(labels, "--results", tmp_path / "mistyped") == 2 and not (tmp_path / "mistyped").exists()
    assert evaluate(labels, "--results", tmp_path / "one.json") == 2  # figures, not results
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json"))
    assert one == two and 10 < one["segm"]["AP"] < 90


def test_what_lacks_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, out = labelled(tmp_path), found(tmp_path)
    run = read_run(out)
    whole = run.part(1).read_bytes()
    run.part(1).unlink()
    assert evaluate(labels, "--results", out) == 3
    assert "1 of 3 parts are missing" in capsys.readouterr().err
    run.part(1).write_bytes(whole)
    rows = list(run.rows(1))
    run.write(1, [rows[0] | {"error": "broken", "boxes": None}, rows[1]])
    assert evaluate(labels, "--results", out) == 3
    assert "2.png: broken; predict it again" in capsys.readouterr().err
    run.write(1, [rows[0] | {"address": rows[1]["address"]}, rows[1]])
    assert evaluate(labels, "--results", out) == 3
    assert "has 3.png of the labels twice" in capsys.readouterr().err
    run.write(1, [rows[0] | {"address": "elsewhere.png"}, rows[1]])
    assert evaluate(labels, "--results", out) == 3
    assert "lacks 1 labelled image, 2.png first" in capsys.readouterr().err
    run.write(1, [rows[0] | {"height": 47}, rows[1]])
    assert evaluate(labels, "--results", out) == 3
    assert "60 x 47 pixels, in the labels 60 x 48" in capsys.readouterr().err


def test_images_without_labels_and_a_high_score_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = labelled(tmp_path, labels=3)
    assert evaluate(labels, "--results", found(tmp_path, score=0.5)) == 0
    told = capsys.readouterr().out
    assert "2 images of the results have no labels here" in told and "--score 0.05" in told


def test_other_weights_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, out = labelled(tmp_path), found(tmp_path)
    other = BlobModel()
    other.weight.data += 1
    monkeypatch.setattr("maskrcnn.cli.evaluate.load_runner", lambda *_, **__: other)
    assert evaluate(labels, "--results", out) == 2
    assert "predicted with other weights" in capsys.readouterr().err


def test_another_engine_is_refused_before_a_network_is_exported_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, out = labelled(tmp_path), found(tmp_path)
    monkeypatch.setattr("maskrcnn.cli.evaluate.load_runner", lambda *_, **__: pytest.fail("exported"))
    assert evaluate(labels, "--results", out, "--engine", "onnxruntime") == 2
    assert "was predicted with --engine torch, not onnxruntime; give that" in capsys.readouterr().err
