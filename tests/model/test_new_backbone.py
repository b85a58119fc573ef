"""tools/new_backbone.py carries a detector over to another backbone."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from maskrcnn.config.load import Config, load_config
from maskrcnn.images.batch import Batch
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.weights.transfer import transfer
from maskrcnn.weights.trunk import load_trunk

ROOT = Path(__file__).parents[2]
SMALL = ["model.neck.channels=16", "model.classes=[thing]", "model.mask_head=null"]
SMALL += ["train.batch=2", "train.warmup_iterations=0", "train.optimizer=adamw", "train.lr=0.001"]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("new_backbone", ROOT / "tools" / "new_backbone.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings(kind: str, *more: str) -> Config:
    return load_config({}, [*SMALL, f"model.backbone.kind={kind}", "model.backbone.norm=frozen", *more])


def network(kind: str, *more: str) -> MaskRCNN:
    torch.manual_seed(len(kind))
    model = build(settings(kind, *more).model).eval()
    load_trunk(model, f"{kind}-imagenet")
    return model


def batches(count: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 256, (2, 3, 96, 128), generator=draw, dtype=torch.uint8) for _ in range(count)]
    sizes = torch.tensor([[96, 128], [80, 100]])
    return [Batch(images, sizes, torch.ones(2, 2), sizes) for images in pixels]


def apart(new: MaskRCNN, old: MaskRCNN, batch: Batch) -> float:
    """Mean squared distance of the levels."""
    with torch.no_grad():
        ours, theirs = (model.features(batch.images, batch.sizes) for model in (new, old))
    return float(sum((x - y).square().mean() for x, y in zip(ours, theirs, strict=True)))


def test_on_the_same_backbone_the_fit_finds_the_old_convolutions(tool: ModuleType) -> None:
    old, new = network("mobilenetv2", "model.box_head.fc_channels=64"), network("mobilenetv2")
    new.backbone.load_state_dict(old.backbone.state_dict())
    transfer(new, old)
    torch.nn.init.normal_(new.neck.lateral[1].conv.weight)  # type: ignore[union-attr, index]
    before = apart(new, old, batches(1)[0])
    tool.fit_laterals(new, old, batches(4))
    assert apart(new, old, batches(1)[0]) < 1e-4 * before


def test_units_that_do_nothing_are_left_out_without_loss(tool: ModuleType) -> None:
    old = network("mobilenetv2", "model.box_head.fc_channels=48")
    new = network("mobilenetv2", "model.box_head.fc_channels=32")
    assert old.box_head is not None and new.box_head is not None
    with torch.no_grad():
        for layer in old.box_head.fcs:
            layer.weight[::3] = 0  # 16 of 48 units
            layer.bias[::3] = -1
        for layer in (old.box_head.score, old.box_head.deltas):
            layer.weight.normal_()
        tool.fit_box_head(new, old, batches(3))
        features = tool.some_rois(old, batches(1)[0])
        for ours, theirs in zip(new.box_head(features), old.box_head(features), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-2 * float(theirs.std()))


def test_imitation_brings_the_levels_nearer_and_leaves_the_heads(tool: ModuleType) -> None:
    old, new = network("mobilenetv2"), network("efficientnet_lite0")
    transfer(new, old)
    load_trunk(new, "efficientnet_lite0-imagenet")
    before = apart(new, old, batches(1)[0])
    heads = {name: x.clone() for name, x in new.state_dict().items() if name.startswith(("rpn", "box_head"))}
    tool.imitate(new, old, iter(batches(1) * 8), settings("efficientnet_lite0"), steps=8, every=4)
    assert apart(new, old, batches(1)[0]) < 0.9 * before
    after = new.state_dict()
    assert heads and all(torch.equal(x, after[name]) for name, x in heads.items())
    assert not new.training
