"""The whole network: its shapes, its graphs, and that a batch is only its images side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from small import noise_images, objects, same_detections, small_model

from maskrcnn.errors import UserError
from maskrcnn.images.batch import Targets, empty_targets
from maskrcnn.ops import graphs

R50 = {
    "backbone": {"kind": "resnet50"},
    "neck": {"kind": "c4"},
    "box_head": {"size": 14, "fcs": 0},
    "mask_head": {"convs": 0, "channels": 16},
    "keypoint_head": None,
}


ONE_LEVEL = {
    "sizes": [[32, 64, 128]],
    "pre_nms_train": 40,
    "post_nms_train": 30,
    "post_nms_test": 20,
    "samples": 32,
}


def c4_settings() -> dict[str, object]:
    rpn = ONE_LEVEL | {"pre_nms_train": 20, "post_nms_train": 10, "post_nms_test": 5, "samples": 16}
    return R50 | {
        "rpn": rpn,
        "roi": {"samples": 8},
        "test": {"score": 0.0, "detections": 3, "candidates": 10},
    }


def settings_of(kind: str) -> dict[str, object]:
    return {
        "everything": {},
        "faster r-cnn": {"mask_head": None, "keypoint_head": None},
        "masks": {"keypoint_head": None},
        "keypoints": {"mask_head": None},
        "roi pool": {"roi": {"samples": 16, "op": "pool"}},
        "roi align max": {"roi": {"samples": 16, "reduce": "max"}},
        "adaptive": {"roi": {"samples": 16, "sampling_ratio": 0}},
        "unaligned": {"roi": {"samples": 16, "aligned": False}},
        "group norm, four convs": {
            "neck": {"channels": 16, "norm": "group"},
            "box_head": {"convs": 4, "fcs": 1, "conv_channels": 16, "fc_channels": 32, "norm": "group"},
        },
        "batch norm": {"backbone": {"kind": "mobilenetv2", "norm": "batch", "freeze": 0}},
        "sync norm": {"backbone": {"kind": "mobilenetv2", "norm": "sync", "freeze": 0}},
        "agnostic": {
            "box_head": {"fc_channels": 32, "class_agnostic": True},
            "mask_head": {"convs": 1, "channels": 16, "class_agnostic": True},
        },
        "c4": c4_settings(),
        "c4, mlp": c4_settings() | {"mask_head": {"kind": "mlp"}},
        "roi warp": {"roi": {"samples": 16, "op": "warp"}},
        "softmax masks": {"mask_head": {"convs": 1, "channels": 16, "loss": "softmax"}},
        "mlp masks": {"mask_head": {"kind": "mlp"}},
        "c5": {"neck": {"kind": "c5"}, "rpn": ONE_LEVEL},
        "dilated c5": {"neck": {"kind": "dc5"}, "rpn": ONE_LEVEL},
    }[kind]


KINDS = [
    "everything", "faster r-cnn", "masks", "keypoints", "roi pool", "roi align max", "adaptive", "unaligned",
    "group norm, four convs", "batch norm", "sync norm", "agnostic", "c4", "c4, mlp", "roi warp", "softmax masks",
    "mlp masks", "c5", "dilated c5",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_composition_trains_and_detects(kind: str) -> None:
    model = small_model(**settings_of(kind))
    images, sizes = noise_images()
    losses = model(images, sizes, objects())
    expected = {"rpn_objectness", "rpn_box", "class", "box"}
    expected |= {"mask"} if model.mask_head is not None else set()
    expected |= {"keypoint"} if model.keypoint_head is not None else set()
    assert set(losses) == expected
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    model.eval()
    with torch.no_grad():
        found = model(images, sizes)
    count = model.config.test.detections
    assert found.boxes.shape == (2, count, 4) and found.valid.any()
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
    limits = sizes.flip(1).repeat(1, 2)[:, None]
    assert ((found.boxes >= 0) & (found.boxes <= limits)).all()
    assert (found.masks is None) == (model.mask_head is None)
    if found.masks is not None:
        side = 14 if kind.startswith("c4") else 28
        assert found.masks.shape == (2, count, side, side)
    if model.keypoint_head is not None:
        assert found.keypoints is not None and found.keypoints.shape == (2, count, 3, 3)


def test_a_image_without_objects_gives_finite_losses_and_no_gradient_to_the_masks() -> None:
    model = small_model()
    images, sizes = noise_images()
    losses = model(images, sizes, empty_targets(2, 8, 28, 3))
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert torch.isfinite(total) and losses["mask"] == 0 and losses["keypoint"] == 0 and losses["box"] == 0
    assert losses["class"] > 0 and losses["rpn_objectness"] > 0


def test_losses_of_a_batch_are_the_mean_over_its_images() -> None:
    model = small_model()
    images, sizes = noise_images()
    targets = objects()
    together = model(images, sizes, targets)
    apart = [model(images[i : i + 1], sizes[i : i + 1], pick(targets, i)) for i in range(2)]
    for name, loss in together.items():
        torch.testing.assert_close(loss, (apart[0][name] + apart[1][name]) / 2, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing_but_the_border() -> None:
    """The pixels in the padding are never seen: any value there gives the same answer."""
    model = small_model().eval()
    images, sizes = noise_images()
    other = images.clone()
    other[1, :, 80:] = 255
    with torch.no_grad():
        a, b = model(images, sizes), model(other, sizes)
    for one, two in zip(a, b, strict=True):
        assert one is two is None or torch.equal(one, two)


@pytest.mark.parametrize("kind", ["everything", "roi warp", "softmax masks", "mlp masks", "c5"])
def test_export_of_the_network_with_a_batch_of_two(kind: str) -> None:
    model = small_model(**settings_of(kind)).eval()
    images, sizes = noise_images()
    program = torch.export.export(model, (images, sizes), strict=False)
    with torch.no_grad():
        same_detections(program.module()(images, sizes), model(images, sizes))


def test_compile_of_the_training_loss_is_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "BACKEND", "aot_eager")
    model = small_model()
    batch = (*noise_images(), objects())
    torch._dynamo.reset()
    found = []
    for function in (model.forward, graphs.Graphs(model.forward, 1, cuda_graphs=False)):
        model.zero_grad()
        losses = function(*batch)
        torch.stack(list(losses.values())).sum().backward()
        found.append((losses, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-4)
    assert_same_gradients(found[1][1], found[0][1])


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = gradient.abs().max().clamp(min=1e-3)
        assert ((found[name] - gradient).abs().max() / scale) < 1e-3, name


@pytest.mark.slow
def test_compile_of_the_training_loss_by_inductor_with_gradients() -> None:
    model = small_model()
    images, sizes = noise_images()
    targets = objects()
    torch._dynamo.reset()
    compiled = torch.compile(model.losses, fullgraph=True)
    gradients = []
    for function in (model.losses, compiled):
        model.zero_grad()
        losses = function(images, sizes, targets)
        torch.stack(list(losses.values())).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert_same_gradients(gradients[1], gradients[0])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "twice"),
        ({"keypoints": None}, "keypoint"),
        ({"neck": {"kind": "c4"}}, "ResNet"),
        ({"mask_head": {"loss": "softmax", "class_agnostic": True}}, "class_agnostic"),
        ({"rpn": {"sizes": [[32]]}}, "levels"),
        ({"input": {"divisor": 8}}, "divisor"),
        ({"input": {"channels": 1}}, "mean"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        small_model(**changes)


@pytest.mark.parametrize(
    "kind", ["resnet50", "resnet101", "resnext50_32x4d", "resnext101_32x8d", "mobilenetv2"]
)
def test_backbones_keep_their_contract(kind: str) -> None:
    from maskrcnn.config.model import ModelConfig
    from maskrcnn.model.build import make_backbone

    backbone = make_backbone(ModelConfig.model_validate({"backbone": {"kind": kind}}))
    with torch.no_grad():
        levels = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(x.shape) for x in levels] == [
        (1, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]
    # resnext50_32x4d: torchvision's 25.029 million without the classifier's 2.049
    sizes = {"resnet50": 23.5, "resnet101": 42.5, "resnext50_32x4d": 22.98, "resnext101_32x8d": 86.54}
    expected = sizes.get(kind, 1.8)
    convolutions = sum(p.numel() for p in backbone.parameters()) / 1e6
    assert convolutions == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize(("kind", "stride"), [("c5", 32), ("dc5", 16)])
@pytest.mark.parametrize("backbone", ["mobilenetv2", "resnet50"])
def test_the_fifth_stage_dilated_and_not(kind: str, stride: int, backbone: str) -> None:
    from maskrcnn.config.model import ModelConfig
    from maskrcnn.model.build import make_backbone

    settings = {"backbone": {"kind": backbone}, "neck": {"kind": kind}, "rpn": ONE_LEVEL}
    made = make_backbone(ModelConfig.model_validate(settings))
    with torch.no_grad():
        level = made(torch.zeros(1, 3, 64, 96))[-1]
    assert made.strides[-1] == stride and level.shape[2:] == (64 // stride, 96 // stride)


def pick(targets: Targets, i: int) -> Targets:
    return Targets(**{name: value[i : i + 1] for name, value in vars(targets).items()})
