"""VGG Image Annotator: projects of VIA 1 to 3, and exported JSON (via_region_data.json) and CSV of VIA 2.

The format is described at robots.ox.ac.uk/~vgg/software/via; angles of ellipses are in radians, as in its
source. VIA has no classes but attributes of regions with any name: `read_via` says which of them is taken for
the class. A rect is a box without a mask. VIA writes no sizes of images and no folder that is sure to be
right.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.errors import DataError, RecordError, UserError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving, relative_name
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import folder_of_images
from maskrcnn.labels.readers.folder_files import visible
from maskrcnn.labels.readers.json_file import glance, load_json
from maskrcnn.labels.readers.tables import TABLE_SUFFIXES
from maskrcnn.labels.readers.via_3 import is_via_3, read_project_3
from maskrcnn.labels.readers.via_files import (
    Project,
    Region,
    attribute_values,
    object_at,
    read_csv,
    read_json,
)
from maskrcnn.labels.shapes import ellipse_ring
from maskrcnn.labels.types import DEFAULT_CLASS, LabelledImage
from maskrcnn.labels.values import number

CLASS_ATTRIBUTES = ("class", "label", "name", "type", "category")  # looked for in this order, in any case


def read_via(
    source: Path, class_attribute: str | None = None, image_folder: Path | None = None
) -> FileDataset:
    """Read a VIA file, or the only one of a folder. Images are numbered from 1 in its order.

    Args:
        class_attribute: the region attribute that is the class. None: the only one, else one called class,
            label, name, type or category. Where no region has any attribute, every region is an "object".
        image_folder: the folder of the images; None: looked for beside the file.

    Raises:
        UserError: the folder has no VIA file, or several.
        DataError: the file cannot be used; one line with the record and the remedy.
    """
    path = _via_file(Path(source))
    project = _read(path)
    builder = LabelBuilder(path, _images_folder(path, project, image_folder))
    for image in project.images_with_attributes:
        builder.problems.note(ProblemKind.ATTRIBUTE, f"{image!r}")
    for image in project.images_without_regions:
        builder.problems.note(ProblemKind.NO_REGIONS, f"{image!r}")
    for image in project.miscounted_images:
        builder.problems.note(ProblemKind.REGION_COUNT, f"{image!r}")
    name = _class_attribute(project, class_attribute, path)
    classes = _region_classes(project, name, builder)
    ids = builder.add_classes(_class_names(project, name, classes))
    for image, regions in project.regions.items():
        labelled = builder.add_image(image)
        for region in regions:
            if region.record in classes:
                _add_region(region, labelled, ids[classes[region.record]], builder)
    return builder.build()


def _read(path: Path) -> Project:
    if path.suffix.lower() in TABLE_SUFFIXES:
        return read_csv(path)
    document = load_json(path)
    return read_project_3(path, document) if is_via_3(document) else read_json(path, document)


def looks_like_via(source: Path) -> bool:
    """Whether `source` is a VIA file or a folder with one."""
    try:
        return bool(_via_files(Path(source)))
    except (DataError, OSError):
        return False


def _via_file(source: Path) -> Path:
    found = _via_files(source)
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{source}: holds {found[0].name!r} and {found[1].name!r} of VIA; name the one that is meant"
        )
    raise RecordError(
        source,
        "no file of VGG Image Annotator",
        "save the project, or export the annotations of VIA 2 as JSON or CSV",
    )


def _via_files(source: Path) -> list[Path]:
    """`source` itself or the files in it, those that look like VIA's."""
    if source.is_dir():
        files = [path for path in visible(source) if path.suffix.lower() in (".json", *TABLE_SUFFIXES)]
        for path in files:
            refuse_leaving(source, path)
        return [path for path in files if path.is_file() and _glance(path)]
    return [source] if source.is_file() and _glance(source) else []


def _glance(path: Path) -> bool:
    text = glance(path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        of_via_3 = "# CSV_HEADER = " in text and "spatial_coordinates" in text
        return of_via_3 or (text.lstrip('#"').startswith("filename") and "region_" in text)
    if '"_via_img_metadata"' in text:
        return True
    if '"vid_list"' in text and '"fid_list"' in text:  # VIA 3
        return True
    # a project file may begin with more settings than we look at; none of its names is anyone else's
    return '"_via_settings"' in text or ('"filename"' in text and '"regions"' in text)


# ---- images


def _images_folder(path: Path, project: Project, given: Path | None) -> Path:
    """The folder that holds the images."""
    if not project.regions:
        raise RecordError(path, "empty data set, it has no image", "add images in VIA")
    for image in project.regions:
        record = f"image {image!r:.200}"
        if "://" in image:
            raise RecordError(path, "is on the web", "download it and put its file's name there", record)
        if relative_name(image) is None:
            remedy = "write its name relative to that folder, without '..'"
            raise RecordError(path, "leaves the folder of the images", remedy, record)
    stated = relative_name(project.folder.replace("\\", "/")) if project.folder else None
    more = [stated] if stated else []
    return folder_of_images(path, project.regions, given, [*more, path.stem, "images", ".", "../images"])


# ---- classes


def _class_attribute(project: Project, attribute: str | None, path: Path) -> str | None:
    """The name of the attribute that is the class; None where no region has any."""
    used = {
        name: None
        for regions in project.regions.values()
        for region in regions
        for name, value in region.attributes.items()
        if attribute_values(value)
    }
    known = ", ".join(repr(name) for name in used) or "none"
    if attribute is not None:
        if attribute not in used:
            raise RecordError(
                path,
                f"no region has the attribute {attribute!r} (there are: {known:.300})",
                "name one of these",
            )
        return attribute
    if len(used) <= 1:
        return next(iter(used), None)
    for wanted in CLASS_ATTRIBUTES:
        for name in used:
            if name.strip().lower() == wanted:
                return name
    raise RecordError(path, f"which attribute is the class: {known:.300}?", "say it: --class-attribute NAME")


def _region_classes(project: Project, name: str | None, builder: LabelBuilder) -> dict[str, str]:
    """The class of each region that has one, by its record; what else it says is counted as lost."""
    classes = {}
    for region in (region for regions in project.regions.values() for region in regions):
        if any(attribute_values(value) for other, value in region.attributes.items() if other != name):
            builder.problems.note(ProblemKind.ATTRIBUTE, region.record)
        values = [DEFAULT_CLASS] if name is None else attribute_values(region.attributes.get(name))
        if len(values) == 1:
            classes[region.record] = values[0]
        else:
            kind = ProblemKind.SEVERAL_CLASSES if values else ProblemKind.NO_LABEL
            builder.problems.note(kind, region.record)
    return classes


def _class_names(project: Project, name: str | None, classes: dict[str, str]) -> list[str]:
    """The options of the attribute in the project's order, then what else is used."""
    options = object_at(project.definitions, name, "options") if name is not None else {}
    return list(
        dict.fromkeys(
            [*(option.strip() for option in options if option.strip()), *sorted(set(classes.values()))]
        )
    )


# ---- shapes


def _add_region(region: Region, image: LabelledImage, label: int, builder: LabelBuilder) -> None:
    shape, kind, record = region.shape, region.shape.get("name"), region.record

    def numbers(*keys: str) -> list[float]:
        return [number(shape.get(key)) for key in keys]

    if kind == "rect":
        x, y, width, height = numbers("x", "y", "width", "height")
        builder.add_object(image, label, record, box=[x, y, x + width, y + height])
    elif kind == "circle":
        x, y, radius = numbers("cx", "cy", "r")
        builder.add_object(image, label, record, polygons=[ellipse_ring(x, y, radius, radius, 0.0)])
    elif kind == "ellipse":
        x, y, rx, ry = numbers("cx", "cy", "rx", "ry")
        theta = number(shape.get("theta", 0.0))
        builder.add_object(image, label, record, polygons=[ellipse_ring(x, y, rx, ry, math.degrees(theta))])
    elif kind in ("polygon", "polyline"):
        if kind == "polyline":
            builder.problems.note(ProblemKind.POLYLINE, record)
        builder.add_object(image, label, record, polygons=[_polygon(shape)])
    else:
        builder.problems.note(ProblemKind.UNREAD_SHAPE, record)


def _polygon(shape: dict[str, Any]) -> np.ndarray:
    """(n, 2); empty where x and y are not as many."""
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
        return np.zeros((0, 2))
    return np.array([[number(x), number(y)] for x, y in zip(xs, ys, strict=True)], dtype=np.float64).reshape(
        -1, 2
    )
