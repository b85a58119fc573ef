"""A table of the paper as variants that are trained and compared (`Table`), read from `tables/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from maskrcnn.config.load import Config, load_config
from maskrcnn.config.migrate import setting_of
from maskrcnn.config.section import Section, validate
from maskrcnn.errors import UserError
from maskrcnn.evaluate.truth import Kind
from maskrcnn.safe_files import parse_yaml

FOLDER = Path(__file__).parent / "tables"
RECIPE = "quick"  # small enough for three seeds on two cores
PLANNED = ("train.seed", "train.epochs", "train.evaluate_every_epochs", "train.init")


class Variant(Section):
    """A row: a network that is trained."""

    name: str
    """As the paper calls it."""
    set: dict[str, Any]
    """What it has other than the table's settings, by dotted names."""
    after: str | None = None
    """The variant whose weights, of the same seed, it starts from."""
    paper: dict[str, float] = {}
    """The paper's figures, percent."""


class Comparison(Section):
    """A claim about two variants."""

    of: str
    """The variant that the paper finds better, or the same."""
    to: str
    """The variant it is compared with."""
    kind: Kind = "segm"
    """What is measured."""
    expect: Literal["better", "same"] = "better"
    """What the paper finds; `same`: within `SAME` points of AP."""


class Table(Section):
    """A table or claim of the paper."""

    title: str
    """What is compared."""
    paper: str
    """Where, and on what, the paper measures it."""
    claim: str
    """What it finds, in a sentence."""
    data: Literal["shapes", "fine", "people"]
    """Which generated images it is measured on, where no data are given."""
    set: dict[str, Any] = {}
    """Settings of all variants, over the recipe."""
    overrides: list[str] = []
    """A person's own settings of all variants, over the table's, as `a.b=value`."""
    variants: list[Variant]
    """In the paper's order."""
    comparisons: list[Comparison]
    """What is claimed of them."""

    @model_validator(mode="after")
    def _consistent(self) -> Table:
        names = [variant.name for variant in self.variants]
        named = [name for c in self.comparisons for name in (c.of, c.to)]
        named += [variant.after for variant in self.variants if variant.after is not None]
        for name in named:
            if name not in names:
                raise ValueError(f"comparisons name {name!r}, the variants are {', '.join(names)}")
        return self

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return next(variant for variant in self.variants if variant.name == name)

    def config(self, variant: Variant, seed: int, **changes: Any) -> Config:
        """Settings of `variant` with `seed`.

        Args:
            changes: of the section `train`. Without `init`, a variant that follows another names that.
        """
        start = {} if variant.after is None else {"init": variant.after}
        train = {f"train.{name}": value for name, value in {"seed": seed, **start, **changes}.items()}
        return load_config(
            RECIPE, [*_assigned(self.set), *self.overrides, *_assigned(variant.set), *_assigned(train)]
        )

    def with_overrides(self, overrides: list[str]) -> Table:
        """The same table, measured with `overrides`.

        Raises:
            UserError: one changes what the variants differ in, or what the plan settles; or is no setting.
        """
        settled = {*PLANNED, *(name for variant in self.variants for name in variant.set)}
        for override in overrides:
            key = setting_of(override)
            for name in settled:
                if f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}."):
                    raise UserError(f"--set {override}: the table itself settles {name}; leave it out")
        table = self.model_copy(update={"overrides": overrides})
        for variant in self.variants:
            table.config(variant, 0)
        return table

    def kinds(self) -> list[Kind]:
        """What is measured of any variant."""
        return list(dict.fromkeys(comparison.kind for comparison in self.comparisons))


def _assigned(settings: dict[str, Any]) -> list[str]:
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]


def names() -> list[str]:
    """Of the tables."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_table(name: str) -> Table:
    """The table of that name.

    Raises:
        UserError: there is none; lists those that there are.
    """
    if name not in names():
        raise UserError(f"--table {name}: there are {', '.join([*names(), 'timing'])} and all")
    return validate(Table, parse_yaml(FOLDER / f"{name}.yaml"), name)
