"""Labels of many images as a few flat arrays, which processes can share.

As Python objects the labels of a large set would be copied page by page into every data-loading worker,
because reading an object writes its reference count. Arrays are only read, and they may lie in a file that
all processes map.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from maskrcnn.labels.types import Annotation, LabelledImage
from maskrcnn.masks.rle import Rle

BOX_ONLY, POLYGONS, RLE = range(3)  # what an object's mask is
FLAG_CROWD, FLAG_KEYPOINTS = 1, 2


@dataclass(frozen=True)
class PackedLabels:
    """N images with A objects, whose masks are R rings or encodings.

    `x_starts` are the places in a flat array where the share of each owner begins, and where the last one
    ends.
    """

    heads: np.ndarray  # uint8: for each image a JSON list of everything that is no array (see `_head`)
    head_starts: np.ndarray  # int64 (N + 1,)
    sizes: np.ndarray  # int64 (N, 2): height and width
    object_starts: np.ndarray  # int64 (N + 1,)
    boxes: np.ndarray  # float64 (A, 4) xyxy
    areas: np.ndarray  # float64 (A,)
    labels: np.ndarray  # int64 (A,)
    masks: np.ndarray  # uint8 (A,): BOX_ONLY, POLYGONS or RLE
    flags: np.ndarray  # uint8 (A,): sum of FLAG_...
    ring_starts: np.ndarray  # int64 (A + 1,)
    point_starts: np.ndarray  # int64 (R + 1,)
    points: np.ndarray  # float64 (P, 2) x, y of all rings
    code_starts: np.ndarray  # int64 (A + 1,)
    codes: np.ndarray  # uint8: the compressed counts of all RLEs
    keypoint_starts: np.ndarray  # int64 (A + 1,)
    keypoints: np.ndarray  # float64 (Q, 3) x, y, visibility

    def __len__(self) -> int:
        return len(self.head_starts) - 1

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them by name; `PackedLabels(**arrays)` is these labels again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def image(self, index: int) -> LabelledImage:
        """A fresh copy of what was packed at `index`, 0 .. len - 1."""
        image_id, file_name, path, not_exhaustive, negative, ids = self._head(index)
        height, width = self.sizes[index].tolist()
        begin, end = self.object_starts[index : index + 2].tolist()
        annotations = [
            Annotation(
                (box[0], box[1], box[2], box[3]), label, area=area, crowd=bool(flags & FLAG_CROWD), id=own
            )
            for box, label, area, flags, own in zip(
                self.boxes[begin:end].tolist(),
                self.labels[begin:end].tolist(),
                self.areas[begin:end].tolist(),
                self.flags[begin:end].tolist(),
                ids,
                strict=True,
            )
        ]
        for number, annotation in enumerate(annotations, start=begin):
            self._add_shape(number, annotation, [height, width])
        place = None if path is None else Path(path)
        return LabelledImage(image_id, file_name, place, height, width, annotations, not_exhaustive, negative)

    def path(self, index: int) -> str | None:
        """Where the image at `index` is, without the rest of it."""
        found: str | None = self._head(index)[2]
        return found

    def _head(self, index: int) -> list[Any]:
        """What `_head` wrote of the image at `index`."""
        begin, end = self.head_starts[index : index + 2].tolist()
        head: list[Any] = json.loads(self.heads[begin:end].tobytes())
        return head

    def _add_shape(self, number: int, annotation: Annotation, size: list[int]) -> None:
        """The mask and keypoints of object `number`."""
        mask = self.masks[number]
        if mask == POLYGONS:
            first, last = self.ring_starts[number : number + 2].tolist()
            edges = self.point_starts[first : last + 1].tolist()
            annotation.polygons = [
                self.points[a:b].copy() for a, b in zip(edges[:-1], edges[1:], strict=True)
            ]
        elif mask == RLE:
            first, last = self.code_starts[number : number + 2].tolist()
            annotation.rle = {"size": size.copy(), "counts": self.codes[first:last].tobytes()}
        if self.flags[number] & FLAG_KEYPOINTS:
            first, last = self.keypoint_starts[number : number + 2].tolist()
            annotation.keypoints = self.keypoints[first:last].copy()


def pack(images: Iterable[LabelledImage]) -> PackedLabels:
    """The labels of `images`, which are gone through once.

    Raises:
        ValueError: an RLE of another size than its image.
    """
    packer = _Packer()
    for image in images:
        packer.add(image)
    return packer.packed()


class _Packer:
    """The arrays of `PackedLabels` while they grow."""

    def __init__(self) -> None:
        self.heads, self.codes = bytearray(), bytearray()
        self.masks, self.flags = bytearray(), bytearray()
        self.boxes, self.areas, self.points, self.keypoints = (array("d") for _ in range(4))
        self.labels, self.sizes = array("q"), array("q")
        self.head_starts, self.object_starts, self.ring_starts = (array("q", [0]) for _ in range(3))
        self.point_starts, self.code_starts, self.keypoint_starts = (array("q", [0]) for _ in range(3))

    def add(self, image: LabelledImage) -> None:
        """Append one image."""
        self.heads += _head(image)
        self.head_starts.append(len(self.heads))
        self.sizes.extend(image.size)
        for annotation in image.annotations:
            self._add_object(annotation, (image.height, image.width))
        self.object_starts.append(len(self.labels))

    def _add_object(self, annotation: Annotation, size: tuple[int, int]) -> None:
        self.boxes.extend(annotation.box)
        self.areas.append(annotation.area)
        self.labels.append(annotation.label)
        flags = FLAG_CROWD if annotation.crowd else 0
        mask = BOX_ONLY
        if annotation.polygons is not None:
            mask = POLYGONS
            for ring in annotation.polygons:
                self.points.frombytes(np.ascontiguousarray(ring, np.float64).data.cast("B"))
                self.point_starts.append(len(self.points) // 2)
        elif annotation.rle is not None:
            mask = RLE
            self.codes += _counts(annotation.rle, size)
        if annotation.keypoints is not None:
            flags |= FLAG_KEYPOINTS
            self.keypoints.frombytes(np.ascontiguousarray(annotation.keypoints, np.float64).data.cast("B"))
        self.masks.append(mask)
        self.flags.append(flags)
        self.ring_starts.append(len(self.point_starts) - 1)
        self.code_starts.append(len(self.codes))
        self.keypoint_starts.append(len(self.keypoints) // 3)

    def packed(self) -> PackedLabels:
        """What was added."""
        found = {field.name: _as_array(getattr(self, field.name)) for field in fields(PackedLabels)}
        for name, columns in (("sizes", 2), ("boxes", 4), ("points", 2), ("keypoints", 3)):
            found[name] = found[name].reshape(-1, columns)
        return PackedLabels(**found)


def _head(image: LabelledImage) -> bytes:
    """Ids may be text or numbers of any length, so they are not in arrays."""
    path = None if image.path is None else str(image.path)
    ids = [annotation.id for annotation in image.annotations]
    head = [image.image_id, image.file_name, path, image.not_exhaustive, image.negative, ids]
    return json.dumps(head).encode("ascii")


def _counts(rle: Rle, size: tuple[int, int]) -> bytes:
    if tuple(rle["size"]) != size:
        raise ValueError(f"an RLE of size {rle['size']} in an image of {list(size)}")
    counts: str | bytes = rle["counts"]
    return counts.encode("ascii") if isinstance(counts, str) else counts


def _as_array(values: bytearray | array[int] | array[float]) -> np.ndarray:
    kinds = {"d": np.float64, "q": np.int64}
    kind = kinds[values.typecode] if isinstance(values, array) else np.uint8
    return np.frombuffer(values, kind) if len(values) else np.zeros(0, kind)  # an empty buffer is refused
