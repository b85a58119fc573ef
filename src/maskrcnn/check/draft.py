"""Settings and why, while they are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from maskrcnn.config.load import Config, load_config
from maskrcnn.config.migrate import setting_of


@dataclass
class Draft:
    """A recipe, overrides of it, and a line for each choice."""

    recipe: str
    reasons: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # overrides that a person wants: these win
    familiar: bool = True  # whether a model to start from knows such objects
    _read: tuple[list[str], Config] | None = field(default=None, init=False)

    def add(self, reason: str, *overrides: str) -> None:
        """A choice; what a person asks for in its place is said with it."""
        own = [each for each in self.asked if setting_of(each) in map(setting_of, overrides)]
        self.reasons.append(reason + (f"; but {', '.join(own)}, as asked for" if own else ""))
        self.overrides += overrides

    @property
    def config(self) -> Config:
        """The settings as chosen so far."""
        overrides = [*self.overrides, *self.asked]
        if self._read is None or self._read[0] != overrides:
            self._read = overrides, load_config(self.recipe, overrides)
        return self._read[1]

    @property
    def unasked(self) -> Config:
        """The same, whatever a person asks for."""
        return load_config(self.recipe, self.overrides)

    def asks(self, key: str) -> bool:
        """Whether a person wants a value of their own for a setting."""
        return any(setting_of(override) == key for override in self.asked)


def compact(values: Sequence[Any]) -> str:
    """A list as the value of an override."""
    return str(list(values)).replace(" ", "")
