"""A compiled network: few graphs, full batches, and the answers of the network itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import same_detections, small_model

from maskrcnn.cli.main import main
from maskrcnn.images.batch import make_batch
from maskrcnn.model.optimise import fold_norms
from maskrcnn.ops import graphs
from maskrcnn.predict.journal import describe_run
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.compiled_engine import CompiledEngine


def test_one_graph_serves_images_alone_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = CompileCounter()
    monkeypatch.setattr(graphs, "BACKEND", counter)
    torch._dynamo.reset()
    model = small_model(input={"short_side": 64, "long_side": 96}, keypoint_head=None, keypoints=None)
    engine = CompiledEngine(model, batch=2)
    assert engine.shapes.sides == ((64, 64), (64, 96), (96, 64)) and model.training
    noise = np.random.default_rng(0)
    # 64 x 72, 64 x 96 and 64 x 90 pixels for the network: all are padded to 64 x 96
    images = [noise.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 72), (64, 96), (128, 180))]
    together = predict_pixels(engine, images, score=engine.config.test.score)
    alone = [predict_pixels(engine, [image], score=engine.config.test.score)[0] for image in images]
    assert counter.frame_count == 1 and engine.batch == 2
    for one, other in zip(together, alone, strict=True):
        assert len(one) and np.array_equal(one.labels, other.labels)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)

    batch = make_batch(images[1:2], model.config.input)
    weights = describe_run(model, [])["weights"]  # folding changes them
    plain = fold_norms(model.eval())
    for score in (None, 0.34):
        with torch.no_grad():
            same_detections(
                engine(batch.images, batch.sizes, score), plain.detect(batch.images, batch.sizes, score)
            )
    assert counter.frame_count == 1  # another score is no other graph

    described = describe_run(engine, [])
    assert described["engine"] == "compiled" and described["weights"] == weights
    assert CompiledEngine(model, bf16=True).name == "compiled, bf16"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--bf16"], "--bf16: is for --compile"),
        (["--compile", "--tta"], "--tta: looks at each image at other sizes"),
        (["--compile", "--engine", "openvino"], "--engine: has no effect beside --compile"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    options: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(b"")
    out = ["--out", str(tmp_path / "out")]
    assert main(["predict", "person-mobilenet", str(image), *out, *options]) == 2
    assert line in capsys.readouterr().err
