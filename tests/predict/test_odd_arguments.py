"""What Python programs hand to `predict`: odd images and arguments, other defaults, models that are training."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import noise_images, objects, small_config

from maskrcnn import MaskRCNN
from maskrcnn.errors import DataError, UserError
from maskrcnn.evaluate.coco import evaluate
from maskrcnn.labels.synthetic import Synthetic
from maskrcnn.model.build import build
from maskrcnn.predict.augment import Augmented
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.torch_engine import TorchEngine, refuse_nan


@pytest.fixture
def model() -> MaskRCNN:
    torch.manual_seed(0)
    made = build(small_config(), MaskRCNN)
    assert isinstance(made, MaskRCNN)
    return made.eval()


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((0, 5), np.uint8),
        np.zeros((3, 5, 3), np.complex64),
        np.zeros((3, 5, 3), object),
        np.zeros((3, 5, 3), np.int64) + 300,
        np.zeros((3, 5, 3, 1), np.uint8),
        Image.new("RGB", (0, 0)),
        Image.new("L", (0, 5)),
        None,
        5,
        torch.zeros(3, 5, 5),
    ],
)
def test_an_image_that_is_none_is_one_line(model: MaskRCNN, image: object) -> None:
    with pytest.raises(UserError) as error:
        model.predict(image)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("image", ["truncated", "closed", "mode"])
def test_a_pillow_image_that_cannot_be_decoded_is_one_line(model: MaskRCNN, image: str) -> None:
    """Pillow decodes when the pixels are asked for, so a damaged upload is found by us."""
    file = io.BytesIO()
    Image.fromarray(pixels()).save(file, "JPEG")
    opened = Image.open(io.BytesIO(file.getvalue()[: 800 if image == "truncated" else None]))
    if image == "closed":
        opened.close()
    with pytest.raises(DataError, match=r"a Pillow image of mode .*: cannot be decoded \(.*\); replace it"):
        model.predict(opened if image != "mode" else Image.new("La", (9, 9)))


@pytest.mark.parametrize("kind", [np.int8, np.bool_, np.uint8, np.uint16])
def test_images_of_other_types_are_read(model: MaskRCNN, kind: type) -> None:
    assert model.predict(np.ones((3, 5, 3), kind), score=0.0) is not None


@pytest.mark.parametrize(
    "options",
    [
        {"batch": -1}, {"batch": 0}, {"batch": 2.5}, {"batch": "a"}, {"batch": None},
        {"score": float("nan")}, {"score": -0.1}, {"score": 2}, {"score": "a"}, {"score": [0.5]},
        {"score": torch.tensor(0.5)}, {"engine": 5}, {"engine": "fast"},
    ],
)  # fmt: skip
def test_an_argument_out_of_its_range_is_one_line(model: MaskRCNN, options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        model.predict([pixels()], **options)  # type: ignore[arg-type]


def test_another_default_type_changes_nothing(model: MaskRCNN, double: None) -> None:
    torch.manual_seed(0)
    made = build(small_config(), MaskRCNN).eval()
    assert {tensor.dtype for tensor in made.state_dict().values() if tensor.is_floating_point()} == {
        torch.float32
    }
    (plain,) = predict_pixels(model, [pixels()], score=0.0)
    fast = model.predict(pixels(), score=0.0)
    torch.set_default_dtype(torch.float32)
    (expected,) = predict_pixels(model, [pixels()], score=0.0)
    for found in (plain, fast):
        assert len(found) == len(expected) > 0
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=1e-2)
    torch.set_default_dtype(torch.float64)
    images, sizes = noise_images()
    losses = model.train().losses(images, sizes, objects())
    sum(losses.values()).backward()  # type: ignore[union-attr]


def test_modes_stay_as_they_are(model: MaskRCNN) -> None:
    model.train()
    model.backbone.eval()
    modes = [module.training for module in model.modules()]
    for find in (lambda: predict_pixels(model, [pixels()]), lambda: model.predict(pixels())):
        find()
        assert [module.training for module in model.modules()] == modes


def test_a_model_that_trains_is_not_disturbed_by_threads_that_predict(model: MaskRCNN) -> None:
    (expected,) = predict_pixels(model, [pixels()], score=0.0)
    model.train()
    wrong: list[object] = []

    def work() -> None:
        for _ in range(3):
            (found,) = predict_pixels(model, [pixels()], score=0.0)
            if not np.array_equal(found.boxes, expected.boxes):
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert all(module.training for module in model.modules())
    assert not wrong and all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backbone.stem.conv.weight", float("nan")),
        ("rpn.deltas.weight", float("inf")),
        ("box_head.score.bias", -float("inf")),
    ],
)
def test_weights_that_are_not_finite_are_one_line(model: MaskRCNN, name: str, value: float) -> None:
    """Of these some find nothing, and some objects that are not there."""
    model.predict(pixels())
    tensor = model.get_parameter(name)
    with torch.no_grad():
        tensor[(0,) * tensor.ndim] = value
    with pytest.raises(UserError, match=f"the network's {name} holds NaN or infinite numbers") as error:
        model.predict(pixels())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "neck.lateral.0.conv.weight",
        "rpn.objectness.weight",
        "rpn.deltas.weight",
        "box_head.score.weight",
        "box_head.deltas.weight",
        "keypoint_head.deconv.weight",
    ],
)
def test_weights_so_large_that_numbers_overflow_are_one_line(name: str) -> None:
    """Finite, so that they load; a threshold takes no NaN, so that nothing would be found."""
    data = Synthetic(1)
    torch.manual_seed(0)
    model = build(small_config(classes=data.classes), MaskRCNN).eval()
    with torch.no_grad():
        model.get_parameter(name).fill_(3e38)
    for runner in (model, TorchEngine(model), Augmented(model)):
        with pytest.raises(DataError, match="became NaN or infinite") as error:
            predict_pixels(runner, [pixels()], score=0.0)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="became NaN or infinite"):
        evaluate(model, data)


def test_large_weights_are_finite(model: MaskRCNN) -> None:
    """Their sum is not."""
    with torch.no_grad():
        model.rpn.deltas.weight.fill_(3e38)
    refuse_nan(model)
