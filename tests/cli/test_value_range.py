"""`--value-range`: its forms, what it does to a model, and the hint where it is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskrcnn.cli.main import main
from maskrcnn.cli.value_range import Wanted, parse_value_range, set_value_range
from maskrcnn.config.model import ModelConfig

TWELVE_BITS = (0.0, 4095.0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0,4095", Wanted(values=TWELVE_BITS)),
        ("[100, 2000]", Wanted(values=(100.0, 2000.0))),
        ("-1000,400.5", Wanted(values=(-1000.0, 400.5))),
        ("12bit", Wanted(values=TWELVE_BITS)),
        ("12 bits", Wanted(values=TWELVE_BITS)),
        ("1%,99.5%", Wanted(percentiles=(1.0, 99.5))),
        ("auto", Wanted()),
        (None, None),
    ],
)
def test_its_forms(text: str | None, wanted: Wanted | None) -> None:
    assert parse_value_range(text) == wanted


@pytest.mark.parametrize(
    "text", ["0", "a,b", "1,2,3", "5,1", "3,3", "nan,1", "0,inf", "1%,99", "1%,101%", "0bit"]
)
def test_what_it_cannot_be(text: str, tmp_path: Path, error_line: Callable[[], str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert main(["predict", "no-such-model", str(tmp_path), "--value-range", text]) == 2
    assert f"--value-range {text}: " in error_line()


def test_an_export_has_no_images_to_look_at(error_line: Callable[[], str]) -> None:
    assert main(["export", "no-such-model", "--to", "torch", "--value-range", "auto"]) == 2
    assert "--value-range auto" in error_line()


@pytest.mark.parametrize(
    ("model", "images", "hinted"),
    [
        (None, TWELVE_BITS, True),
        (None, (0.0, 255.0), True),
        (None, (0.0, 65535.0), False),
        (None, (0.0, 1.0), False),
        (None, (0.0, 900.5), False),
        (None, None, False),
        (TWELVE_BITS, TWELVE_BITS, False),
    ],
)
def test_dark_images_are_hinted_at(
    model: tuple[float, float] | None,
    images: tuple[float, float] | None,
    hinted: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = ModelConfig(classes=["cell"])
    config.input.value_range = model
    set_value_range(config, None, lambda percentiles: images)
    assert config.input.value_range == model
    assert ("--value-range" in capsys.readouterr().err) == hinted


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize("text", [None, "12bit", "auto", "0%,100%"])
def test_the_model_sees_the_images_bright(
    verb: str, text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pixels that reach the network, of an image of 12 bits in a file of 16."""
    from maskrcnn.model.build import build

    samples = np.full((64, 64), 4095, np.uint16)
    samples[:, :32] = 0
    (tmp_path / "images").mkdir()
    Image.fromarray(samples).save(tmp_path / "images" / "a.png")
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 20, 20], "area": 400, "iscrowd": 0}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(document))
    settings = {
        "classes": ["cell"],
        "input": {"short_side": 64, "long_side": 64},
        "backbone": {"kind": "mobilenetv2"},
        "neck": {"channels": 8},
        "box_head": {"fc_channels": 8},
        "mask_head": None,
    }
    network, seen = build(ModelConfig.model_validate(settings)).eval(), []
    network.register_forward_pre_hook(lambda module, args: seen.append(int(args[0].max())))
    detect = network.detect
    monkeypatch.setattr(
        network, "detect", lambda images, *rest: seen.append(int(images.max())) or detect(images, *rest)
    )
    monkeypatch.setattr(f"maskrcnn.cli.{verb}.load_runner", lambda *args, **kwargs: network)
    source = tmp_path / ("images" if verb == "predict" else "val.json")
    option = ["--value-range", text] if text else []
    out = ["--out", str(tmp_path / "out")] if verb == "predict" else []
    assert main([verb, "model", str(source), *option, *out]) == 0
    assert seen[-1] == (255 if text else 15)
