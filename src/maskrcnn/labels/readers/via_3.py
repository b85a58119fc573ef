"""The project file of VGG Image Annotator 3, as the VIA 2 project that says the same.

Its data structures are in CodeDoc.md of gitlab.com/vgg/via (via-3.x.y): a region has `xy`, the number of a
shape and its coordinates; it belongs to a view, which shows one file, and its attributes `av` hold numbers of
options.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from maskrcnn.errors import RecordError
from maskrcnn.labels.readers.via_files import Project, Region, attribute_values, object_at
from maskrcnn.labels.values import number

RECT, CIRCLE, ELLIPSE, POLYLINE, POLYGON, EXTREME_RECT, EXTREME_CIRCLE = 2, 3, 4, 6, 7, 8, 9
IMAGE = "2"  # type of a file
CHECKBOX, CHOICES = "2", ("2", "3", "4")  # types of an attribute: ticked boxes; those with options


def is_via_3(document: Any) -> bool:
    """Whether a JSON document is a project of VIA 3."""
    return isinstance(document, dict) and all(key in document for key in ("project", "metadata", "view"))


def read_project_3(path: Path, document: dict[str, Any]) -> Project:
    """The project, with regions in the words of VIA 2.

    Raises:
        DataError: a view of no file or several, or only videos.
    """
    project = Project()
    attributes = object_at(document, "attribute")
    for key in attributes:
        project.definitions[_name(attributes, key)] = {
            "options": dict.fromkeys(str(text) for text in _options(attributes, key).values())
        }
    names = {view: _file_name(path, document, view, project) for view in object_at(document, "view")}
    videos = 0
    for key, entry in object_at(document, "metadata").items():
        view = str(entry.get("vid")) if isinstance(entry, dict) else ""
        if view not in names:
            raise RecordError(path, "belongs to no view", "save the project again", f"region {key!r:.80}")
        image = names[view]
        values = object_at(entry, "av")
        said = {_name(attributes, name): _value(attributes, name, values[name]) for name in values}
        shape = entry.get("xy")
        if image is None:
            videos += 1
        elif shape:
            record = f"region {key!r:.80} of {image!r}"
            project.regions[image].append(Region(record, _shape(shape), said))
        elif any(attribute_values(value) for value in said.values()):
            project.images_with_attributes.append(image)
    if videos or not project.regions:
        raise RecordError(
            path, f"{videos} regions are on videos", "save their frames as images and label these"
        )
    return project


def _file_name(path: Path, document: dict[str, Any], view: str, project: Project) -> str | None:
    """The image of a view, which is added to the project; None for a video."""
    shown = object_at(document, "view", view).get("fid_list")
    files = object_at(document, "file")
    file = files.get(str(shown[0])) if isinstance(shown, list) and len(shown) == 1 else None
    if not isinstance(file, dict):
        raise RecordError(
            path, "does not show one file", "give each image a view of its own", f"view {view!r:.80}"
        )
    if str(file.get("type")) != IMAGE:
        return None
    name = file.get("fname") or file.get("src")
    if not isinstance(name, str):
        raise RecordError(path, "has no fname", "save the project again", f"the file of view {view!r:.80}")
    if name in project.regions:
        raise RecordError(path, "is there twice", "delete one", f"image {name!r}")
    project.regions[name] = []
    prefix = object_at(document, "config", "file", "loc_prefix").get(str(file.get("loc")))
    project.folder = prefix if isinstance(prefix, str) and prefix else project.folder
    return name


def _name(attributes: dict[str, Any], key: str) -> str:
    name = object_at(attributes, key).get("aname")
    return name if isinstance(name, str) else key


def _options(attributes: dict[str, Any], key: str) -> dict[str, Any]:
    if str(object_at(attributes, key).get("type")) not in CHOICES:
        return {}
    return object_at(attributes, key, "options")


def _value(attributes: dict[str, Any], key: str, value: Any) -> Any:
    """As VIA 2 has it: a text, or for ticked boxes an object of those."""
    options = _options(attributes, key)
    if str(object_at(attributes, key).get("type")) == CHECKBOX:
        ticked = [part.strip() for part in str(value).split(",") if part.strip()]
        return {str(options.get(part, part)): True for part in ticked}
    return options.get(str(value), value) if options and str(value) else value


def _shape(xy: Any) -> dict[str, Any]:
    """As VIA 2 has it; without a name where there is no such shape."""
    kind, *values = [number(value) for value in xy] if isinstance(xy, list) else [0.0]
    xs, ys = values[::2], values[1::2]
    if kind == RECT and len(values) == 4:
        return {"name": "rect", **dict(zip(("x", "y", "width", "height"), values, strict=True))}
    if kind == CIRCLE and len(values) == 3:
        return {"name": "circle", **dict(zip(("cx", "cy", "r"), values, strict=True))}
    if kind == ELLIPSE and len(values) == 4:
        return {"name": "ellipse", **dict(zip(("cx", "cy", "rx", "ry"), values, strict=True))}
    if kind in (POLYLINE, POLYGON):
        return {"name": "polygon" if kind == POLYGON else "polyline", "all_points_x": xs, "all_points_y": ys}
    if kind == EXTREME_RECT and len(values) == 8:
        x, y = min(xs), min(ys)
        return {"name": "rect", "x": x, "y": y, "width": max(xs) - x, "height": max(ys) - y}
    if kind == EXTREME_CIRCLE and len(values) == 6:
        return {"name": "circle"} | _circle_through(xs, ys)
    return {}


def _circle_through(xs: list[float], ys: list[float]) -> dict[str, float]:
    """The circle through three points; of points in a line there is none, and its numbers are NaN."""
    ax, ay, bx, by = xs[1] - xs[0], ys[1] - ys[0], xs[2] - xs[0], ys[2] - ys[0]
    double = 2 * (ax * by - ay * bx)
    if not math.isfinite(double) or double == 0:
        return dict.fromkeys(("cx", "cy", "r"), math.nan)
    a, b = ax * ax + ay * ay, bx * bx + by * by
    x, y = (by * a - ay * b) / double, (ax * b - bx * a) / double
    return {"cx": xs[0] + x, "cy": ys[0] + y, "r": math.hypot(x, y)}
