"""An export onto a full disk: exit code 2, one line that names the folder, and nothing in its place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from exported import small_network

from maskrcnn.cli.main import main
from maskrcnn.errors import UserError
from maskrcnn.export import run
from maskrcnn.weights.store import save_model


def test_a_program_is_written_whole_or_not_at_all(
    cramped: Callable[[int], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_model(small_network(), tmp_path / "model")
    out = cramped(1 << 16) / "out"
    monkeypatch.setattr(run, "trace", lambda model: None)  # what is written does not matter here
    monkeypatch.setattr(torch.export, "save", lambda program, file: file.write(bytes(1 << 20)))
    assert main(["export", str(tmp_path / "model"), "--to", "torch", "--out", str(out)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"maskrcnn: error: {out}")
    assert "free some space" in line or "ulimit -f" in line
    assert not list(out.parent.iterdir())


def test_what_openvino_cannot_write_is_one_line(cramped: Callable[[int], Path]) -> None:
    ov = pytest.importorskip("openvino")
    from maskrcnn.export.onnx import save_openvino

    given = ov.opset13.parameter([1, 500], np.float32)
    weights = np.random.default_rng(0).random((500, 500), np.float32)
    model = ov.Model([ov.opset13.matmul(given, ov.opset13.constant(weights), False, False)], [given])
    with pytest.raises(UserError, match=r"cramped: OpenVINO cannot write there \(.*Free some space"):
        save_openvino(model, cramped(1 << 16) / "model.xml")
