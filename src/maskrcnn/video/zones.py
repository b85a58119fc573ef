"""Lines and areas of a frame at which objects are counted: zones.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from maskrcnn.config.section import Section, validate
from maskrcnn.errors import UserError
from maskrcnn.masks.polygons import signed_area
from maskrcnn.safe_files import parse_json
from maskrcnn.shell import nearest

MOST_ZONES = 200
SHORTEST = 0.001  # pixels between two points of a zone
REMEDY = 'write {"zones": [{"name": "door", "line": [[x, y], [x, y]]}]}'

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
Point = tuple[Coordinate, Coordinate]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]


class Zone(Section):
    """A line that objects cross or an area that they are in."""

    name: Name
    """What it is called in the counts."""
    line: Annotated[list[Point], Field(min_length=2, max_length=1000)] | None = None
    """Two points or more, x and y in pixels of the frame. Who walks along it from the first to the last has
    "in" on the right: an object that crosses it from left to right goes in, one from right to left out."""
    polygon: Annotated[list[Point], Field(min_length=3, max_length=1000)] | None = None
    """The corners of an area, in either order, or of none where `line` is given."""
    anchor: Literal["bottom", "centre"] = "bottom"
    """Which place of an object counts: "bottom", below its mask's middle at the mask's lower edge, or its
    centre."""
    classes: Annotated[list[str], Field(min_length=1)] | None = None
    """Which classes are counted; null: all."""
    hysteresis: Annotated[float, Field(ge=0, le=10_000)] | None = None
    """Pixels from the line, or the border, that an object must have come on the other side before it counts;
    null: 5% of the longer side of its box, and at least 2."""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.line is None) == (self.polygon is None):
            raise ValueError("line: a zone has either a line or a polygon")
        points = self.points
        steps = np.diff(points, axis=0, append=points[:1] if self.polygon else points[:0])
        if (np.hypot(*steps.T) < SHORTEST).any():
            raise ValueError(f"{self.kind}: has the same point twice in a row; leave one of them out")
        if self.polygon and abs(signed_area(points)) < 1:
            raise ValueError("polygon: has no area; give its corners in order around it")
        return self

    @property
    def kind(self) -> Literal["line", "polygon"]:
        return "polygon" if self.line is None else "line"

    @property
    def points(self) -> np.ndarray:
        """float64 (P, 2): of the line or the polygon."""
        return np.array(self.line or self.polygon, np.float64)


def read_zones(path: Path, classes: Sequence[str] | None = None) -> list[Zone]:
    """The zones of a file.

    Args:
        classes: of the model, where they are known.

    Raises:
        UserError: not such a file; the message names the zone.
    """
    settings = parse_json(path, REMEDY)
    entries = settings.pop("zones", None)
    if settings or not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: a list of zones is expected and nothing else; {REMEDY}")
    if len(entries) > MOST_ZONES:
        raise UserError(f"{path}: {len(entries):,} zones; give at most {MOST_ZONES}")
    zones: list[Zone] = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: zone {number}{_name_of(entry)}"
        if not isinstance(entry, dict):
            raise UserError(f"{where}: a mapping is expected, not {type(entry).__name__}; {REMEDY}")
        zone = validate(Zone, entry, where)
        if zone.name in [other.name for other in zones]:
            raise UserError(f"{where}: another zone has this name; give it one of its own")
        if classes is not None:
            _check_classes(zone, classes, where)
        zones.append(zone)
    return zones


def check_size(zones: Sequence[Zone], size: tuple[int, int], video: str) -> None:
    """
    Raises:
        UserError: a zone lies outside frames of this height and width, so that it would never count.
    """
    for zone in zones:
        low, high = zone.points.min(axis=0), zone.points.max(axis=0)
        if (high < 0).any() or (low > size[::-1]).any():
            raise UserError(
                f"{video}: the zone {zone.name!r} lies outside its frames of {size[1]} x {size[0]} pixels; "
                "correct its points, which are x and y in pixels"
            )


def _check_classes(zone: Zone, classes: Sequence[str], where: str) -> None:
    for name in zone.classes or []:
        if name not in classes:
            raise UserError(f"{where}: the model has no class {name!r:.80}; {nearest(name, classes):.200}")


def _name_of(entry: Any) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f" ({name!r:.80})" if isinstance(name, str) else ""
