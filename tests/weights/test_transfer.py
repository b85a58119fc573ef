"""What a fine-tuning takes over: whole tensors by name and shape, rows of classes by the class's name."""

from __future__ import annotations

import pytest
import torch

from maskrcnn.config.model import ModelConfig
from maskrcnn.model.build import build
from maskrcnn.weights.transfer import transfer


def model(classes: list[str], **changes: object):
    settings = {
        "classes": classes,
        "backbone": {"kind": "mobilenetv2"},
        "neck": {"channels": 16},
        "box_head": {"fc_channels": 32},
        "mask_head": {"convs": 1, "channels": 16},
        **changes,
    }
    return build(ModelConfig.model_validate(settings))


def test_rows_follow_the_names_of_classes() -> None:
    other, network = model(["cat", "dog", "person"]), model(["person", "drone", "cat"])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    done = transfer(network, other)
    own, theirs = network.state_dict(), other.state_dict()
    score = "box_head.score.weight"
    for mine, other_row in ((0, 2), (2, 0), (3, 3)):  # person, cat, background
        assert torch.equal(own[score][mine], theirs[score][other_row])
    assert torch.equal(own[score][1], before[score][1])
    deltas = own["box_head.deltas.weight"].unflatten(0, (3, 4))
    assert torch.equal(deltas[0], theirs["box_head.deltas.weight"].unflatten(0, (3, 4))[2])
    assert torch.equal(deltas[1], before["box_head.deltas.weight"].unflatten(0, (3, 4))[1])
    assert torch.equal(own["mask_head.predict.weight"][2], theirs["mask_head.predict.weight"][0])
    rest = [name for name in own if name not in done.by_class]
    assert all(torch.equal(own[name], theirs[name]) for name in rest) and len(done.copied) == len(rest)
    assert done.by_class[score] == ["person", "cat"]
    assert not done.fresh and not done.unused
    text = "\n".join(done.lines("coco"))
    assert "box_head.score.weight: rows of person, cat; the rest start anew" in text


def test_other_shapes_and_heads_are_counted() -> None:
    other = model(["person"])
    network = model(["person"], mask_head=None, neck={"channels": 24})
    done = transfer(network, other)
    assert all(
        name.startswith("backbone.") for name in done.copied if "." in name and name.startswith("back")
    )
    assert "neck.lateral.0.conv.weight" in done.fresh and "mask_head.deconv.weight" in done.unused
    text = "\n".join(done.lines("narrow"))
    assert "neck: " in text and "start anew" in text and "mask_head: 6 tensors of narrow are not used" in text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"order": "bgr"}, "--set 'model.input.order=bgr'"),
        ({"mean": [1, 2, 3.5]}, "--set 'model.input.mean=[1.0,2.0,3.5]'"),
        ({"std": [1, 1, 1], "order": "bgr"}, "order=bgr' --set 'model.input.std=[1.0,1.0,1.0]'"),
    ],
)
def test_what_the_backbone_saw_otherwise_is_said(changes: dict[str, object], line: str) -> None:
    done = transfer(model(["a"]), model(["a"], input=changes))
    assert not done.whole and not done.fresh
    assert line in done.lines("theirs")[-1] and len(done.lines("theirs")) == 2
    same = transfer(model(["a"], input=changes), model(["a"], input=changes))
    assert same.whole and len(same.lines("theirs")) == 1


def test_the_same_classes_are_copied_whole() -> None:
    other, network = model(["a", "b"]), model(["a", "b"])
    done = transfer(network, other)
    assert not done.by_class and not done.fresh
    assert all(torch.equal(t, other.state_dict()[n]) for n, t in network.state_dict().items())
