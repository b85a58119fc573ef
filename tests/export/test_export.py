"""`maskrcnn export`: what it writes, what it refuses, and that it leaves nothing behind then; int8; no
telemetry.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from exported import no_images_of, small_network

import maskrcnn
from maskrcnn.cli.main import main
from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.export import cached, run, verify
from maskrcnn.export.cached import engine_of
from maskrcnn.export.calibrate import CalibrationImages
from maskrcnn.export.graph import refuse, trace
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.runtime.engine import open_export
from maskrcnn.runtime.exported_folder import Record, read_export
from maskrcnn.weights.store import save_model

SOURCE = Path(maskrcnn.__file__).parents[1]


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_folder_says_what_it_is(exports: dict[str, Path]) -> None:
    for target, folder in exports.items():
        record, config, graph = read_export(folder)
        assert record.target == target and record.precision == "fp32" and graph.is_file()
        assert config == small_network().config
        assert record.versions["torch"] == torch.__version__ and len(record.weights) == 64
        assert (record.sides.least, record.sides.multiple) == (96, 32)
        assert len(record.verified) == 8 and all(
            row["boxes"] is None or row["boxes"] < 0.1 for row in record.verified
        )
        assert sum(row["matched"] for row in record.verified) > 20
        assert {path.name for path in folder.iterdir()} <= {
            "config.json", "export.json", "model.pt2", "model.onnx", "model.xml", "model.bin",
        }  # fmt: skip


def test_an_export_that_differs_too_much_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = small_network()
    save_model(network, tmp_path / "model")
    other = small_network()
    with torch.no_grad():
        other.mask_head.predict.bias.add_(1)
    # a graph of other weights than the model's
    monkeypatch.setattr(run, "trace", lambda model: trace(other))
    arguments = ["export", str(tmp_path / "model"), "--to", "torch", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "export to torch refused: masks differ by" in lines[-1] and "at most 0.01 is allowed" in lines[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "tensorrt"], "--to tensorrt: there are: openvino, onnx, torch"),
        (
            ["--to", "openvino", "--int8"],
            "--int8: needs images of the kind the model is for: --calibrate DATA",
        ),
        (["--to", "openvino", "--calibrate", "synthetic"], "--calibrate: is for --int8"),
        (["--to", "torch", "--int8", "--calibrate", "synthetic"], "--int8: is for --to openvino"),
        (["--to", "torch", "--out", "taken"], "taken: is not empty; name a new folder"),
        (["--to", "openvino", "--int8", "--calibrate", "nowhere"], "nowhere: no such file or folder"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "openvino" in arguments:
        pytest.importorskip("nncf")
    monkeypatch.chdir(tmp_path)
    Path("taken").mkdir()
    Path("taken/file").touch()
    assert main(["export", "person-mobilenet", *arguments]) == 2
    assert said in error_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_a_target_that_is_not_installed_names_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else real(name)
    )
    assert main(["export", "person-mobilenet", "--to", "onnx"]) == 2
    assert "onnxscript not installed; pip install 'maskrcnn[onnx]'" in error_line(capsys)


@pytest.mark.parametrize(
    ("roi", "said"),
    [
        ({"op": "pool"}, "model.roi.op=pool"),
        ({"reduce": "max", "sampling_ratio": 0}, "model.roi.sampling_ratio=2"),
    ],
)
def test_settings_that_are_no_graph_are_refused(roi: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        refuse(ModelConfig.model_validate({"classes": ["a"], "roi": roi}))


def test_a_maximum_is_not_for_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(UserError, match="roi.reduce=max wrongly"):
        run.export(small_network(roi={"reduce": "max"}), "openvino", tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_an_engine_of_a_model_is_exported_once(
    exports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("MASKRCNN_CACHE", str(tmp_path))
    made = []

    def export(model: object, to: str, out: Path, **options: object) -> Path:
        made.append(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.symlink_to(exports[to])
        return out

    monkeypatch.setattr(cached, "export", export)
    network, said = small_network(), []
    for _ in range(2):
        engine = engine_of(network, "onnxruntime", said.append)
    assert engine.name == "onnxruntime" and len(made) == len(said) == 1 and "about a minute" in said[0]
    with torch.no_grad():
        network.box_head.score.bias.add_(1)
    engine_of(network, "onnxruntime", said.append)
    assert len(made) == 2 and made[0] != made[1]  # other weights are another export
    assert engine_of(network, "torch").name == "torch"  # type: ignore[union-attr]


INT8 = """
import sys
seen = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        seen.append((event, str(arguments)[:80]))
sys.addaudithook(hook)
from pathlib import Path
from maskrcnn.runtime.exported_folder import read_export, write_export
from maskrcnn.export.quantise import quantise
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.runtime.engine import open_export
import torch
folder = Path(sys.argv[1])
record, config, graph = read_export(folder)
config.input.short_side, config.input.long_side = 96, 128
calibration = quantise(graph, config, Synthetic(4), 3)
write_export(folder, record.model_copy(update={"precision": "int8", "calibration": calibration}), config)
open_export(folder)(torch.zeros(1, 3, 96, 128, dtype=torch.uint8), torch.tensor([[96, 128]]))
import nncf, openvino
print("telemetry", sys.modules.get("openvino_telemetry"), seen, calibration["images"])
import atexit, threading
print("threads", [t.name for t in threading.enumerate() if "telemetry" in t.name.lower()])
"""


def test_int8_finds_the_same_and_nothing_leaves_the_machine(exports: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    import shutil

    folder = tmp_path / "int8"
    shutil.copytree(exports["openvino"], folder)
    full = (folder / "model.bin").stat().st_size
    # CI and pytest turn the libraries' telemetry off by themselves: neither is to help here
    environment = {
        k: v for k, v in os.environ.items() if k not in ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")
    }
    done = subprocess.run(
        [sys.executable, "-c", INT8, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"PYTHONPATH": str(SOURCE), "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "telemetry None [] 3" in done.stdout and "threads []" in done.stdout
    assert not any("telemetry" in path.name.lower() or path.name == "intel" for path in tmp_path.iterdir())
    assert (folder / "model.bin").stat().st_size < 0.7 * full
    network = small_network()
    images, sizes = no_images_of(1, 96, 128)
    with torch.no_grad():
        expected = network.detect(images, sizes)
    found = open_export(folder)(images, sizes)
    # random weights' many equal scores make int8 choose other boxes; how good they are stays nearly the same
    far = (found.scores - expected.scores).abs()
    assert found.valid.all() and torch.isfinite(found.boxes).all() and 1e-6 < far.max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("person-efficientnet", "coco_person_480"),
        ("person-mobilenet", "coco_person_480"),
        ("nuclei-mobilenet", "nuclei"),
    ],
)
def test_int8_loses_at_most_half_a_point(name: str, data: str, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    folder = Path(__file__).parents[2].parent / "shared" / "data" / data
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    assert (
        main(
            [
                "export",
                name,
                "--to",
                "openvino",
                "--int8",
                "--calibrate",
                str(folder),
                "--out",
                str(tmp_path / "int8"),
            ]
        )
        == 0
    )
    figures = []
    for weights in (name, str(tmp_path / "int8")):
        assert main(["evaluate", weights, str(folder), "--json", str(tmp_path / "scores.json")]) == 0
        figures.append(json.loads((tmp_path / "scores.json").read_text()))
    for kind in ("bbox", "segm"):
        assert figures[1][kind]["AP"] > figures[0][kind]["AP"] - 0.5, kind


VARIANTS = {
    "adaptive": {"roi": {"sampling_ratio": 0}},
    "max": {"roi": {"reduce": "max"}},
    "unaligned": {"roi": {"aligned": False}},
    "faster r-cnn": {"mask_head": None, "keypoint_head": None},
    "proposals": {"classes": ["a"], "box_head": None, "mask_head": None, "keypoint_head": None},
    "agnostic, group norm": {
        "neck": {"channels": 16, "norm": "group"},
        "box_head": {"convs": 1, "fcs": 1, "conv_channels": 16, "fc_channels": 32, "norm": "group", "class_agnostic": True},
        "mask_head": {"convs": 1, "channels": 16, "class_agnostic": True},
    },
    "resize, bgr": {"keypoint_head": {"convs": 1, "channels": 16, "decode": "resize"}, "input": {"order": "bgr"}},
    "grey, batch norm": {
        "input": {"channels": 1, "mean": [120.0], "std": [60.0]},
        "backbone": {"kind": "mobilenetv2", "norm": "batch"},
    },
    "c4": {
        "backbone": {"kind": "resnet50"},
        "neck": {"kind": "c4"},
        "box_head": {"size": 14, "fcs": 0},
        "mask_head": {"convs": 0, "channels": 16},
        "keypoint_head": None,
        "rpn": {"sizes": [[32, 64, 128]], "pre_nms_test": 40, "post_nms_test": 20},
    },
    "dc5": {
        "backbone": {"kind": "resnet50"},
        "neck": {"kind": "dc5"},
        "keypoint_head": None,
        "rpn": {"sizes": [[32, 64, 128]], "pre_nms_test": 40, "post_nms_test": 20},
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_composition_exports(variant: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    network = small_network(**VARIANTS[variant])
    folder = run.export(network, "onnx", tmp_path / "onnx", show=lambda table: None)
    for name in ("onnxruntime",) if variant == "max" else ("onnxruntime", "openvino"):
        rows = verify.verify(network, open_export(folder, name))
        assert verify.refusal(rows, verify.FP32) is None, name
        assert sum(row.matched for row in rows) >= 2 and sum(row.unlike for row in rows) <= 1, name


@pytest.mark.slow
def test_what_pads_nothing_is_a_graph_for_images_of_any_size() -> None:
    """As detectron2's C4 and DC5: 1 times a number of rows was refused by torch.export."""
    anchors = {"sizes": [[32, 64, 128]], "pre_nms_test": 40, "post_nms_test": 20}
    network = small_network(input={"divisor": 1}, neck={"kind": "dc5"}, keypoint_head=None, rpn=anchors)
    program = trace(network).module()
    for height, width in ((97, 131), (128, 200)):
        images, sizes = no_images_of(2, height // 8 * 8, width // 8 * 8)
        images = torch.nn.functional.pad(images, (0, width % 8, 0, height % 8))
        with torch.no_grad():
            found = program(images, sizes, torch.tensor(-1.0))
            expected = [part for part in network.detect(images, sizes, -1.0) if part is not None]
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_records_are_validated() -> None:
    with pytest.raises(ValueError, match="target"):
        Record.model_validate(
            {"target": "x", "sides": {"least": 1, "most": 2, "multiple": 1}, "inputs": [], "outputs": []}
        )


def test_verified_rows_survive_json(exports: dict[str, Path]) -> None:
    record = json.loads((exports["torch"] / "export.json").read_text())
    assert np.isfinite([row["score"] for row in record["verified"]]).all()


@pytest.mark.parametrize(("images", "count"), [(10, 3), (5, 3), (3, 5), (800, 300)])
def test_calibration_images_are_spread_over_the_whole(images: int, count: int) -> None:
    chosen = CalibrationImages(Synthetic(images), ModelConfig(), count).indices
    assert len(chosen) == len(set(chosen)) == min(images, count)
    steps = np.diff([*chosen, images])
    assert chosen[0] == 0 and steps.max() - steps.min() <= 1
