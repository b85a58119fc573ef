"""Recipes and models as they were saved at commit 60fc577 (in the folder of that name), and its `--set`
names.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from maskrcnn.config.load import Config, load_config
from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError

OLD = Path(__file__).parent / "60fc577"
SHIPPED = Path(__file__).parents[2] / "src" / "maskrcnn"


@pytest.mark.parametrize("name", ["quick", "nuclei-mobilenet", "person-mobilenet"])
def test_an_old_recipe_is_the_one_of_today(name: str) -> None:
    old, new = load_config(OLD / f"{name}.yaml"), load_config(name)
    old.model.input.tile_side = new.model.input.tile_side  # which is new
    old.train.evaluate_every_epochs = new.train.evaluate_every_epochs  # ten times, or never, since then
    old.data.augment.turn = new.data.augment.turn  # nuclei are turned since then
    if old.data.augment.mosaic:
        assert old.data.augment.canvas == new.data.augment.canvas
        old.data.augment.mosaic_canvas = None  # which follows the sides now
    else:
        old.data.augment.mosaic_canvas = new.data.augment.mosaic_canvas
    assert old == new


@pytest.mark.parametrize("name", ["nuclei-mobilenet", "person-mobilenet"])
def test_an_old_model_is_the_one_of_today(name: str) -> None:
    old = json.loads((OLD / f"{name}.json").read_text())
    new = json.loads((SHIPPED / "weights" / "shipped" / name / "config.json").read_text())
    assert ModelConfig.model_validate(old).input.tile_side is None  # whole images, as they were predicted
    assert ModelConfig.model_validate(old).test.kept_score == 0.5  # as they were predicted, too
    old["input"]["tile_side"] = new["input"]["tile_side"]
    old["test"]["predict_score"] = new["test"]["predict_score"]
    assert old["box_head"].pop("kind") == "fc"
    assert ModelConfig.model_validate(old) == ModelConfig.model_validate(new)
    old["box_head"]["kind"] = "fc"
    assert ModelConfig.model_validate(old) == ModelConfig.model_validate(new)


def test_the_settings_of_an_old_run_are_those_of_today() -> None:
    """config.yaml of a run has every setting, the defaults too."""
    model = json.loads((OLD / "person-mobilenet.json").read_text())
    train = {"warmup": 7, "steps": [0.5], "trunk_lr": 0.25, "save_every": 60, "evaluate_every": 2}
    config = Config.model_validate({"model": model, "train": train})
    assert config.train.model_dump(exclude_unset=True) == {
        "warmup_iterations": 7,
        "step_shares": [0.5],
        "backbone_lr_factor": 0.25,
        "save_every_seconds": 60,
        "evaluate_every_epochs": 2,
    }
    assert Config.model_validate(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))) == config


@pytest.mark.parametrize("source", ["quick", OLD / "quick.yaml"])
@pytest.mark.parametrize("key", ["train.warmup", "train.warmup_iterations"])
def test_an_override_has_its_way_under_either_name(source: str | Path, key: str) -> None:
    assert load_config(source, [f"{key}=5"]).train.warmup_iterations == 5


def test_a_setting_under_both_its_names_is_refused() -> None:
    with pytest.raises(UserError, match=r"train.warmup is the old name of train.warmup_iterations"):
        load_config({"train": {"warmup": 1, "warmup_iterations": 2}})


def c4(**box_head: object) -> dict[str, object]:
    return {
        "backbone": {"kind": "resnet50"},
        "neck": {"kind": "c4"},
        "rpn": {"sizes": [[32, 64]]},
        "box_head": {"size": 14, "fcs": 0, **box_head},
    }


def test_c4_is_one_setting() -> None:
    assert ModelConfig.model_validate(c4()) == ModelConfig.model_validate(c4(kind="res5"))
    with pytest.raises(
        UserError, match=r"model.box_head.kind=fc is no longer set: neck.kind=c4 makes it res5"
    ):
        load_config({"model": c4(kind="fc")})
    with pytest.raises(UserError, match="model.box_head.kind=res5 is no longer set"):
        load_config("quick", ["model.box_head.kind=res5"])
