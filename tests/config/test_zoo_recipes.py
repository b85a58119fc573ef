"""Recipes of the paper and of other libraries' zoos: they name a published checkpoint of the same network, and
train.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small import POINTS, noise_images, objects

from maskrcnn.config.load import find_recipe, load_config
from maskrcnn.config.section import dotted
from maskrcnn.model.build import build
from maskrcnn.weights.detectron2 import config_of
from maskrcnn.weights.detectron2_yaml import resolve
from maskrcnn.weights.published import find_published
from maskrcnn.weights.shipped_models import shipped_recipes

ZOO = {name: line for name, line in shipped_recipes().items() if "box AP" in line}
# theirs is BGR by Caffe2's or MSRA's trunk, ours RGB by torchvision's; and choices of ours for all recipes
OURS = (
    "classes", "class_ids", "keypoints", "input.", "backbone.norm_eps", "backbone.stride_in_1x1", "test.",
    "roi.sampling_ratio", "roi.ignore_iou", "rpn.ignore_iou", "mask_head.target", "keypoint_head.decode",
)  # fmt: skip


def test_all_are_there() -> None:
    assert set(ZOO) == {
        "r50-c4-1x", "r50-fpn-1x", "r50-fpn-3x", "r101-fpn-3x", "x101-fpn-3x", "r50-fpn-keypoint-3x",
        "faster-r50-fpn-1x", "r50-fpn-lsj-100ep",
    }  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_the_stated_figures_are_the_published_ones(name: str) -> None:
    text = find_recipe(name).read_text()
    found = re.search(r"that of (\S+),", text)
    assert found
    published = find_published(found[1])
    stated = {kind: float(ap) for kind, ap in re.findall(r"(\w+) AP (\d+\.\d)", ZOO[name])}
    assert stated == published.published
    trunk = load_config(name).train.trunk
    assert trunk is not None and find_published(trunk).kind == "trunk"


@pytest.mark.parametrize("name", ZOO)
def test_the_network_is_the_published_one(name: str) -> None:
    found = re.search(r"that of (\S+),", find_recipe(name).read_text())
    assert found
    published = find_published(found[1])
    theirs = dotted(config_of(resolve(published.config), data=published.data).model_dump())
    ours = dotted(load_config(name).model.model_dump())
    different = {
        key: (ours.get(key), theirs.get(key))
        for key in {*ours, *theirs}
        if ours.get(key) != theirs.get(key) and not key.startswith(OURS)
    }
    assert different == {}


@pytest.mark.parametrize("name", ZOO)
def test_it_is_built_and_steps(name: str) -> None:
    config = load_config(name).model
    config.classes = ["cat", "dog"]
    if config.keypoint_head is not None:
        config.keypoints = POINTS
    config.rpn.pre_nms_train, config.rpn.post_nms_train, config.roi.samples = 50, 20, 16
    model = build(config)
    images, sizes = noise_images(2, 64, 96)
    targets = objects()
    targets.boxes.clamp_(max=60)
    targets.mask_boxes.clamp_(max=60)
    losses = model(images, sizes, targets)
    torch.stack(list(losses.values())).sum().backward()
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
