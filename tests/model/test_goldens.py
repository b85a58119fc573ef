"""The network against torchvision's own answers on the same weights: features to losses.

The weights follow a rule (../shared/goldens/README.md). Quantities are compared relative to their own scale.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskrcnn.batch import Targets, empty_targets
from maskrcnn.config import KeypointSchema
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.ops.boxes import pairwise_iou
from maskrcnn.weights.torchvision import from_torchvision, our_name, torchvision_config

GOLDENS = Path(__file__).parents[3] / "shared" / "goldens"
pytestmark = pytest.mark.skipif(not GOLDENS.exists(), reason="../shared/goldens is not here")

HEIGHT, WIDTH = 256, 320
OBJECTS = [[20, 20, 100, 110], [60, 40, 210, 190], [180, 90, 300, 240]]


def load_rule() -> Any:
    spec = importlib.util.spec_from_file_location("rule", GOLDENS / "rule.py")
    assert spec and spec.loader
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    return rule


def load(name: str, keypoints: bool) -> tuple[MaskRCNN, dict[str, np.ndarray], Any]:
    rule = load_rule()
    with np.load(GOLDENS / f"torchvision.{name}.npz") as arrays:
        golden = {key: arrays[key] for key in arrays.files}
    shapes = json.loads((GOLDENS / f"torchvision.{name}.keys.json").read_text())
    points = [str(i) for i in range(17)]
    schema = KeypointSchema(names=points, flip=list(range(17)), sigmas=[0.05] * 17) if keypoints else None
    config = torchvision_config([str(i) for i in range(1, 2 if keypoints else 91)], schema)
    config.rpn.samples = config.roi.samples = 1_000_000
    config.backbone.freeze = 0
    model = build(config).eval()
    state = {key: torch.from_numpy(rule.fill(key, tuple(shape))) for key, shape in shapes.items()}
    model.load_state_dict(from_torchvision(state))
    return model, golden, rule


@pytest.fixture(scope="module", params=["maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"])
def peer(request: pytest.FixtureRequest) -> tuple[MaskRCNN, dict[str, np.ndarray], Any, bool]:
    keypoints = request.param.startswith("keypoint")
    return *load(request.param, keypoints), keypoints


def picture(rule: Any) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.from_numpy(rule.image(HEIGHT, WIDTH)).permute(2, 0, 1)[None]
    return image, torch.tensor([[HEIGHT, WIDTH]])


def close(ours: torch.Tensor | np.ndarray, theirs: np.ndarray, what: str) -> None:
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, what
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error < 1e-3, f"{what}: {error:.2e} of its scale"


def partners(ours: torch.Tensor, theirs: np.ndarray) -> float:
    """Share of their boxes that have one of ours over it by an IoU of 0.99."""
    return float((pairwise_iou(torch.from_numpy(theirs), ours).amax(1) > 0.99).float().mean())


@torch.no_grad()
def test_forward(peer: tuple[MaskRCNN, dict[str, np.ndarray], Any, bool]) -> None:
    model, golden, rule, keypoints = peer
    images, sizes = picture(rule)
    features = model.features(images, sizes)
    for level, name in enumerate(["0", "1", "2", "3", "pool"]):
        close(rule.sample(features[level].numpy()), golden[f"feature.{name}"], f"feature {name}")
    output = model.rpn(features)
    for level, (scores, deltas) in enumerate(zip(output.objectness, output.deltas, strict=True)):
        height, width = features[level].shape[2:]
        scores = scores.view(1, height, width, 3).permute(0, 3, 1, 2).numpy()
        deltas = deltas.view(1, height, width, 12).permute(0, 3, 1, 2).numpy()
        close(rule.sample(scores), golden[f"rpn.objectness.{level}"], f"objectness {level}")
        close(rule.sample(deltas), golden[f"rpn.deltas.{level}"], f"deltas {level}")
    proposals = model.rpn.propose(output, sizes, before=1000, after=1000)
    assert partners(proposals.boxes[0], golden["rpn.proposals"]) >= 0.99

    boxes = torch.from_numpy(golden["given.boxes"]).float()
    first = torch.zeros(len(boxes), dtype=torch.int64)
    pooled = model.pooler(features, boxes, first, 7)
    close(rule.sample(pooled.numpy(), 2048), golden["given.box_pooled"], "pooled")
    logits, deltas = model.box_head(pooled)
    close(torch.cat([logits[:, -1:], logits[:, :-1]], 1), golden["given.class_logits"], "class logits")
    close(deltas.flatten(1), golden["given.box_deltas"][:, 4:], "box deltas")
    if keypoints:
        heat = model.keypoint_head(model.pooler(features, boxes, first, 14))
        close(rule.sample(heat.numpy(), 4096), golden["given.keypoint_logits"], "keypoint logits")


@torch.no_grad()
def test_detections(peer: tuple[MaskRCNN, dict[str, np.ndarray], Any, bool]) -> None:
    model, golden, rule, _ = peer
    found = model(*picture(rule))
    theirs = torch.from_numpy(golden["detections.boxes"])
    overlap = pairwise_iou(theirs, found.boxes[0]) * (
        torch.from_numpy(golden["detections.labels"])[:, None] == found.labels[0] + 1
    )
    best, where = overlap.max(1)
    near = (found.scores[0][where] - torch.from_numpy(golden["detections.scores"])).abs() < 1e-3
    assert int(found.valid.sum()) == len(theirs)
    assert float(((best > 0.99) & near).float().mean()) >= 0.99


def test_losses_and_gradients(peer: tuple[MaskRCNN, dict[str, np.ndarray], Any, bool]) -> None:
    model, golden, rule, keypoints = peer
    images, sizes = picture(rule)
    losses = model(images, sizes, golden_targets(keypoints))
    names = {"class": "classifier", "box": "box_reg", "mask": "mask", "keypoint": "keypoint"}
    names |= {"rpn_objectness": "objectness", "rpn_box": "rpn_box_reg"}
    for ours, theirs in names.items():
        if ours in losses:
            expected = float(golden[f"loss.loss_{theirs}"])
            assert losses[ours].item() == pytest.approx(expected, rel=1e-3), ours
    model.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    ours = dict(model.named_parameters())
    norms = {key.removeprefix("gradnorm."): float(value) for key, value in golden.items() if "gradnorm." in key}
    floor = 1e-4 * max(norms.values())
    checked = 0
    for theirs, norm in norms.items():
        name = our_name(theirs)
        if name not in ours:
            continue  # a norm's scale or shift: it learns there, ours is frozen
        gradient = ours[name].grad
        assert gradient is not None
        assert abs(float(gradient.norm()) - norm) < 1e-2 * max(norm, floor), name
        checked += 1
    assert checked == len(ours)


def golden_targets(keypoints: bool) -> Targets:
    """The three objects of the goldens' README: ellipses, their masks as bitmaps over the whole picture."""
    targets = empty_targets(1, 3, 0, 17 if keypoints else 0)
    boxes = torch.tensor(OBJECTS, dtype=torch.float32)
    targets.boxes[0], targets.valid[0], targets.has_mask[0] = boxes, True, True
    targets.labels[0] = torch.zeros(3) if keypoints else torch.tensor([0, 2, 4])
    y, x = torch.arange(HEIGHT)[:, None] + 0.5, torch.arange(WIDTH)[None] + 0.5
    masks = []
    for x1, y1, x2, y2 in OBJECTS:
        inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
        masks.append(inside.to(torch.uint8))
    targets.masks = torch.stack(masks)[None]
    targets.mask_boxes[0] = torch.tensor([0.0, 0.0, WIDTH, HEIGHT])
    if keypoints:
        rng = np.random.default_rng(7)
        for i, (x1, y1, x2, y2) in enumerate(OBJECTS):
            points = rng.uniform(x1 + 1, x2 - 1, 17), rng.uniform(y1 + 1, y2 - 1, 17), 2 * (rng.uniform(size=17) > 0.2)
            targets.keypoints[0, i] = torch.from_numpy(np.stack(points, 1))
    return targets
