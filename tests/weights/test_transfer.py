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
    assert done.by_class[score] == ["person", "cat", "the background"]
    assert not done.fresh and not done.unused
    text = "\n".join(done.lines("coco"))
    assert "box_head.score.weight: rows of person, cat, the background; the rest start anew" in text


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


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"rpn": {"sizes": [[16], [32], [64], [128], [256]]}},
         "rpn: trained .*--set 'model.rpn.sizes=[[16.0],[32.0],[64.0],[128.0],[256.0]]'"),
        ({"box_head": {"fc_channels": 32, "box_weights": (1, 1, 1, 1)}},
         "box_head: .*--set 'model.box_head.box_weights=[1.0,1.0,1.0,1.0]'"),
        ({"roi": {"aligned": False}}, "box_head, mask_head: .*--set 'model.roi.aligned=false'"),
    ],
    ids=["anchors", "deltas", "pixels"],
)  # fmt: skip
def test_settings_that_the_weights_depend_on_are_said(changes: dict[str, object], line: str) -> None:
    begin, end = line.split(".*")
    done = transfer(model(["a"]), model(["a"], **changes))
    said = done.lines("theirs")
    assert not done.whole and len(said) == 2 and begin in said[1] and said[1].endswith(end)
    assert transfer(model(["a"], **changes), model(["a"], **changes)).whole


def keypoints_model(*names: str):
    schema = {"names": names, "flip": list(range(len(names))), "sigmas": [0.1] * len(names)}
    return model(["a"], keypoints=schema, keypoint_head={"convs": 1, "channels": 16})


def test_keypoints_follow_their_names() -> None:
    other, network = keypoints_model("nose", "tail", "ear"), keypoints_model("ear", "paw", "nose")
    other.keypoint_head.deconv.bias.data = torch.arange(3.0)
    before = network.keypoint_head.deconv.weight.detach().clone()
    done = transfer(network, other)
    own, theirs = network.keypoint_head.deconv, other.keypoint_head.deconv
    assert torch.equal(own.weight[:, [0, 2]], theirs.weight[:, [2, 0]])
    assert torch.equal(own.weight[:, 1], before[:, 1]) and own.bias.tolist() == [2, 0, 0]
    assert done.by_class["keypoint_head.deconv.weight"] == ["ear", "nose"] and not done.whole
    assert "keypoint_head.deconv.weight: rows of ear, nose; the rest start anew" in "\n".join(done.lines("o"))


def test_keypoints_without_a_name_in_common_go_by_their_place() -> None:
    other, network = keypoints_model("nose", "tail"), keypoints_model("1", "2")
    assert transfer(network, other).whole
    assert torch.equal(network.keypoint_head.deconv.weight, other.keypoint_head.deconv.weight)
    assert "keypoint_head.deconv.weight" in transfer(keypoints_model("1", "2", "3"), other).fresh


def test_the_same_classes_are_copied_whole() -> None:
    other, network = model(["a", "b"]), model(["a", "b"])
    done = transfer(network, other)
    assert not done.by_class and not done.fresh
    assert all(torch.equal(t, other.state_dict()[n]) for n, t in network.state_dict().items())


def test_counts_of_batches_are_no_weights() -> None:
    """So what the backbone saw otherwise is said of a batch norm that learns too."""
    network, other = (
        model(["a"], backbone={"kind": "mobilenetv2", "norm": norm}, input={"order": order})
        for norm, order in (("batch", "rgb"), ("frozen", "bgr"))
    )
    done = transfer(network, other)
    assert not done.fresh and not done.unused and done.otherwise == {"backbone": ["model.input.order=bgr"]}
    assert not transfer(other, network).unused


def test_another_norm_of_the_same_names_is_said() -> None:
    network = model(["a"], backbone={"kind": "mobilenetv2", "norm": "group"})
    done = transfer(network, model(["a"]))
    assert done.otherwise == {"backbone": ["model.backbone.norm=frozen"]} and not done.fresh


def test_what_the_heads_see_is_said_where_their_classes_are_new() -> None:
    done = transfer(model(["a", "b"]), model(["c", "d", "e"], roi={"aligned": False}))
    assert done.otherwise == {"box_head, mask_head": ["model.roi.aligned=false"]}
    assert "mask_head.predict.weight" in done.fresh and done.by_class.keys() == {
        "box_head.score.weight", "box_head.score.bias",
    }  # fmt: skip


def test_a_bias_goes_with_its_weight() -> None:
    narrow = {"fc_channels": 24}
    for classes in (["a"], ["b", "a"]):
        done = transfer(model(classes), model(["a"], box_head=narrow))
        heads = [name for name in done.fresh if name.startswith("box_head.")]
        assert len(heads) == 8 and not any(name.startswith("box_head.") for name in done.copied), heads


def test_masks_of_a_vector_follow_the_names_of_classes() -> None:
    mlp = {"kind": "mlp", "size": 7}
    network, other = (model(names, mask_head=mlp) for names in (["a", "b", "c"], ["b", "a"]))
    transfer(network, other)
    own, theirs = (
        each.mask_head.predict.weight.unflatten(0, (-1, 14 * 14)).detach() for each in (network, other)
    )
    assert torch.equal(own[0], theirs[1]) and torch.equal(own[1], theirs[0])
    larger = model(["b", "a"], mask_head={**mlp, "size": 14})
    assert "mask_head.predict.weight" in transfer(network, larger).fresh


def test_masks_of_another_loss_start_anew() -> None:
    soft = {"convs": 1, "channels": 16, "loss": "softmax"}
    done = transfer(model(["a", "b"], mask_head=soft), model(["a", "b", "c"]))
    assert {"mask_head.predict.weight", "mask_head.predict.bias"} <= set(done.fresh)


def test_the_first_convolution_is_adapted_to_bgr() -> None:
    four = {"channels": 4, "mean": [0.0] * 4, "std": [1.0] * 4}
    network, other = model(["a"], input={"order": "bgr"}), model(["a"], input=four)
    transfer(network, other)
    own, theirs = (each.state_dict()["backbone.stem.conv.weight"] for each in (network, other))
    torch.testing.assert_close(own.flip(1), theirs[:, :3] * 4 / 3)
