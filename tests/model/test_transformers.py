"""Swin, ConvNeXt and ViT against slow references, and whole networks with them."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from small import noise_images, objects, same_detections, small_config, small_model

from maskrcnn.errors import UserError
from maskrcnn.model.backbone import swin, vit
from maskrcnn.model.backbone.convnext import CONVNEXTS, ConvNeXt, ConvNeXtBlock
from maskrcnn.model.backbone.swin import SWINS, SwinSize, SwinTransformer
from maskrcnn.model.backbone.transformer_layers import DropPath, drop_rates
from maskrcnn.model.backbone.vit import VITS, ViTSize
from maskrcnn.model.backbone.windows import join_windows, pad_to_windows, split_windows
from maskrcnn.model.mask_rcnn import MaskRCNN
from maskrcnn.model.optimise import optimise
from maskrcnn.weights.convert import differences
from maskrcnn.weights.foreign import LIBRARIES, foreign_state, load_foreign
from maskrcnn.weights.published import config_for, published_checkpoints

SETTINGS = {
    "swin_t": {"neck": {"channels": 16}},
    "convnext_t": {"neck": {"channels": 16}},
    "vit_b": {"neck": {"kind": "simple_pyramid", "channels": 16, "norm": "layer"}},
}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same networks with few channels and blocks."""
    monkeypatch.setitem(SWINS, "swin_t", SwinSize(16, (2, 2, 2, 2), (1, 2, 4, 8)))
    monkeypatch.setitem(CONVNEXTS, "convnext_t", (8, (1, 1, 2, 1)))
    monkeypatch.setitem(VITS, "vit_b", ViTSize(32, 8, 2))


def model_with(kind: str, drop_path: float = 0.0, **changes: object) -> MaskRCNN:
    backbone = {"kind": kind, "norm": "layer", "freeze": 0, "drop_path": drop_path}
    return small_model(**({"backbone": backbone} | SETTINGS[kind] | changes))


def softmax_of(scores: dict[tuple[int, int], Tensor], values: dict[tuple[int, int], Tensor]) -> Tensor:
    weights = torch.stack(list(scores.values())).softmax(0)
    return sum(w * values[place] for w, place in zip(weights, scores, strict=True))


@given(st.integers(1, 3), st.integers(1, 11), st.integers(1, 11), st.integers(2, 5))
def test_windows_and_back(batch: int, height: int, width: int, side: int) -> None:
    x = torch.arange(batch * height * width * 2.0).view(batch, height, width, 2)
    padded = pad_to_windows(x, side)
    windows = split_windows(padded, side)
    assert windows.shape == (batch * math.ceil(height / side) * math.ceil(width / side), side, side, 2)
    assert torch.equal(windows[0, 0, 0], x[0, 0, 0]) and padded.sum() == x.sum()
    joined = join_windows(windows, padded.shape[1], padded.shape[2])
    assert torch.equal(joined[:, :height, :width], x)


@pytest.mark.parametrize(("height", "width", "shifted"), [(7, 14, True), (9, 5, True), (10, 8, False)])
def test_swin_attends_to_the_neighbours_of_its_window(height: int, width: int, shifted: bool) -> None:
    """Token by token, from the definition: the padded map is cut into windows that begin at minus half a
    window where they are shifted; each token attends to those of its window that lie on the map."""
    torch.manual_seed(0)
    block = swin.SwinBlock(6, 2, shifted=shifted, drop_path=0).double()
    nn.init.normal_(block.attention.bias_table)
    x = torch.randn(1, height, width, 6, dtype=torch.float64)
    attention, side, shift = block.attention, swin.WINDOW, 3 if shifted else 0
    rows, columns = (math.ceil(n / side) * side for n in (height, width))
    y = F.pad(block.norm1(x), (0, 0, 0, columns - width, 0, rows - height))[0]
    query, key, value = attention.qkv(y).view(rows, columns, 3, 2, 3).unbind(2)
    expected = torch.zeros_like(y).view(rows, columns, 2, 3)
    for r in range(rows):
        for c in range(columns):
            window = (r - shift) // side, (c - shift) // side  # -1: what a shift leaves at the first border
            mine = [
                (i, j)
                for i in range(rows)
                for j in range(columns)
                if ((i - shift) // side, (j - shift) // side) == window
            ]
            for head in range(2):
                scores = {}
                for i, j in mine:
                    offset = (r - i + side - 1) * (2 * side - 1) + c - j + side - 1
                    product = query[r, c, head] @ key[i, j, head] / math.sqrt(3)
                    scores[i, j] = product + attention.bias_table[offset, head]
                expected[r, c, head] = softmax_of(scores, {p: value[(*p, head)] for p in mine})
    found = block._attend(block.norm1(x))
    wanted = attention.proj(expected.view(rows, columns, 6))[:height, :width]
    torch.testing.assert_close(found[0], wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("height", "width", "side"), [(3, 4, 4), (5, 2, 3)])
def test_vit_attention_knows_rows_and_columns(height: int, width: int, side: int) -> None:
    torch.manual_seed(0)
    attention = vit.Attention(6, 2, side).double()
    nn.init.normal_(attention.rows)
    nn.init.normal_(attention.columns)
    x = torch.randn(1, height, width, 6, dtype=torch.float64)

    def resized(table: Tensor, length: int) -> Tensor:
        """Linear interpolation at the middles of 2 * length - 1 equal parts."""
        count, wanted = len(table), 2 * length - 1
        places = [((i + 0.5) * count / wanted - 0.5) for i in range(wanted)]
        below = [min(max(math.floor(p), 0), count - 1) for p in places]
        rows = []
        for p, low in zip(places, below, strict=True):
            share = min(max(p, 0), count - 1) - low
            rows.append(table[low] * (1 - share) + table[min(low + 1, count - 1)] * share)
        return torch.stack(rows)

    query, key, value = attention.qkv(x)[0].view(height, width, 3, 2, 3).unbind(2)
    rows, columns = resized(attention.rows, height), resized(attention.columns, width)
    expected = torch.zeros(height, width, 2, 3, dtype=torch.float64)
    for r in range(height):
        for c in range(width):
            for head in range(2):
                q = query[r, c, head]
                scores = {
                    (i, j): q @ key[i, j, head] / math.sqrt(3)
                    + q @ rows[r - i + height - 1]
                    + q @ columns[c - j + width - 1]
                    for i in range(height)
                    for j in range(width)
                }
                expected[r, c, head] = softmax_of(scores, {p: value[(*p, head)] for p in scores})
    wanted = attention.proj(expected.view(height, width, 6))
    torch.testing.assert_close(attention(x)[0], wanted, atol=1e-9, rtol=0)


def test_patch_merging_takes_four_neighbours_and_pads_what_is_odd() -> None:
    merge = swin.PatchMerging(2).double()
    x = torch.randn(1, 3, 4, 2, dtype=torch.float64)
    padded = F.pad(x, (0, 0, 0, 0, 0, 1))
    for r in range(2):
        for c in range(2):
            four = padded[0, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2]  # (2, 2, C)
            wanted = merge.reduction(merge.norm(four.permute(2, 0, 1).flatten()))
            torch.testing.assert_close(merge(x)[0, r, c], wanted)


def test_a_convnext_block_by_hand() -> None:
    block = ConvNeXtBlock(4, 0).double()
    nn.init.normal_(block.scale)
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    y = F.conv2d(x, block.depthwise.weight, block.depthwise.bias, padding=3, groups=4)
    mean, variance = y.mean(1, keepdim=True), y.var(1, keepdim=True, unbiased=False)
    y = (y - mean) / (variance + 1e-6).sqrt() * block.norm.weight.view(4, 1, 1) + block.norm.bias.view(
        4, 1, 1
    )
    y = F.conv2d(y, block.mlp.fc1.weight[..., None, None], block.mlp.fc1.bias)
    y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
    y = F.conv2d(y, block.mlp.fc2.weight[..., None, None], block.mlp.fc2.bias)
    torch.testing.assert_close(block(x), x + y * block.scale.view(4, 1, 1))


@pytest.mark.parametrize(
    "block",
    [
        lambda: swin.SwinBlock(4, 2, shifted=True, drop_path=0),
        lambda: vit.Block(ViTSize(4, 4, 2), windowed=True, drop_path=0),
        lambda: vit.Block(ViTSize(4, 4, 2), windowed=False, drop_path=0),
    ],
)
def test_gradients(block: object) -> None:
    torch.manual_seed(0)
    module = block().double()
    for table in (p for p in module.parameters() if p.ndim == 2 and not p.any()):
        nn.init.normal_(table)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))


def test_drop_path_leaves_out_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 3)
    found = drop(x)
    assert found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(found[:, 0], found[:, 2]) and abs(float(found.mean()) - 1) < 0.03
    assert torch.equal(drop.eval()(x), x)
    assert drop_rates(0.2, 3) == [0, 0.1, 0.2] and drop_rates(0.2, 1) == [0]


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_network_learns_detects_and_is_optimised(kind: str) -> None:
    model = model_with(kind, drop_path=0.1)
    images, sizes = noise_images()
    losses = model.losses(images, sizes, objects())
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        features = model.features(images, sizes)
        assert [f.shape[-2:] for f in features] == [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
        found = model.detect(images, sizes)
        same_detections(optimise(model).detect(images, sizes), found)
        alone = model.detect(images[:1], sizes[:1])
    assert torch.equal(alone.valid[0], found.valid[0])
    torch.testing.assert_close(alone.boxes[0], found.boxes[0], rtol=1e-3, atol=1e-2)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("kind", SETTINGS)
def test_freezing_goes_from_the_stem_on(kind: str) -> None:
    backbone = {"kind": kind, "norm": "layer", "freeze": 3}
    model = small_model(**({"backbone": backbone} | SETTINGS[kind]))
    names = [name for name, p in model.backbone.named_parameters() if not p.requires_grad]
    assert any(name.startswith("stem.") for name in names) and any("stages.1." in name for name in names)
    assert not any(name.startswith(("stages.2.", "norms.", "merges.1.", "downs.1.")) for name in names)
    assert kind == "vit_b" or any(name.startswith(("merges.0.", "downs.0.")) for name in names)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": {"kind": "swin_t"}}, "norm is frozen: a swin_t has layer"),
        ({"backbone": {"norm": "layer"}}, "norm is layer: a resnet50 has frozen"),
        ({"backbone": {"drop_path": 0.1}}, "drop_path is 0.1: a resnet50 has none"),
        ({"backbone": {"kind": "vit_b", "norm": "layer"}}, "neck.kind=fpn does not go with a vit_b"),
        ({"neck": {"kind": "simple_pyramid"}}, "neck.kind=simple_pyramid does not go with a mobilenetv2"),
        (
            {
                "backbone": {"kind": "swin_t", "norm": "layer"},
                "neck": {"kind": "c5"},
                "rpn": {"sizes": [[32]]},
            },
            "neck.kind=c5 goes with ResNets, MobileNet and EfficientNet",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as error:
        small_config(**changes)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "mmdet/mask-rcnn_swin-t-p4-w7_fpn_1x_coco",
        "mmdet/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco",
        "detectron2/ViTDet/COCO/mask_rcnn_vitdet_b_100ep",
    ],
)
def test_their_names_lead_to_the_same_network(name: str) -> None:
    """All tensors written under the other library's names, the settings read off them, and back."""
    entry = next(row for row in published_checkpoints() if row.name == name)
    kind = next(kind for kind in SETTINGS if kind[:4].strip("_") in name.replace("vitdet", "vit_"))
    convs = {"convs": 4, "norm": "layer"} if kind == "vit_b" else {}
    changes: dict[str, object] = {
        "classes": [f"c{i}" for i in range(80)],
        "keypoints": None,
        "keypoint_head": None,
        "box_head": {**convs, "fcs": 1} if convs else {},
        "mask_head": convs,
        "rpn": {"convs": 2 if convs else 1},
        "neck": {"kind": "simple_pyramid", "norm": "layer"} if convs else {},
    }
    with torch.device("meta"):
        model = model_with(kind, **changes)
    library = LIBRARIES[entry.library]
    shapes = foreign_state_on_meta(model, library.name)
    config = config_for(entry, shapes)
    assert config.backbone.kind == kind and not [
        line
        for line in differences(config, model.config)
        if line.startswith(("neck", "box_head", "mask_head.convs", "mask_head.norm", "rpn.convs"))
    ]


def foreign_state_on_meta(model: MaskRCNN, library: str) -> dict[str, Tensor]:
    found = {LIBRARIES[library].their_name(name, model.config): t for name, t in model.state_dict().items()}
    assert len(found) == len(model.state_dict())
    return found


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("kind", "library"), [("swin_t", "mmdet"), ("vit_b", "detectron2")])
def test_weights_go_there_and_back(kind: str, library: str) -> None:
    model = model_with(kind, keypoints=None, keypoint_head=None)
    state = foreign_state(model, LIBRARIES[library])
    other = model_with(kind, keypoints=None, keypoint_head=None)
    for p in other.parameters():
        nn.init.zeros_(p)
    load_foreign(other, state, LIBRARIES[library], "there")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers 5 is not installed"
)
@pytest.mark.parametrize("kind", ["swin", "convnext"])
def test_features_equal_those_of_transformers(kind: str) -> None:
    import transformers

    torch.manual_seed(0)
    x = torch.randn(1, 3, 64, 96)
    stages = ["stage1", "stage2", "stage3", "stage4"]
    if kind == "swin":
        config = transformers.SwinConfig(
            embed_dim=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], out_features=stages
        )
        theirs = transformers.SwinBackbone(config).eval()
        ours: nn.Module = SwinTransformer(SwinSize(16, (2, 2, 2, 2), (1, 2, 4, 8)))
    else:
        config = transformers.ConvNextConfig(
            hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 2, 1], out_features=stages, layer_scale_init_value=0.3
        )
        theirs = transformers.ConvNextBackbone(config).eval()
        ours = ConvNeXt(8, (1, 1, 2, 1))
    fill(ours, theirs, kind)
    with torch.no_grad():
        for mine, other in zip(ours.eval()(x), theirs(x).feature_maps, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def fill(ours: nn.Module, theirs: nn.Module, kind: str) -> None:
    """The weights of transformers' backbone, its parameters in their order beside ours."""
    for p in theirs.parameters():
        if p.ndim > 1:
            nn.init.normal_(p, std=p[0].numel() ** -0.5)
    state = {name.removeprefix("swin."): p for name, p in theirs.named_parameters()}
    if kind == "convnext":
        names = {
            "stem.conv": "embeddings.patch_embeddings",
            "stem.norm": "embeddings.layernorm",
            "depthwise": "dwconv",
            "norm": "layernorm",
            "mlp.fc1": "pwconv1",
            "mlp.fc2": "pwconv2",
        }
    else:
        names = {
            "stem.conv": "embeddings.patch_embeddings.projection",
            "stem.norm": "embeddings.norm",
            "norm1": "layernorm_before",
            "norm2": "layernorm_after",
            "attention.proj": "attention.o_proj",
            "mlp.fc1": "mlp.fc1",
            "mlp.fc2": "mlp.fc2",
        }
    for name, p in ours.named_parameters():
        p.data.copy_(theirs_of(name, state, names, p))


def theirs_of(name: str, state: dict[str, Tensor], names: dict[str, str], like: Tensor) -> Tensor:
    stem, _, leaf = name.rpartition(".")
    part, *rest = name.split(".")
    if part == "stem":
        return state[f"{names[stem]}.{leaf}"]
    stage = int(rest[0])
    if part == "norms":
        return state[f"hidden_states_norms.stage{stage + 1}.{leaf}"]
    if part == "downs":
        return state[f"encoder.stages.{stage + 1}.downsampling_layer.{rest[1]}.{leaf}"]
    if part == "merges":
        tensor = state[f"encoder.layers.{stage}.downsample.{'.'.join(rest[1:])}"]
        # theirs has the four neighbours one after the other, each with all channels, column by column
        split = tensor.unflatten(-1, (2, 2, -1))  # column, row, channel
        return split.movedim(-1, -3).transpose(-1, -2).flatten(-3)
    block = f"{rest[1]}."
    inner = ".".join(rest[2:])
    if "dwconv" in names.values():
        prefix = f"encoder.stages.{stage}.layers.{block}"
        if inner == "scale":
            return state[prefix + "layer_scale_parameter"]
        key = inner.rpartition(".")[0]
        return state[f"{prefix}{names[key]}.{leaf}"]
    prefix = f"encoder.layers.{stage}.blocks.{block}"
    if inner == "attention.bias_table":
        return state[prefix + "attention.relative_position_bias.relative_position_bias_table"]
    if inner.startswith("attention.qkv"):
        return torch.cat([state[f"{prefix}attention.{n}_proj.{leaf}"] for n in "qkv"])
    return state[f"{prefix}{names[inner.rpartition('.')[0]]}.{leaf}"]
