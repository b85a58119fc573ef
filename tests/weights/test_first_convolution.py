"""Weights of RGB for images of other channels, and whole models of 1 and 5 channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import conv2d

from maskrcnn.config.load import load_config
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.read import as_pixels
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.predict.files import predict_files
from maskrcnn.predict.predictor import predict
from maskrcnn.weights.first_convolution import STEM, adapt_first_convolution
from maskrcnn.weights.load import load_model
from maskrcnn.weights.store import save_model
from maskrcnn.weights.transfer import transfer
from maskrcnn.weights.trunk import load_trunk


def model(channels: int, *, kind: str = "mobilenetv2", **inputs: object) -> MaskRCNN:
    torch.manual_seed(0)
    given = {
        "channels": channels,
        "mean": [100.0] * channels,
        "std": [50.0] * channels,
        "short_side": 64,
    } | inputs
    narrow = {"fc_channels": 16}, {"convs": 1, "channels": 16}
    settings = {
        "classes": ["a"],
        "input": given,
        "backbone": {"kind": kind},
        "neck": {"channels": 16},
        "rpn": {"pre_nms_test": 20, "post_nms_test": 20},
        "box_head": narrow[0],
        "mask_head": narrow[1],
        "test": {"score": 0.0, "detections": 5},
    }
    return build(load_config({"model": settings}).model)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7])
def test_grey_in_every_channel_does_what_grey_in_rgb_does(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 3, 3, 3, generator=generator)
    weight[:, 1:] = weight[
        :, :1
    ]  # where the colours' weights are alike, any number of channels gives the same
    grey = torch.rand(1, 1, 9, 9, generator=generator)
    expected = conv2d(grey.expand(-1, 3, -1, -1), weight)
    found = conv2d(grey.expand(-1, channels, -1, -1), adapt_first_convolution(weight, channels))
    torch.testing.assert_close(found, expected)


def test_one_channel_is_the_sum_and_many_go_round() -> None:
    weight = torch.randn(4, 3, 5, 5)
    assert torch.equal(adapt_first_convolution(weight, 1), weight.sum(1, keepdim=True))
    five = adapt_first_convolution(weight, 5)
    assert torch.allclose(five, 3 / 5 * weight[:, [0, 1, 2, 0, 1]])
    assert torch.equal(adapt_first_convolution(weight, 3), weight)


@pytest.mark.parametrize("channels", [1, 5])
def test_an_imagenet_trunk_is_adapted(channels: int) -> None:
    rgb, other = model(3), model(channels)
    assert load_trunk(rgb, "mobilenetv2-imagenet") == load_trunk(other, "mobilenetv2-imagenet")
    states = rgb.state_dict(), other.state_dict()
    assert torch.equal(states[1][STEM], adapt_first_convolution(states[0][STEM], channels))
    others = [name for name in states[0] if name.startswith("backbone.") and name != STEM]
    assert others and all(torch.equal(states[0][name], states[1][name]) for name in others)


def test_caffe2_trunks_are_for_bgr_alone(tmp_path: Path) -> None:
    from maskrcnn.weights.trunk import _check_caffe2

    with pytest.raises(UserError, match="1 channels cannot keep to"):
        _check_caffe2(model(1).config, tmp_path / "R-50.pkl")


def test_a_model_of_rgb_starts_one_of_other_channels() -> None:
    rgb, bgr = model(3), model(3, order="bgr")
    bgr.load_state_dict(rgb.state_dict())
    given = rgb.state_dict()[STEM]
    for channels in (1, 4):
        network = model(channels)
        done = transfer(network, rgb)
        assert torch.equal(network.state_dict()[STEM], adapt_first_convolution(given, channels))
        assert done.adapted == (3, channels) and not done.fresh
        assert f"  {STEM}: adapted from 3 input channels to {channels}" in done.lines("x")
        transfer(network, bgr)
        assert torch.equal(network.state_dict()[STEM], adapt_first_convolution(given.flip(1), channels))
    assert transfer(model(3), rgb).adapted is None


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ({"mean": [1.0, 2.0, 3.0]}, r"model\.input\.mean has 3 values but model\.input\.channels is 4"),
        ({"std": [1.0]}, r"model\.input\.std has 1 values .*maskrcnn check DATA"),
        ({"std": [1.0, 1.0, 0.0, 1.0]}, "above 0"),
        ({"order": "bgr"}, "bgr is for 3 channels"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(inputs: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        model(4, **inputs)


def test_five_channels_from_the_file_to_the_drawing(tmp_path: Path) -> None:
    network = model(5)
    save_model(network, tmp_path / "model")
    network = load_model(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 5), dtype=np.uint8)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, pixels)
    Image.fromarray(pixels[..., :3]).save(tmp_path / "c.png")
    one, two = predict(network, tmp_path / "a.npy", score=0.0), predict(network, pixels, score=0.0)
    assert not isinstance(one, list) and not isinstance(two, list)
    assert np.array_equal(one.boxes, two.boxes) and len(one)
    many = predict(network, f"{tmp_path}/*.npy", score=0.0)
    assert isinstance(many, list) and many[0].pixels is None and many[0][:1].plot().size[0] >= 80
    summary = predict_files(
        network, [str(tmp_path / "a.npy"), str(tmp_path / "c.png")], tmp_path / "out", score=0.0
    )
    assert [path.name for path in summary.overlays] == ["a.png"]
    assert "c.png: has 3 channels, the model takes 5" in summary.unreadable[0]
    with pytest.raises(DataError, match="has 3 channels"):
        predict(network, tmp_path / "c.png")
    with pytest.raises(UserError, match=r"shape \(64, 80, 4\) is not an image; give \(H, W, 5\)"):
        predict(network, pixels[..., :4])


def test_one_channel() -> None:
    network = model(1)
    rgb = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    for source in (
        grey,
        grey[..., None],
        rgb,
        Image.fromarray(rgb),
        np.dstack([rgb, np.full_like(grey, 255)]),
    ):
        assert np.array_equal(as_pixels(source, 1)[..., 0], grey)
    found = predict(network, grey, score=0.0)
    assert not isinstance(found, list) and found.pixels is not None and found.pixels.shape == (64, 80, 1)
    assert found.plot().mode == "RGB"
