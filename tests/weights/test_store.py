"""A model folder round-trips, and one that does not fit says which tensors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import noise_images, small_config, small_model

from maskrcnn import MaskRCNN
from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.weights.load import load_model
from maskrcnn.weights.shipped_models import shipped_models
from maskrcnn.weights.store import DIGEST, WEIGHTS, find_model, save_model
from maskrcnn.weights.trunk import load_trunk

TRUNK = Path(__file__).parents[3] / "shared" / "weights" / "mobilenetv2_1.0_imagenet_fp32_bn.npz"


def test_a_saved_model_comes_back_the_same(tmp_path: Path) -> None:
    model = build(small_config(), MaskRCNN).eval()
    model.save_pretrained(tmp_path, card="# card\n")
    again = MaskRCNN.from_pretrained(tmp_path)
    assert again.config == model.config and (tmp_path / "README.md").read_text() == "# card\n"
    for (name, a), (other, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b)
    images, sizes = noise_images()
    with torch.no_grad():
        for a, b in zip(model(images, sizes), again(images, sizes), strict=True):
            assert a is b is None or torch.equal(a, b)


def test_half_precision_is_loaded_as_single(tmp_path: Path) -> None:
    model = small_model()
    save_model(model, tmp_path, half=True)
    assert all(t.dtype == torch.float16 for t in load_file(tmp_path / "model.safetensors").values() if t.ndim)
    for name, tensor in load_model(tmp_path).state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", [model.name for model in shipped_models()])
def test_a_shipped_model_has_its_digest(name: str) -> None:
    """With which its tensors are compared when it is loaded."""
    with safe_open(find_model(name) / WEIGHTS, "pt") as file:
        assert len(file.metadata()[DIGEST]) == 64


def test_weights_that_do_not_fit_name_the_tensors(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["box_head.score.weight"] = torch.zeros(7, 32)
    del tensors["rpn.deltas.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(
        UserError, match=r"rpn\.deltas\.bias is missing.*box_head\.score\.weight is \(7, 32\)"
    ):
        load_model(tmp_path)


def test_a_broken_file_or_config_is_one_line(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="not readable as safetensors"):
        load_model(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["mask_haed"] = settings.pop("mask_head")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="mask_head"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="JSON"):
        load_model(tmp_path)


def test_a_run_folder_gives_its_best_weights(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "weights" / "last")
    assert find_model(tmp_path) == tmp_path / "weights" / "last"
    save_model(small_model(), tmp_path / "weights" / "best")
    assert find_model(tmp_path) == tmp_path / "weights" / "best"


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder"])
def test_an_unknown_model_lists_the_shipped_ones(name: str) -> None:
    with pytest.raises(UserError, match="shipped"):
        find_model(name)


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    """safetensors writes its metadata in another order each time."""
    model = small_model()
    for number in range(8):
        save_model(model, tmp_path / str(number))
    files = {(tmp_path / str(number) / "model.safetensors").read_bytes() for number in range(8)}
    assert len(files) == 1


def test_opening_a_model_does_not_bring_the_compiler() -> None:
    """torch.compile's modules are 140 MB and seconds of every start."""
    code = (
        "import sys; from maskrcnn.weights.load import load_model; load_model('person-mobilenet')\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_trunk_fills_every_tensor_of_the_backbone() -> None:
    model = small_model()
    before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    assert load_trunk(model, "mobilenetv2-imagenet") == len(before) == 260
    same = [k for k, v in model.backbone.state_dict().items() if torch.equal(v, before[k])]
    assert not same
    # ImageNet statistics make every layer's output well scaled; a wrong order of tensors would not
    with torch.no_grad():
        x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
        assert all(0.05 < level.std() < 5 for level in model.backbone(x))


@pytest.mark.skipif(not TRUNK.exists(), reason="../shared/weights is not here")
def test_the_shipped_trunk_is_the_original_rounded_to_16_bits() -> None:
    shipped, original = small_model(), small_model()
    load_trunk(shipped, "mobilenetv2-imagenet")
    load_trunk(original, TRUNK)
    rounded = shipped.backbone.state_dict()
    for name, tensor in original.backbone.state_dict().items():
        torch.testing.assert_close(rounded[name], tensor, rtol=1e-3, atol=1e-6, msg=name)


def test_a_trunk_that_is_not_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shipped trunk .*mobilenetv2-imagenet"):
        load_trunk(small_model(), "resnet")
    path = tmp_path / "trunk.npz"
    np.savez(path, other=np.zeros(3, np.float32))
    with pytest.raises(UserError, match="mobilenetv20_features_conv0_weight"):
        load_trunk(small_model(), path)
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="neither safetensors, .npz, torch nor pickle"):
        load_trunk(small_model(), path)


def test_a_model_is_not_saved_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(UserError, match="a file is in the way"):
            save_model(small_model(), folder)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_a_shipped_name_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(small_model(), tmp_path / "nuclei-mobilenet")
    with pytest.raises(UserError, match=r"nuclei-mobilenet: a shipped model, and a folder here; give \./"):
        find_model("nuclei-mobilenet")
    assert find_model("./nuclei-mobilenet") == Path("nuclei-mobilenet")
