"""What `maskrcnn.MaskRCNN` does with its weights: threads share it, and it answers by the weights it has."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "model"))
from small import small_config

from maskrcnn import Instances, MaskRCNN, api
from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.predict.journal import describe_model
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.compiled_engine import CompiledEngine
from maskrcnn.runtime.torch_engine import TorchEngine

THREADS = 4
PIXELS = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def network(**changes: object) -> MaskRCNN:
    torch.manual_seed(0)
    made = build(small_config(input={"short_side": 96, "long_side": 128}, **changes), network=MaskRCNN).eval()
    assert isinstance(made, MaskRCNN)
    return made


def eager(model: MaskRCNN) -> Instances:
    """By the plain network, as run_network runs what it is given."""
    return predict_pixels(model, [PIXELS], score=0.0)[0]


def found_by(model: MaskRCNN) -> Instances:
    found = model.predict(PIXELS, score=0.0)
    assert isinstance(found, Instances)
    return found


def same(found: Instances, expected: Instances) -> None:
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-2)


@pytest.mark.parametrize("tries", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_four_threads_share_a_new_network(tries: int) -> None:
    first = network()
    expected = eager(first)
    for _ in range(tries):
        model = copy.deepcopy(first)
        ready = threading.Barrier(THREADS)
        answers: list[Instances] = []

        def work(
            model: MaskRCNN = model, ready: threading.Barrier = ready, out: list[Instances] = answers
        ) -> None:
            ready.wait()
            out.append(found_by(model))

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == THREADS
        for found in answers:
            same(found, expected)


@pytest.mark.parametrize("change", ["data", "step", "load"])
def test_it_answers_by_the_weights_it_has(change: str) -> None:
    model = network()
    before = found_by(model)
    weight = model.backbone.parts()[0].conv.weight  # type: ignore[union-attr]
    assert isinstance(weight, torch.Tensor)
    if change == "data":
        weight.data.mul_(3)
    elif change == "step":
        with torch.no_grad():
            weight.mul_(3)
    else:
        state = {
            name: tensor * 1.5 for name, tensor in model.state_dict().items() if tensor.is_floating_point()
        }
        model.load_state_dict(state, strict=False)
    expected = eager(model)
    same(found_by(model), expected)
    assert not np.allclose(before.scores, expected.scores, atol=1e-5)


def test_what_it_keeps_is_no_part_of_the_network() -> None:
    model = network()
    names = list(model.state_dict())
    expected = found_by(model)
    assert model._engines["torch"][1] is model._engine("torch")
    assert list(model.state_dict()) == names
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not other._engines
        same(found_by(other), expected)
    model.train()
    assert found_by(model) is not None and model.training


def test_neighbours_in_a_batch_change_nothing() -> None:
    model = network()
    rng = np.random.default_rng(1)
    sides = [(96, 128), (64, 200), (128, 96), (90, 128), (200, 64), (96, 120), (60, 60)]
    images = [rng.integers(0, 256, (*side, 3), dtype=np.uint8) for side in sides]
    alone = [predict_pixels(model, [image], score=0.0)[0] for image in images]
    for batch in (2, len(images)):
        together = model.predict(images, score=0.0, batch=batch)
        assert [found.size for found in together] == sides
        for found, expected in zip(together, alone, strict=True):
            assert isinstance(found, Instances)
            assert len(found) == len(expected) > 0
            assert np.allclose(found.scores, expected.scores, atol=1e-5)
            assert np.allclose(found.boxes, expected.boxes, atol=1e-2)


def test_an_empty_name_is_not_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="an empty name"):
        network().save_pretrained("")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="an empty name"):
        MaskRCNN.from_pretrained("")


def test_an_engine_is_opened_once_for_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def note(model: MaskRCNN, name: str) -> TorchEngine:
        opened.append(name)
        return TorchEngine(model)

    monkeypatch.setattr(api, "engine_of", note)
    model = network()
    for engine in ("openvino", "openvino", None, "openvino", "torch"):
        model.predict(PIXELS, engine=engine)
    assert opened == ["openvino", "torch"]
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    model.predict(PIXELS, engine="openvino")
    assert opened == ["openvino", "torch", "openvino"]


def test_weights_are_told_apart_whatever_runs_them() -> None:
    model = network()
    runners = model, TorchEngine(model), CompiledEngine(model)
    assert len({describe_model(runner)["weights"] for runner in runners}) == 1
    before = describe_model(model)["weights"]
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    assert describe_model(TorchEngine(model))["weights"] != before
