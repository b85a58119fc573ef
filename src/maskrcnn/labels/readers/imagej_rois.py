"""ImageJ's ROIs: a .zip of the ROI Manager, or a .roi, of the image's name (NAME.tif, NAME_RoiSet.zip).

The format is that of ij/io/RoiDecoder.java. Outlines are in pixel edges; an oval is a mask, a rectangle a box
without one. Points and lines are no objects. ROIs have no classes but groups: without them all are "object".
"""

from __future__ import annotations

import posixpath
import re
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn.errors import DataError, RecordError
from maskrcnn.labels.builder import LabelBuilder
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_leaving
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.readers.files_by_name import (
    first_files,
    has_split_below,
    image_of_each,
    of_split,
    perhaps_of_split,
)
from maskrcnn.labels.readers.folder_files import files_under
from maskrcnn.labels.shapes import closed_spline, curve, ellipse_ring, sound
from maskrcnn.labels.types import DEFAULT_CLASS, LabelledImage
from maskrcnn.masks.rle import bitmap_rle, polygons_rle, rle_bitmap

SUFFIXES = (".zip", ".roi")
MAGIC = b"Iout"
# version, kind, top, left, bottom, right, count of points, place and size between pixels, size of a
# composite, subtype, options, page of a stack, where the second header is
HEADER = struct.Struct(">4xHBx4hH4f2xi8xhh4xii")
SECOND = struct.Struct(">8xii14xB")  # place in depth and time, group
WRAPPED = -5000  # coordinates of 16 bits below are beyond 32767
LARGEST_ROI = 1 << 24  # bytes
LARGEST_ZIP = 1 << 29  # bytes, unpacked
POLYGON, RECT, OVAL, FREEHAND, TRACED = 0, 1, 2, 7, 8
NO_OBJECTS = (1, 2, 4)  # subtypes: text, arrow, image
SPLINE, SUBPIXEL = 1, 128  # options
GROUPS = 52  # of the second header, where a group of more than a byte is, from version 229 on
MOVE, LINE, QUAD, CUBIC, CLOSE = range(5)  # parts of a composite's outline
POINTS = {MOVE: 1, LINE: 1, QUAD: 2, CUBIC: 3, CLOSE: 0}
SET = re.compile(r"[-_ ]?(roi ?set|rois?)$", re.IGNORECASE)  # what people add to the image's name


@dataclass
class Roi:
    """One ROI: a box xyxy, or rings (n, 2) of which an even number make a hole."""

    record: str
    box: list[float] | None
    rings: list[np.ndarray]
    group: int
    position: tuple[int, int, int]  # page of a stack, in depth and time, from 1; 0: every

    @property
    def name(self) -> str:
        return f"group {self.group}" if self.group else DEFAULT_CLASS


def read_imagej_rois(source: Path, split: str | None = None) -> FileDataset:
    """Read the .zip and .roi files under a folder, or one of them.

    Args:
        split: of rois/train beside rois/val and the like; None: all.

    Raises:
        DataError: a file cannot be used, or its ROIs are on several pages of a stack.
    """
    source = Path(source)
    root = source if source.is_dir() else source.parent
    names = perhaps_of_split(files_under(root), split)
    labels = [source.name]
    if source.is_dir():
        labels = [
            name
            for name in of_split(names, split)
            if name.lower().endswith(SUFFIXES) and _is_roi_file(root / name)
        ]
    builder = LabelBuilder(source, root)
    images, alone = image_of_each(labels, names, root, _stem)
    rois: dict[str, list[Roi]] = {}
    for label in labels:
        refuse_leaving(root, root / label)
        parsed = [_parse(data, f"{name!r} of {label!r}", builder) for name, data in _entries(root / label)]
        rois[label] = [roi for roi in parsed if roi is not None]
        positions = {roi.position for roi in rois[label] if any(roi.position)}
        if len(positions) > 1:
            raise RecordError(
                root / label,
                f"its ROIs are on {len(positions)} pages of a stack",
                "save each page as an image with ROIs of its own",
            )
    ids = builder.add_classes(sorted({roi.name for found in rois.values() for roi in found}))
    for label, found in rois.items():
        image = builder.add_image(images[label])
        for roi in found:
            _add(roi, image, ids[roi.name], builder)
    for image_name in of_split(alone, split) if source.is_dir() else ():
        builder.problems.note(ProblemKind.IMAGE_WITHOUT_FILE, f"{image_name!r}")
    return builder.build()


def looks_like_imagej_rois(source: Path) -> bool:
    """Whether `source` is a file of ROIs, or a folder with one among its first .zip and .roi."""
    try:
        return any(_is_roi_file(file) for file in first_files(Path(source), SUFFIXES))
    except OSError:
        return False


def has_imagej_split(source: Path, split: str) -> bool:
    """Whether a folder below holds files of ROIs of that split."""
    return has_split_below(source, split, SUFFIXES, _is_roi_file)


def _stem(name: str) -> str:
    """NAME of NAME.zip, NAME.roi, NAME_RoiSet.zip."""
    stem = posixpath.splitext(name)[0]
    return SET.sub("", stem) or stem


def _is_roi_file(path: Path) -> bool:
    try:
        if path.suffix.lower() == ".roi":
            with path.open("rb") as file:
                return file.read(4) == MAGIC
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".roi") for name in archive.namelist())
    except Exception:  # noqa: BLE001 - as below
        return False


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    """The ROIs of a file by name; nothing is unpacked to disk."""
    try:
        if path.suffix.lower() == ".roi":
            with path.open("rb") as file:
                yield path.name, file.read(LARGEST_ROI)
            return
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".roi")]
            if sum(entry.file_size for entry in entries) > LARGEST_ZIP:
                raise RecordError(path, f"unpacks to more than {LARGEST_ZIP >> 20} MB", "give the right file")
            for entry in entries:
                with archive.open(entry) as file:
                    yield entry.filename, file.read(LARGEST_ROI)
    except DataError:
        raise
    # the archive's parser raises whatever it stumbles over on damaged bytes
    except Exception as error:  # noqa: BLE001
        reason = " ".join(repr(str(error))[1:-1].split()) or type(error).__name__
        raise RecordError(
            path, f"not readable as ROIs of ImageJ ({reason:.100})", "save them again"
        ) from None


def _parse(data: bytes, record: str, builder: LabelBuilder) -> Roi | None:
    """One ROI; None for one that is no object, which is counted."""
    if len(data) < 64 or not data.startswith(MAGIC):
        raise RecordError(builder.source, "is no ROI of ImageJ", "save the ROIs again", record)
    version, kind, *sides, count, x, y, width, height, composite, subtype, options, page, at = (
        HEADER.unpack_from(data)
    )
    top, left, bottom, right = (side + 65536 if side < WRAPPED else side for side in sides)
    subpixel = bool(options & SUBPIXEL) and version >= 222
    depth, time, group = SECOND.unpack_from(data, at) if 0 < at <= len(data) - SECOND.size else (0, 0, 0)
    if version >= 229 and not group and 0 < at <= len(data) - GROUPS - 2:
        (group,) = struct.unpack_from(">H", data, at + GROUPS)
    roi = Roi(record, None, [], group, (page, depth, time))
    if subtype in NO_OBJECTS or kind not in (RECT, OVAL, POLYGON, FREEHAND, TRACED):
        builder.problems.note(ProblemKind.UNREAD_SHAPE, record)
        return None
    if composite > 0:
        roi.rings = _composite(data[64 : 64 + 4 * composite])
    elif kind in (RECT, OVAL):
        box = [x, y, x + width, y + height] if subpixel and version >= 223 else [left, top, right, bottom]
        x0, y0, x1, y1 = map(float, box)
        if kind == OVAL:
            roi.rings = [ellipse_ring((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, 0.0)]
        else:
            roi.box = [x0, y0, x1, y1]
    else:
        count = count or struct.unpack_from(">i", data, 18)[0]  # more than 16 bits can hold
        start, form = (64 + 4 * count, ">f4") if subpixel else (64, ">u2")
        if count < 0 or len(data) < start + 2 * count * int(form[-1]):
            raise RecordError(builder.source, "ends too early", "save the ROIs again", record)
        # all x come before all y; whole ones are relative to the box
        ring = np.frombuffer(data, form, 2 * count, start).astype(np.float64).reshape(2, count).T
        ring = ring if subpixel else ring + [left, top]
        roi.rings = [closed_spline(ring) if options & SPLINE and sound(ring) else ring]
    return roi


def _composite(data: bytes) -> list[np.ndarray]:
    """The rings (n, 2) of a composite."""
    values = np.frombuffer(data[: len(data) // 4 * 4], ">f4").astype(np.float64)
    rings: list[list[np.ndarray]] = []
    at = 0
    while at < len(values):
        kind = values[at]
        if kind not in POINTS:
            return [np.full((3, 2), np.nan)]
        pairs = values[at + 1 : at + 1 + 2 * POINTS[int(kind)]]
        if kind == MOVE:
            rings.append([])
        if len(pairs) % 2 == 0 and rings:
            control = pairs.reshape(-1, 2)
            curved = kind in (QUAD, CUBIC) and rings[-1]
            rings[-1].append(curve(np.concatenate([rings[-1][-1][-1:], control])) if curved else control)
        at += 1 + 2 * POINTS[int(kind)]
    return [np.concatenate(ring) for ring in rings if ring]


def _add(roi: Roi, image: LabelledImage, label: int, builder: LabelBuilder) -> None:
    if len(roi.rings) > 1:  # those that enclose nothing would make no hole
        roi.rings = builder.without_short(roi.rings, roi.record)
    if roi.box is not None or len(roi.rings) < 2 or not all(map(sound, roi.rings)):
        builder.add_object(image, label, roi.record, box=roi.box, polygons=roi.rings)
        return
    bitmap = np.zeros(image.size, bool)
    for ring in roi.rings:
        drawn = polygons_rle([ring], *image.size)
        if drawn is not None:
            bitmap ^= rle_bitmap(drawn) != 0
    builder.add_object(image, label, roi.record, rle=bitmap_rle(bitmap))
