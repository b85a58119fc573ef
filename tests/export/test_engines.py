"""Every engine answers as PyTorch does, at two sizes, for one and two images with no, one and many
objects.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from exported import compare, no_images_of, objects_above, small_network

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.predict.files import predict_files
from maskrcnn.predict.predictor import predict
from maskrcnn.runtime import engine as engines
from maskrcnn.runtime.engine import Engine, choose, open_export
from maskrcnn.runtime.exported_folder import read_export

ENGINES = ["openvino", "onnxruntime", "torch"]


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    return small_network()


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, exports: dict[str, Path]) -> Engine:
    name = request.param
    pytest.importorskip(name)
    return open_export(exports[{"onnxruntime": "onnx"}.get(name, name)], name, trust_code=True)


@pytest.mark.parametrize("objects", ["none", "one", "many"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("side", [(96, 128), (192, 160)])
def test_engines_answer_as_pytorch(
    engine: Engine, network: MaskRCNN, side: tuple[int, int], batch: int, objects: str
) -> None:
    images, sizes = no_images_of(batch, *side)
    score = objects_above(network, images, sizes, {"none": 0, "one": 1, "many": None}[objects])
    with torch.no_grad():
        expected = network.detect(images, sizes, score)
    assert (
        expected.valid.sum() == {"none": 0, "one": 1, "many": batch * network.config.test.detections}[objects]
    )
    compare(engine(images, sizes, score), expected, 1e-4)


def test_the_threshold_is_the_models_own_unless_given(engine: Engine, network: MaskRCNN) -> None:
    images, sizes = no_images_of(1, 96, 128)
    with torch.no_grad():
        compare(engine(images, sizes), network.detect(images, sizes), 1e-4)


def test_answers_are_not_overwritten_by_the_next(engine: Engine) -> None:
    images, sizes = no_images_of(1, 96, 128)
    first = engine(images, sizes)
    before = first.boxes.clone()
    engine(255 - images, sizes)
    assert torch.equal(first.boxes, before)


def test_small_images_are_padded_and_too_large_ones_refused(engine: Engine, network: MaskRCNN) -> None:
    images, sizes = no_images_of(1, 32, 64)
    padded = torch.nn.functional.pad(images, (0, 32, 0, 64))
    with torch.no_grad():
        compare(engine(images, sizes), network.detect(padded, sizes), 1e-4)
    with pytest.raises(UserError, match="larger than the 16384 of the exported graph"):
        engine(torch.zeros(1, 3, 32, 16416, dtype=torch.uint8), torch.tensor([[32, 16416]]))


def test_masks_at_full_resolution_are_the_same(engine: Engine, network: MaskRCNN, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    network.config.input.short_side = 96
    engine.config.input.short_side = 96
    ours, theirs = predict(network, image, score=0.0), predict(engine, image, score=0.0)
    assert len(ours) == len(theirs) > 0 and ours.masks.bitmaps().shape == (len(ours), 150, 210)
    differing = ours.masks.bitmaps() != theirs.masks.bitmaps()
    # a probability within rounding of one half may fall on either side
    assert differing.mean() < 1e-4
    np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=1e-2)
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "a.png")
    summary = predict_files(engine, [str(tmp_path / "a.png")], tmp_path / "out", score=0.0)
    assert len(json.loads(summary.results.read_text())) == len(ours)


@pytest.mark.parametrize("options", [{"tiles": 96}, {"tta": True}, {"tiles": 96, "tta": True}])
def test_tiles_and_augmentation_answer_as_by_pytorch(
    engine: Engine, network: MaskRCNN, options: dict[str, Any]
) -> None:
    network.config.input.short_side = engine.config.input.short_side = 96
    image = no_images_of(1, 160, 208)[0][0].permute(1, 2, 0).numpy()
    ours, theirs = (predict(runner, image, score=0.05, **options) for runner in (network, engine))
    assert len(ours) == len(theirs) > 4
    # scores are near each other, so the order may differ
    apart = np.abs(ours.boxes[:, None] - theirs.boxes).max(2) + (ours.labels[:, None] != theirs.labels) * 1e3
    order = apart.argmin(1)
    assert sorted(order) == list(range(len(ours)))
    theirs = theirs[order]
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-2)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
    np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=1e-2)
    assert (ours.masks.bitmaps() != theirs.masks.bitmaps()).mean() < 1e-4


def test_openvino_reads_onnx_too(exports: dict[str, Path], network: MaskRCNN) -> None:
    pytest.importorskip("openvino")
    images, sizes = no_images_of(1, 96, 128)
    found = open_export(exports["onnx"], "openvino")(images, sizes)
    with torch.no_grad():
        compare(found, network.detect(images, sizes), 1e-4)


def test_auto_takes_the_fastest_that_is_installed(
    exports: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    there = {"openvino", "onnxruntime", "torch"}
    monkeypatch.setattr(engines, "installed", lambda name: name in there)
    assert (
        choose("auto", "cpu", "mobilenetv2") == "openvino"
        and choose("auto", "cuda", "mobilenetv2") == "torch"
    )
    assert choose("auto", "cpu", "efficientnet_lite0") == "openvino"
    assert choose("auto", "cpu", "resnet50") == "torch"
    there.remove("openvino")
    assert choose("auto", "cpu", "mobilenetv2") == "onnxruntime"
    with pytest.raises(
        UserError, match=r"--engine openvino: not installed; pip install 'maskrcnn\[openvino\]'"
    ):
        choose("openvino")
    there -= {"onnxruntime"}
    assert choose("auto", "cpu", "mobilenetv2") == "torch"
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    arguments = ["predict", str(exports["torch"]), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--engine", "auto", "--trust-code"]) == 0
    assert "engine: torch" in capsys.readouterr().err


def test_unknown_engines_and_engines_of_another_export_are_one_line(
    exports: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    for engine, said in (
        ("tensorrt", "--engine tensorrt: there are: torch, openvino, onnxruntime, auto"),
        ("onnxruntime", "exported for torch, which onnxruntime does not run"),
    ):
        arguments = [
            "predict",
            str(exports["torch"]),
            str(tmp_path / "a.png"),
            "--out",
            str(tmp_path / "out"),
        ]
        assert main([*arguments, "--engine", engine]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert main(["evaluate", "person-mobilenet", "synthetic", "--engine", "tensorrt"]) == 2
    with pytest.raises(UserError, match="runs on the CPU"):
        choose("openvino", "cuda")


@pytest.mark.parametrize("target", ["openvino", "onnx", "torch"])
@pytest.mark.parametrize(
    "spoil", ["no graph", "cut graph", "noise", "no record", "wrong record", "later", "no config"]
)
def test_a_broken_exported_folder_is_one_line(
    exports: dict[str, Path], tmp_path: Path, target: str, spoil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(target, target))
    folder = tmp_path / "export"
    shutil.copytree(exports[target], folder)
    graph = read_export(folder)[2]
    if spoil == "no graph":
        graph.unlink()
    elif spoil == "cut graph":
        graph.write_bytes(graph.read_bytes()[:5000])
    elif spoil == "noise":
        graph.write_bytes(np.random.default_rng(0).bytes(5000))
    elif spoil == "no config":
        (folder / "config.json").unlink()
    elif spoil == "wrong record":
        (folder / "export.json").write_text('{"target": "fridge"}')
    elif spoil == "later":
        record = json.loads((folder / "export.json").read_text())
        (folder / "export.json").write_text(json.dumps(record | {"format": 99}))
    else:
        (folder / "export.json").write_text("[" * 100_000)
    assert main(["evaluate", str(folder), "synthetic", "--trust-code"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(folder) in error and "Traceback" not in error


def test_eight_threads_get_what_one_gets(engine: Engine) -> None:
    given = [no_images_of(1 + number % 2, 96 + 32 * number, 128) for number in range(4)]
    expected = [engine(*images, -1.0) for images in given]
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(4):
            place = (number + turn) % 4
            try:
                compare(engine(*given[place], -1.0), expected[place], 1e-5)
            except Exception as error:  # noqa: BLE001  # would be lost with its thread
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
