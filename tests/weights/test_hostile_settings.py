"""Model folders and detectron2's YAML that ask for too much, or for nonsense: one line, before anything is
built.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import small_model

from maskrcnn.errors import UserError
from maskrcnn.weights import store, torchvision
from maskrcnn.weights.detectron2 import config_of
from maskrcnn.weights.detectron2_yaml import read_yaml, zoo_bases
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import save_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(small_model(), tmp_path / "model")
    return tmp_path / "model"


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_model(folder)
    text = str(error.value)
    assert "\n" not in text and str(folder) in text and len(text) < 1000
    return text


@pytest.mark.parametrize(
    "change",
    [
        {"rpn": {"convs": 10**6}},
        {"rpn": {"convs": 100, "channels": 16384}},
        {"neck": {"channels": 16384}},
        {"box_head": {"fcs": 100, "fc_channels": 16384}},
        {"mask_head": {"convs": 100, "channels": 16384}},
        {"mask_head": {"size": 10**5}},
        {"test": {"detections": 10**12}},
        {"input": {"divisor": 32 * 10**6}},
        {"input": {"long_side": 10**9, "short_side": 10**9}},
        {"classes": [f"c{i}" for i in range(100_000)]},
    ],
)
def test_settings_that_ask_for_more_than_the_weights_build_nothing(
    folder: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "config.json"
    told = json.loads(path.read_text())
    for name, value in change.items():
        told[name] = told[name] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(told))
    real, devices = store.build, []

    def build(*given: Any) -> Any:
        devices.append(torch.empty(0).device.type)
        return real(*given)

    monkeypatch.setattr(store, "build", build)
    refused(folder)
    assert devices in ([], ["meta"])


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"classes": ' + b"[" * 30 + b"]" * 30 + b"}",
        b'{"class_ids": [' + b"9" * 5000 + b"]}",
        b'{"class_ids": [99999999999999999999]}',
        b'{"test": {"score": NaN}}',
        b'{"test": {"score": 1e999}}',
        b"null",
        b"[]",
        b'"words"',
        b'{"rpn": null}',
        b'{"rpn": [1]}',
        b'{"rpn": "words"}',
        b'{"neck": [], "box_head": {"kind": []}}',
        b"\xff\xfe{}",
        b"",
        b" " * 9_000_000,
    ],
)
def test_a_config_of_any_content_is_one_line(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    refused(folder)


@pytest.mark.parametrize("spoil", ["absent", "folder", "fifo"])
def test_a_config_that_is_no_file_is_one_line(folder: Path, spoil: str) -> None:
    path = folder / "config.json"
    path.unlink()
    if spoil == "folder":
        path.mkdir()
    elif spoil == "fifo":
        os.mkfifo(path)
    assert "not readable as JSON" in refused(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["rpn.deltas.bias"][0] = value
    save_file(tensors, folder / "model.safetensors")
    assert "rpn.deltas.bias holds numbers that are not finite" in refused(folder)


def names_of(settings_: dict[str, Any]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in settings_.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *below) for below in names_of(value)]
    return found


DEFAULTS = zoo_bases()["defaults"]
ODD = [None, [], {}, "words", -1, 0, 2.5, 10**30, True, [None], [[]], ["a"], {"a": 1}, [1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize("base", ["Base-RCNN-FPN.yaml", "Base-RCNN-C4.yaml"])
def test_any_value_in_detectron2s_yaml_is_read_or_one_line(tmp_path: Path, base: str) -> None:
    path = tmp_path / "mine.yaml"
    refusals = 0
    for place in [*names_of(DEFAULTS), ("_BASE_",)]:
        for value in ODD:
            told: dict[str, Any] = {"_BASE_": base, "MODEL": {"MASK_ON": True, "KEYPOINT_ON": True}}
            inner = told
            for name in place[:-1]:
                inner = inner.setdefault(name, {})
            inner[place[-1]] = value
            path.write_text(yaml.safe_dump(told))
            try:
                config_of(read_yaml(path))
            except UserError as error:
                refusals += 1
                assert "\n" not in str(error) and len(str(error)) < 600
    assert refusals > 500


@pytest.mark.parametrize(
    "content",
    [
        "a: &a [1]\nb: [*a, *a]\n",
        "MODEL: null\n",
        "MODEL: [1]\n",
        "[]\n",
        "_BASE_: /etc/passwd\n",
        "_BASE_: [a]\n",
        "_BASE_: {a: 1}\n",
        "_BASE_: mine.yaml\n",
        "_BASE_: .\n",
        "_BASE_: 'a\0b'\n",
        "_BASE_: " + "x" * 5000 + "\n",
        "MODEL: !!python/object/apply:os.system [x]\n",
        "MODEL: {WEIGHTS: 2001-99-99}\n",
    ],
)
def test_a_yaml_of_detectron2_of_any_content_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        config_of(read_yaml(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("channels", [0, 10**5])
def test_a_detector_of_torchvisions_that_is_none_is_one_line(channels: int) -> None:
    state = {
        "roi_heads.box_predictor.cls_score.weight": torch.zeros(1).expand(3, 1024),
        "backbone.body.layer1.0.conv2.weight": torch.zeros(1).expand(64, 64, 3, 3),
        "backbone.fpn.inner_blocks.0.0.weight": torch.zeros(1).expand(channels, 256, 1, 1),
    }
    with pytest.raises(UserError, match=r"channels") as error:
        torchvision.config_of(state)
    assert "\n" not in str(error.value)
