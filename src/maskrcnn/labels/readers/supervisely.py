"""Supervisely projects (docs.supervisely.com, Supervisely annotation format): meta.json, DATASET/img,
DATASET/ann.

What one downloads has whole coordinates that are pixel indices: a rectangle includes its right and lower
pixel, and a point is its pixel's centre (developer-portal, app-development/advanced/coordinate-system). Where
any coordinate of a project has a fraction, they are continuous, as the labelling tool holds them.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maskrcnn.errors import DataError, RecordError
from maskrcnn.images.header import SUFFIXES
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.folder_files import has_folders, visible
from maskrcnn.labels.readers.json_file import JSONS, load_json
from maskrcnn.labels.readers.label_image import quiet, read_object
from maskrcnn.labels.shapes import holed_rle, placed_rle, sound
from maskrcnn.labels.types import LabelledImage
from maskrcnn.labels.values import number, points, whole
from maskrcnn.masks.rle import Rle

META = "meta.json"
# bytes of a compressed label image, far above what 179 million pixels of a mask take
LARGEST_BITMAP = 64 << 20


def looks_like_supervisely(source: Path) -> bool:
    """Whether the folder is a project, or a data set of one."""
    source = Path(source)
    meta = _meta_file(source)
    if meta is None:
        return False
    try:
        return next(_datasets(source), None) is not None and isinstance(load_json(meta).get("classes"), list)
    except (DataError, AttributeError):
        return False


def read_supervisely(source: Path) -> FileDataset:
    """Read a project, all its data sets as one; or one data set of it.

    Raises:
        DataError: a file or a record cannot be used; one line with the record and the remedy.
    """
    source = Path(source)
    meta = _meta_file(source)
    if meta is None:
        raise RecordError(
            source, f"no {META}", "export as 'Supervisely format' and give the project's folder"
        )
    builder = LabelBuilder(source, source)
    ids = _classes(meta, builder)
    files = list(_annotation_files(source, builder))
    # read twice rather than held: a project's bitmaps may be larger than memory
    offset = 0.0 if any(_has_fractions(_load(path)) for path, _ in files) else 1.0
    for path, image in files:
        content = _load(path)
        stated = content.get("size")
        size = None
        if isinstance(stated, dict) and "height" in stated and "width" in stated:
            size = (stated["height"], stated["width"])
        name = image.relative_to(source).as_posix()
        labelled = builder.add_image(name, size=size)
        for _ in content.get("tags") or []:
            builder.problems.note(ProblemKind.TAG, f"image {name!r}", name)
        for position, figure in enumerate(content["objects"]):
            _add_figure(builder, labelled, f"object {position} of {path.name}", figure, ids, offset)
    return builder.build()


def _meta_file(source: Path) -> Path | None:
    """meta.json of the project that `source` is or that it is a data set of."""
    if (source / META).is_file():
        return source / META
    if has_folders(source, "ann", "img"):
        for parent in list(source.absolute().parents)[:3]:  # data sets may lie in data sets
            if (parent / META).is_file():
                return parent / META
    return None


def _datasets(source: Path) -> Iterator[Path]:
    """The folders that hold ann/ and img/, in the order of their names."""
    for folder, names, _ in os.walk(source):
        if "ann" in names and "img" in names:
            yield Path(folder)
        names[:] = sorted(name for name in names if name not in ("ann", "img") and not name.startswith("."))


def _classes(meta: Path, builder: LabelBuilder) -> dict[str, int]:
    content = load_json(meta)
    classes = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(classes, list) or not classes:
        raise RecordError(meta, "no list 'classes'", "export the project anew")
    titles: list[str] = []
    for position, entry in enumerate(classes):
        title = entry.get("title") if isinstance(entry, dict) else None
        if not isinstance(title, str) or not title:
            raise RecordError(meta, "has no title", "add it", f"entry {position} of classes")
        titles.append(title)
    return builder.add_classes(titles, [entry.get("id") for entry in classes])


def _annotation_files(source: Path, builder: LabelBuilder) -> Iterator[tuple[Path, Path]]:
    """Each ann/NAME.json with img/NAME."""
    for dataset in _datasets(source):
        labelled = set()
        for path in visible(dataset / "ann", JSONS):
            refuse_leaving(source, path)
            labelled.add(path.stem)
            yield path, dataset / "img" / path.stem
        for image in visible(dataset / "img"):
            if image.suffix.lower() in SUFFIXES and image.name not in labelled:
                builder.problems.note(ProblemKind.IMAGE_WITHOUT_FILE, f"{image.name!r}")


def _load(path: Path) -> dict[str, Any]:
    content = load_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
        raise RecordError(path, "no list 'objects'", "export the project anew")
    for position, figure in enumerate(content["objects"]):
        if not isinstance(figure, dict):
            raise RecordError(path, "is not an object", "delete it", f"object {position}")
    if not isinstance(content.get("tags") or [], list):
        raise RecordError(path, "'tags' is not a list", "export the project anew")
    return content


def _rings(figure: dict[str, Any]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The outline (n, 2) of a figure, and its holes."""
    raw = figure.get("points")
    if not isinstance(raw, dict):
        return points(None), []
    holes = raw.get("interior")
    return points(raw.get("exterior")), [points(hole) for hole in holes] if isinstance(holes, list) else []


def _has_fractions(content: dict[str, Any]) -> bool:
    """Whether a rectangle or polygon has a coordinate with a fraction."""
    for figure in content["objects"]:
        if figure.get("geometryType") in ("rectangle", "polygon"):
            outline, holes = _rings(figure)
            if any((ring != np.floor(ring))[np.isfinite(ring)].any() for ring in (outline, *holes)):
                return True
    return False


def _add_figure(
    builder: LabelBuilder,
    image: LabelledImage,
    record: str,
    figure: dict[str, Any],
    ids: dict[str, int],
    offset: float,
) -> None:
    """Add a figure, or count why it has no place.

    Args:
        offset: from a pixel's index to its far edge: 1 where coordinates are indices, 0 where they are
            continuous.
    """
    title, kind = figure.get("classTitle"), figure.get("geometryType")
    if not isinstance(title, str) or title not in ids:
        raise RecordError(
            builder.source, f"has the class {title!r:.40}, which is not in {META}", "add it there", record
        )
    tags = figure.get("tags")
    for _ in tags if isinstance(tags, list) else []:
        builder.problems.note(ProblemKind.TAG, record)
    if figure.get("instance") is not None:
        builder.problems.note(ProblemKind.BOUND_FIGURE, record)
    if kind == "bitmap":
        builder.add_object(image, ids[title], record, rle=_bitmap(builder, record, figure, image.size))
    elif kind == "rectangle":
        corners, _ = _rings(figure)
        if len(corners) != 2 or not np.isfinite(corners).all():
            box = [float("nan")] * 4  # for the builder to count
        else:
            # the corners may come in any order; the pixel of the last one is inside
            box = [*corners.min(axis=0).tolist(), *(corners.max(axis=0) + offset).tolist()]
        builder.add_object(image, ids[title], record, box=box)
    elif kind == "polygon":
        outline, holes = _rings(figure)
        outline = outline + offset / 2
        if holes and sound(outline):
            rle = holed_rle(outline, [hole + offset / 2 for hole in holes], *image.size)
            builder.add_object(image, ids[title], record, rle=rle)
        else:
            builder.add_object(image, ids[title], record, polygons=[outline])
    else:
        builder.problems.note(ProblemKind.UNREAD_SHAPE, record)


def _bitmap(builder: LabelBuilder, record: str, figure: dict[str, Any], size: tuple[int, int]) -> Rle:
    """The mask of a figure: base64 of zlib of a PNG, its upper left pixel at `origin`."""
    raw = figure.get("bitmap")
    raw = raw if isinstance(raw, dict) else {}
    origin, data = raw.get("origin"), raw.get("data")

    def refused(what: str, remedy: str = "export the project anew") -> RecordError:
        return RecordError(builder.source, what, remedy, f"the bitmap of {record}")

    if not isinstance(origin, list) or len(origin) != 2 or not isinstance(data, str):
        raise refused("has no origin [x, y] and data")
    left, top = whole(origin[0]), whole(origin[1])
    if (left, top) != (number(origin[0]), number(origin[1])):
        raise refused("has an origin that is no pixel")
    try:
        unpacker = zlib.decompressobj()
        png = unpacker.decompress(base64.b64decode("".join(data.split()), validate=True), LARGEST_BITMAP)
        if unpacker.unconsumed_tail:
            raise refused(f"unpacks to more than {LARGEST_BITMAP >> 20} MB", "draw it again")
        with quiet(), Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            height, width = image.height, image.width
            inside = 0 <= left and 0 <= top and left + width <= size[1] and top + height <= size[0]
            # before anything is decoded, so that a file that claims to be huge costs nothing
            if not inside and (height > size[0] or width > size[1]):
                raise refused(f"is {width} x {height}, larger than its image")
            mask = _object(image)
    except RecordError:
        raise
    except (binascii.Error, zlib.error, ValueError):
        raise refused("is not base64 of zlib") from None
    # parsers raise whatever they stumble over (struct.error, SyntaxError, KeyError, ...) on damaged bytes
    except Exception:  # noqa: BLE001
        raise refused("is not readable as PNG", "draw it again") from None
    if not inside:
        builder.problems.note(ProblemKind.CLIPPED_MASK, record)
    return placed_rle(mask, left, top, *size)


def _object(image: Image.Image) -> np.ndarray:
    """What is opaque, or what is not black where the PNG has no transparency."""
    if "A" in image.mode or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))[..., 3] != 0
    return read_object(image)
