"""Settings of earlier versions (recipes, saved models, runs, `--set`) as those of today. Nowhere else knows
of them.
"""

from __future__ import annotations

from typing import Any

# a recipe's dotted name then and now
RENAMED = {
    "train.trunk_lr": "train.backbone_lr_factor",
    "train.steps": "train.step_shares",
    "train.warmup": "train.warmup_iterations",
    "train.evaluate_every": "train.evaluate_every_epochs",
    "train.save_every": "train.save_every_seconds",
}


def setting_of(override: str) -> str:
    """Today's dotted name of the setting that `a.b=value` sets."""
    key = override.partition("=")[0].strip()
    return RENAMED.get(key, key)


def migrate(settings: Any) -> Any:
    """A copy of a recipe's settings under today's names; what is not a mapping is left to the validation.

    Raises:
        ValueError: a setting under both its names.
    """
    if not isinstance(settings, dict):
        return settings
    settings = dict(settings)
    for old, new in RENAMED.items():
        section, old_key = old.split(".")
        new_key = new.split(".")[1]
        values = settings.get(section)
        if not isinstance(values, dict) or old_key not in values:
            continue
        if new_key in values:
            raise ValueError(f"{old} is the old name of {new}: give one of them")
        settings[section] = {new_key if key == old_key else key: value for key, value in values.items()}
    return settings


def migrate_model(settings: Any) -> Any:
    """A copy of a network's settings in which the neck alone says whether the fifth stage is the box head
    (C4).

    Raises:
        ValueError: `box_head.kind`, which was once set beside `neck.kind`, contradicts it.
    """
    if not isinstance(settings, dict) or not isinstance(settings.get("box_head"), dict):
        return settings
    box_head = dict(settings["box_head"])
    kind = box_head.pop("kind", None)
    neck = settings.get("neck")
    c4 = isinstance(neck, dict) and neck.get("kind") == "c4"
    if kind is not None and kind != ("res5" if c4 else "fc"):
        raise ValueError(f"box_head.kind={kind} is no longer set: neck.kind=c4 makes it res5, any other fc")
    return {**settings, "box_head": box_head}
