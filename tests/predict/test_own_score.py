"""Where no score is asked for, every way to predict keeps what has the model's own, `test.predict_score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from blob_model import BlobModel, blobs
from PIL import Image

from maskrcnn.cli.common import tell_score
from maskrcnn.predict.files import predict_files
from maskrcnn.predict.predictor import predict

SCORE = 0.9  # of all that a BlobModel finds


def by_predict(model: Any, path: Path, out: Path, **asked: float) -> int:
    return len(predict(model, path, **asked))  # type: ignore[arg-type]


def by_predict_files(model: Any, path: Path, out: Path, **asked: float) -> int:
    predict_files(model, [path], out, save=(), **asked)  # type: ignore[arg-type]
    return len(json.loads((out / "results.json").read_text()))


def by_batch_predictor(model: Any, path: Path, out: Path, **asked: float) -> int:
    pa = pytest.importorskip("pyarrow")
    from maskrcnn.scale.batch_predictor import BatchPredictor

    rows = BatchPredictor(model, **asked)(pa.table({"address": [str(path)]}))
    return len(rows["scores"][0])


def by_video(model: Any, path: Path, out: Path, **asked: float) -> int:
    pytest.importorskip("av")
    from maskrcnn.video.predict import predict_videos
    from maskrcnn.video.source import video_source

    video = video_source(str(path.parent / "*.png"), fps=1)
    assert video is not None
    (summary,) = predict_videos(model, [video], out, save=(), **asked)
    return sum(summary.objects.values())


@pytest.mark.parametrize("way", [by_predict, by_predict_files, by_batch_predictor, by_video])
def test_the_models_own_score(way: Any, tmp_path: Path) -> None:
    pixels, count = blobs(64, 64)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "one.png"
    Image.fromarray(pixels).save(path)
    model = BlobModel()
    found = []
    for number, own in enumerate((0.5, SCORE, 0.95)):
        model.config.test.predict_score = own
        found.append(way(model, path, tmp_path / f"{number}"))
    assert found == [count, count, 0] and count > 2
    assert way(model, path, tmp_path / "asked", score=0.5) == count


def test_a_score_that_is_not_the_usual_one_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    config = BlobModel().config
    tell_score(None, config)
    config.test.predict_score = 0.78
    tell_score(0.6, config)
    assert not capsys.readouterr().err
    tell_score(None, config)
    assert capsys.readouterr().err == "objects are kept from a score of 0.78 on; --score asks for another\n"
