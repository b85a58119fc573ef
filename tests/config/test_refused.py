"""Settings that contradict each other are refused in one line that begins with the setting's full name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.config.load import Config, load_config
from maskrcnn.errors import UserError


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.rpn.negative_iou=0.8"], "model.rpn.negative_iou 0.8 is above positive_iou 0.7"),
        (
            ["model.rpn.low_quality_min_iou=0.8"],
            "model.rpn.low_quality_min_iou 0.8 is above positive_iou 0.7",
        ),
        (["model.rpn.sizes=[]"], "model.rpn.sizes is []: name at least one anchor side for each level"),
        (["model.rpn.sizes=[[8],[],[8],[8],[8]]"], "model.rpn.sizes is "),
        (["model.rpn.sizes=[[8],[-8],[8],[8],[8]]"], "model.rpn.sizes.1.0: "),
        (["model.rpn.sizes=[[8]]"], "model.rpn.sizes has 1 levels, neck fpn has 5"),
        (["model.rpn.ratios=[]"], "model.rpn.ratios is empty"),
        (["model.rpn.ratios=[0]"], "model.rpn.ratios.0: "),
        (["model.roi.canonical_size=0"], "model.roi.canonical_size: "),
        (["model.input.short_side=900"], "model.input.short_side 900 is above long_side 160"),
        (["model.input.channels=1"], "model.input.mean has 3 values but model.input.channels is 1"),
        (["model.input.std=[1,0,1]"], "model.input.std is [1.0, 0.0, 1.0]"),
        (["model.input.divisor=8"], "model.input.divisor must be a multiple of 32"),
        (["model.classes=[cell,cell]"], "model.classes names a class twice"),
        (["model.classes=[cell]", "model.class_ids=[1,2]"], "model.class_ids has 2 values"),
        (["lr=0.1"], "no setting 'lr'; did you mean train.lr?"),
        (["model.batch=4"], "no setting 'model.batch'; did you mean train.batch?"),
        (["train.norm=none"], "no setting 'train.norm'; did you mean model.backbone.norm or model.neck"),
        (["model.backbone.kind=swin"], "model.backbone.kind: none is called 'swin'; did you mean 'swin_t'?"),
        (["model.backbone.kind=timm:"], "model.backbone.kind: none is called"),
        (["model.neck.kind=c4"], "model.neck.kind=c4 needs a ResNet"),
        (["model.box_head=null"], "model.box_head=null finds boxes of one class"),
        (["data.augment.long_side=100"], "data.augment.short_sides has 112, which is above long_side, 100"),
        (["data.augment.crop=[64,64]"], "data.augment.jitter is missing"),
        (["data.augment.jitter=[2,1]", "data.augment.crop=[64,64]"], "data.augment.jitter is [2.0, 1.0]"),
        (["data.augment.mosaic=1", "data.augment.mosaic_grids=[]"], "data.augment.mosaic_grids is empty"),
        (["data.tiles.overlap=2000"], "data.tiles.overlap must be below side, 1024"),
        (["data.value_percentiles=[99,1]"], "data.value_percentiles is [99.0, 1.0]"),
        (["train.step_shares=[0.9,0.5]"], "train.step_shares is [0.9, 0.5]: write ascending shares"),
        (["train.patience=3"], "train.patience needs evaluations during the training"),
        (["train.evaluate_every_epochs=1", "train.patience=0"], "train.patience: "),
    ],
)
def test_nonsense_is_refused_by_name(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        load_config("quick", overrides)
    where, _, message = str(error.value).partition(".yaml with --set: ")
    assert where.endswith("quick")
    assert message.startswith(said)
    assert "\n" not in message


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs=2001-99-99",
        "train.epochs=2001-01-01",
        "train.epochs=[1]",
        "train.epochs={a: 1}",
        "train.epochs=1e300",
        "train.epochs=" + "9" * 5000,
        "train.epochs=0x" + "f" * 5000,
        "train.seed=-1",
        "train.seed=4294967296",
        "train.lr=1e300",
        "train.lr=.nan",
        "train.lr=.inf",
        "train.batch=1000000000",
        "train.weight_decay=1e300",
        "train.evaluate_every_epochs=1e300",
        "model.rpn.ratios=[0]",
        "model.rpn.ratios=[1e-300]",
        "model.rpn.sizes=[[8],[8],[8],[8],[8, 9]]",
        "model.rpn.convs=1000000",
        "model.rpn.pre_nms_test=1000000000",
        "model.mask_head.size=100000",
        "model.mask_head.channels=1000000000",
        "model.box_head.fcs=1000000",
        "model.roi.sampling_ratio=100000",
        "model.test.detections=1000000000",
        "model.input.divisor=32000000",
        "model.input.long_side=1000000000",
        "model.input.std=[1e-300,1,1]",
        "model.input.channels=1000000000",
        "model.class_ids=[" + "9" * 30 + "]",
        "data.mask_side=1000000",
        "data.augment.jitter=[0.1,1e300]",
        "data.augment.long_side=1000000000",
        "data.augment.mosaic_grids=[1000]",
        "data.workers=1000000",
        "data.tiles.side=1000000000",
        "model=null",
        "model=[1]",
        "model=words",
        "model.backbone=null",
        "model.backbone=[resnet50]",
        "model.neck=c4",
        "model.rpn.sizes=null",
        "train=null",
        "data=3",
        "data.augment=true",
        "model.classes={cat: 1}",
        "model.classes=[1, 2]",
        "model.keypoints=[]",
        "train.lr=*a",
        "train.lr=&a [1]",
        "train.lr=!!python/object:os.system x",
        "train.lr=[" * 100,
        "train.lr=: :",
        "train.=1",
        ".lr=1",
        "train..lr=1",
        "train.lr.x.y=1",
    ],
)
def test_a_value_of_any_kind_is_one_line(override: str) -> None:
    with pytest.raises(UserError) as error:
        load_config("quick", [override])
    assert "\n" not in str(error.value) and len(str(error.value)) < 6000


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
RECIPES = [
    BOMB,
    "a: &a [*a]\n",
    "model: null\n",
    "model: [1, 2]\n",
    "model: words\n",
    "train: 3\n",
    "model: {backbone: null}\n",
    "model: {rpn: {sizes: {a: 1}}}\n",
    "model: {neck: [c4], box_head: {kind: fc}}\n",
    "model: {box_head: {kind: [1]}}\n",
    "1: 2\n",
    "null: 2\n",
    "[1]: 2\n",
    "train: {2: 3}\n",
    "train: {null: 3}\n",
    "train: {epochs: 2001-99-99}\n",
    "train: {trunk_lr: 1, backbone_lr_factor: 2}\n",
    "[]\n",
    "false\n",
    "0\n",
    "words\n",
    "2001-01-01\n",
    "model: {classes: !!python/name:os.system x}\n",
    "a: !!binary x\n",
    "? \n? \n",
    "\x00",
    "\t- x\n",
    "[" * 10_000,
    "a: {" * 10_000,
    "x: " + "y" * 1_100_000,
    "{" + ", ".join(f"k{i}: 0" for i in range(60_000)) + "}",
    "--- 1\n--- 2\n",
    "%YAML 9.9\n--- {}\n",
]


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_a_recipe_of_any_content_is_one_line(number: int, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPES[number])
    with pytest.raises(UserError) as error:
        load_config(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value) and len(str(error.value)) < 600


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                    max_leaves=6), st.data())  # fmt: skip
@settings(max_examples=300)
def test_any_value_in_the_place_of_any_setting_is_read_or_one_line(
    value: object, data: st.DataObject
) -> None:
    whole = Config().model_dump(mode="json")
    names = [name for name in _places(whole) if name]
    *parents, last = data.draw(st.sampled_from(names))
    inner = whole
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    try:
        load_config(whole)
    except UserError as error:
        assert "\n" not in str(error)


def _places(settings_: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in settings_.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *below) for below in _places(value))
