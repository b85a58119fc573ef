"""All settings together (`Config`), read from a recipe in YAML and changed by dotted overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import model_validator

from maskrcnn.config.data import DataConfig
from maskrcnn.config.migrate import migrate, setting_of
from maskrcnn.config.model import ModelConfig
from maskrcnn.config.section import Section, validate
from maskrcnn.config.train import TrainConfig
from maskrcnn.errors import UserError
from maskrcnn.safe_files import parse_yaml, parse_yaml_text
from maskrcnn.shell import did_you_mean


class Config(Section):
    """What a recipe is made of."""

    model: ModelConfig = ModelConfig()
    """The network."""
    data: DataConfig = DataConfig()
    """How labelled images become training samples."""
    train: TrainConfig = TrainConfig()
    """How the network is trained."""

    @model_validator(mode="before")
    @classmethod
    def _migrated(cls, settings: Any) -> Any:
        return migrate(settings)


def load_config(source: str | Path | dict[str, Any], overrides: list[str] | None = None) -> Config:
    """A recipe's settings with dotted overrides applied.

    Args:
        source: a shipped recipe's name, a YAML file, or the settings themselves.
        overrides: `a.b=value` strings; the value is read as YAML.

    Raises:
        UserError: an unknown recipe or key (the nearest existing one is named), or a value out of range.
    """
    if isinstance(source, dict):
        where, settings = "settings", source
    else:
        path = find_recipe(source)
        where = str(path)
        settings = parse_yaml(path)
        settings = {} if settings is None else settings
        if not isinstance(settings, dict):
            raise UserError(
                f"{path}: a recipe is a mapping of model, data and train, not {type(settings).__name__}"
            )
    try:
        settings = migrate(settings)  # before the overrides, which would else stand beside old names
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    for override in overrides or []:
        settings = _override(settings, override)
    where += " with --set" if overrides else ""
    return validate(Config, settings, where)


def find_recipe(source: str | Path) -> Path:
    """The file of a shipped recipe's name, or the file itself.

    Raises:
        UserError: neither; the message lists the shipped names.
    """
    shipped = Path(__file__).parents[1] / "recipes"
    named = shipped / f"{source}.yaml"
    if Path(str(source)).name == str(source) and named.is_file():
        return named
    path = Path(source)
    if path.is_file():
        return path
    names = sorted(p.stem for p in shipped.glob("*.yaml"))
    hint = did_you_mean(str(source), names)
    raise UserError(f"recipe {str(source)!r}: neither a shipped recipe ({', '.join(names)}) nor a file{hint}")


def _override(settings: dict[str, Any], override: str) -> dict[str, Any]:
    """A copy of `settings` with one `a.b=value` applied."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override!r}: write it as section.name=value, as in train.epochs=20")
    value = parse_yaml_text(text, f"--set {override!r}: the value")
    # YAML 1.1 reads 1e-3 as a string; people write it for learning rates
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            pass
    result = dict(settings)
    inner = result
    *parents, last = setting_of(override).split(".")
    for part in parents:
        below = inner.get(part)
        inner[part] = dict(below) if isinstance(below, dict) else {}
        inner = inner[part]
    inner[last] = value
    return result
