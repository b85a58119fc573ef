"""Settings that contradict each other are refused in one line that begins with the setting's full name."""

from __future__ import annotations

import pytest

from maskrcnn.config.load import load_config
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
    where, _, message = str(error.value).partition(".yaml: ")
    assert where.endswith("quick")
    assert message.startswith(said)
    assert "\n" not in message
