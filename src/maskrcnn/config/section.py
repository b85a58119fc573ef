"""What every section of settings has in common: unknown keys are refused, and an error names the key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maskrcnn.errors import UserError
from maskrcnn.shell import nearest


class Section(BaseModel):
    """A group of settings. A key that does not exist is an error, never ignored.

    The string below a field is its description: docs/settings.md is made of them. Settings that contradict
    each other are refused by a validator of the section that holds both; its message begins with a field's
    name.
    """

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


Positive = Annotated[int, Field(gt=0)]
# far above what anybody uses: a settings file of a few bytes must not ask for all memory there is
Side = Annotated[int, Field(gt=0, le=16_384)]  # pixels of an image
Bins = Annotated[int, Field(gt=0, le=256)]  # per side of what is pooled for a RoI
Width = Annotated[int, Field(gt=0, le=16_384)]  # channels of a layer
Layers = Annotated[int, Field(ge=0, le=100)]
Boxes = Annotated[int, Field(gt=0, le=1_000_000)]  # of an image
Points = Annotated[int, Field(ge=0, le=64)]  # per side of a bin
Weight = Annotated[float, Field(ge=0, le=1e6)]
Fraction = Annotated[float, Field(ge=0, le=1)]
T = TypeVar("T", bound=BaseModel)


def validate(kind: type[T], settings: dict[str, Any], where: str) -> T:
    """`settings` as a `kind`, or a UserError of one line that names the first wrong key and its nearest
    neighbour.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            siblings = _siblings(kind, [str(part) for part in first["loc"][:-1]])
            last = str(first["loc"][-1])
            elsewhere = [name for name in _names(kind) if name.endswith("." + last)]
            hint = f"did you mean {' or '.join(elsewhere[:5])}?" if elsewhere else nearest(last, siblings)
            raise UserError(f"{where}: no setting {key!r}; {hint}") from None
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        if first["type"] == "value_error":  # of a section's validator
            raise UserError(f"{where}: {key and key + '.'}{first['ctx']['error']}{more}") from None
        raise UserError(
            f"{where}: {key or 'settings'}: {first['msg']}, got {_shown(first['input'])}{more}"
        ) from None


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"


def _siblings(kind: type[BaseModel], location: list[str]) -> list[str]:
    """Names of the settings beside an unknown one."""
    for part in location:
        section = _section(kind, part)
        if section is None:
            break
        kind = section
    return list(kind.model_fields)


def _section(kind: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The section that a setting is; None where it is a value, or there is none."""
    field = kind.model_fields.get(name)
    options = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _names(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All settings by their dotted names, sections included."""
    for name in kind.model_fields:
        yield prefix + name
        if section := _section(kind, name):
            yield from _names(section, f"{prefix}{name}.")


def dotted(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names, such as "rpn.sizes"."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
