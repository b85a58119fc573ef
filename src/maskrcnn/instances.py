"""What was found in one image, in that image's own pixels: the object between the network and every use of
it.

Boxes are xyxy, continuous and half-open. Masks stay the small probability maps that the network made until a
form of them is asked for, and each is then pasted inside its own box only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import UserError
from maskrcnn.masks.paste import Window, paste_edges, paste_windows, window_edges
from maskrcnn.masks.polygons import bitmap_rings, simplified_ring
from maskrcnn.masks.rle import Rle, edges_rle

if TYPE_CHECKING:
    from PIL import Image
    from supervision import Detections

    from maskrcnn.images.draw import Colours

PER_OBJECT = (
    "boxes",
    "scores",
    "labels",
    "masks",
    "keypoints",
    "keypoint_scores",
    "mask_scores",
    "class_ids",
    "track_ids",
)
Index = int | slice | list[int] | np.ndarray


@dataclass(eq=False)
class Masks:
    """N masks of one image."""

    probabilities: np.ndarray  # (N, m, m) float32
    boxes: np.ndarray  # (N, 4) float32 xyxy: what each map covers; may reach outside the image
    size: tuple[int, int]  # height and width of the image
    threshold: float = 0.5  # a pixel is the object's from this probability on
    # masks that are known by their pixels, by row: x0, y0, bool (h, w); their probabilities are not used
    known: dict[int, Window] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.probabilities)

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal."""
        return isinstance(other, Masks) and _same(vars(self), vars(other))

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Index) -> Masks:
        rows = _rows(index)
        places = np.arange(len(self))[rows].tolist()
        known = {new: self.known[old] for new, old in enumerate(places) if old in self.known}
        return Masks(self.probabilities[rows], self.boxes[rows], self.size, self.threshold, known)

    def windows(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Each mask as (x0, y0, bool (h, w)): the part of the image that its box touches, and nothing outside
        it.

        One after the other, so that of any number of masks one window is in memory.
        """
        pasted = paste_windows(self.probabilities, self.boxes, *self.size, self.threshold)
        return (self.known.get(row, window) for row, window in enumerate(pasted))

    def edges(self) -> Iterator[np.ndarray]:
        """Each mask as the places, column by column, where its runs of pixels begin and end in turn; see
        `paste_edges`.
        """
        pasted = paste_edges(self.probabilities, self.boxes, *self.size, self.threshold)
        for row, edges in enumerate(pasted):
            yield window_edges(*self.known[row], self.size[0]) if row in self.known else edges

    def bitmaps(self) -> np.ndarray:
        """bool (N, H, W): N whole images in memory; for large images prefer `rle` or `windows`."""
        bitmaps = np.zeros((len(self), *self.size), dtype=bool)
        for bitmap, (x0, y0, window) in zip(bitmaps, self.windows(), strict=True):
            bitmap[y0 : y0 + window.shape[0], x0 : x0 + window.shape[1]] = window
        return bitmaps

    def rle(self) -> list[Rle]:
        """COCO's compressed form, one dict each: size [H, W] and counts as bytes."""
        return [edges_rle(edges, *self.size) for edges in self.edges()]

    def polygons(self, tolerance: float = 0.0) -> list[list[np.ndarray]]:
        """For each mask its outer rings, float32 (n, 2) of x, y along the edges of its pixels, largest first.

        A ring has at least three points; holes are not described, so an RLE says more than these.

        Args:
            tolerance: pixels that a ring may be off the edges, for fewer points (`simplified_ring`).
        """
        return [_outer_rings(window, tolerance) for window in self.windows()]

    def enlarged(self, factor: int) -> Masks:
        """The same masks in an image `factor` times as large."""
        size = (self.size[0] * factor, self.size[1] * factor)
        known = {
            row: (x0 * factor, y0 * factor, bitmap.repeat(factor, axis=0).repeat(factor, axis=1))
            for row, (x0, y0, bitmap) in self.known.items()
        }
        return replace(self, boxes=self.boxes * factor, size=size, known=known)

    def expected_iou(self) -> np.ndarray:
        """float32 (N,): the IoU of each mask with the true one that its probabilities let expect, 0 to 1.

        Of the pixels that are taken for the object's, as many as their probabilities sum up to are in both;
        in either are all of them, and of the others as many as theirs sum up to. That is the ratio of the two
        expectations, over the map's cells.
        """
        chosen = self.probabilities >= self.threshold
        both = (self.probabilities * chosen).sum(axis=(1, 2))
        either = np.where(chosen, 1, self.probabilities).sum(axis=(1, 2))
        return (both / np.maximum(either, 1e-9)).astype(np.float32)

    def areas(self) -> np.ndarray:
        """int64 (N,): pixels of each mask."""
        return np.array([(edges[1::2] - edges[::2]).sum() for edges in self.edges()], dtype=np.int64)


@dataclass(eq=False, repr=False)
class Instances:
    """N objects of one image, best first."""

    boxes: np.ndarray  # (N, 4) float32 xyxy, inside the image
    scores: np.ndarray  # (N,) float32, 0 to 1
    labels: np.ndarray  # (N,) int64: index into the model's classes
    names: list[str]  # N class names
    size: tuple[int, int]  # height and width of the image
    masks: Masks | None = None
    keypoints: np.ndarray | None = None  # (N, K, 3) float32: x, y, score
    keypoint_schema: KeypointSchema | None = None
    # (N,) float32, 0 to 1: score times the mean score of the points, where these are expected OKS (`decode`
    # "oks")
    keypoint_scores: np.ndarray | None = None
    # (N,) float32, 0 to 1: score times the IoU expected of the mask (`test.mask_rank` "expected_iou")
    mask_scores: np.ndarray | None = None
    path: Path | None = None  # of the image, where it has one
    pixels: np.ndarray | None = field(default=None, repr=False)  # (H, W, C) uint8, for `plot`
    channels: int = 3  # of the image
    # of the image's samples, where these have more than 8 bits
    value_range: tuple[float, float] | None = None
    # (N,) int64: the class of each in the user's own file; None: labels + 1
    class_ids: np.ndarray | None = None
    track_ids: np.ndarray | None = None  # (N,) int64: the same object's in every frame of a video

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        """One line: how many of which class, on what."""
        counts = ", ".join(f"{count} {name}" for name, count in Counter(self.names).most_common())
        parts = [name for name in ("masks", "keypoints", "track_ids") if getattr(self, name) is not None]
        on = f" of {self.path.name}" if self.path else ""
        return (
            f"<Instances: {counts or 'no objects'}; {' and '.join(['boxes', *parts])}; "
            f"image{on} {self.size[1]} x {self.size[0]}>"
        )

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal, those of the image (`path`, `pixels`) too."""
        return isinstance(other, Instances) and _same(vars(self), vars(other))

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Index) -> Instances:
        """Some of the objects: by position (which gives N = 1), slice, list of positions or boolean array."""
        rows = _rows(index)
        places = np.arange(len(self))[rows]
        chosen: dict[str, Any] = {name: getattr(self, name) for name in PER_OBJECT}
        chosen = {name: None if values is None else values[rows] for name, values in chosen.items()}
        return replace(self, names=[self.names[place] for place in places], **chosen)

    def enlarged(self, factor: int) -> Instances:
        """The same objects in an image `factor` times as large, whose pixels are not known."""
        return replace(
            self,
            boxes=self.boxes * factor,
            size=(self.size[0] * factor, self.size[1] * factor),
            masks=None if self.masks is None else self.masks.enlarged(factor),
            keypoints=None if self.keypoints is None else self.keypoints * (factor, factor, 1),
            path=None,
            pixels=None,
        )

    def plot(
        self,
        *,
        labels: bool = True,
        scores: bool = True,
        boxes: bool = True,
        masks: bool = True,
        keypoints: bool = True,
        line_width: int | None = None,
        colours: Colours = None,
        enlarge: bool = False,
    ) -> Image.Image:
        """The image, at its own size, with the objects drawn on it.

        Args:
            labels, scores, boxes, masks, keypoints: what is drawn.
            line_width: of boxes and outlines, pixels; None: by the size of the image.
            colours: None: each object or track has its own; "class": each class; a list of colours, taken in
                turn; or class names with their colours. A colour is (red, green, blue) or a name, "#ff8800".
            enlarge: make an image smaller than 480 pixels larger, by a whole factor, so that names can be
                read.

        Raises:
            UserError: neither the pixels nor the file of the image are known, or no such colour or width.
            DataError: its file cannot be read any more.
        """
        from maskrcnn.images.draw import draw_instances

        return draw_instances(
            self._pixels("plot"),
            self,
            labels=labels,
            scores=scores,
            boxes=boxes,
            masks=masks,
            keypoints=keypoints,
            line_width=line_width,
            colours=colours,
            enlarge=enlarge,
        )

    def show(self, **options: Any) -> None:
        """Open `plot` in the system's image viewer; in a notebook the object itself is shown.

        Raises:
            UserError, DataError: as `plot`.
        """
        self.plot(**options).show()

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: `plot`, or the line alone where the image is not known."""
        if self.pixels is None and (self.path is None or not self.path.is_file()):
            return None
        file = BytesIO()
        self.plot(enlarge=True).save(file, "PNG")
        return file.getvalue()

    def crops(self, *, masked: bool = False) -> list[np.ndarray]:
        """Each object cut from its image: uint8 (h, w, C), the pixels that its box touches.

        Args:
            masked: what is not the object's is 0.

        Raises:
            UserError: the image is not known, or masks are asked of a model without them.
            DataError: its file cannot be read any more.
        """
        pixels, crops = self._pixels("crops"), []
        if masked and self.masks is None:
            raise UserError("crops: these objects have no masks; leave out masked=True")
        windows = self.masks.windows() if masked and self.masks is not None else [None] * len(self)
        for box, window in zip(self.boxes, windows, strict=True):
            (x0, y0), (x1, y1) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
            crop = pixels[y0:y1, x0:x1].copy()
            if window is not None:
                inside = np.zeros(crop.shape[:2], bool)
                left, top, bitmap = window
                # the window reaches a little beyond the box, or less far where the mask does
                part = bitmap[max(0, y0 - top) : max(0, y1 - top), max(0, x0 - left) : max(0, x1 - left)]
                down, right = max(0, top - y0), max(0, left - x0)
                inside[down : down + part.shape[0], right : right + part.shape[1]] = part
                crop[~inside] = 0
            crops.append(crop)
        return crops

    def _pixels(self, wanted_by: str) -> np.ndarray:
        """The image, from memory or its file."""
        from maskrcnn.images.read import read_image

        if self.pixels is not None:
            return self.pixels
        if self.path is None:
            raise UserError(
                f"{wanted_by}: these instances have no image; set found.pixels (H, W, C) or found.path"
            )
        return read_image(self.path, self.channels, self.value_range)

    def simplify(self, tolerance: float = 0.5) -> list[list[np.ndarray]]:
        """Each object's outline for a person to edit: its outer rings, float32 (n, 2) of x, y, largest first.

        At half a pixel a quarter of the points are left, and IoU with the mask stays above 0.98.

        Args:
            tolerance: pixels that an outline may be off the edges of the mask's pixels.

        Raises:
            UserError: a model without masks, or a tolerance below 0.
        """
        if self.masks is None:
            raise UserError("simplify: these objects have no masks, so there is no outline to simplify")
        if not (isinstance(tolerance, Real) and tolerance >= 0):
            raise UserError(f"simplify: tolerance={tolerance!r:.40}: give pixels, 0 or more")
        return self.masks.polygons(float(tolerance))

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """COCO results, one plain dict for each object, ready for JSON.

        `bbox` is x, y, width, height; `segmentation` is RLE with counts as text; `keypoints` is flat x, y,
        score, where x and y are pixel indices as in COCO's labels: half a pixel less than ours;
        `segmentation_score` and `keypoints_score`, where there are any, rank the objects when masks and
        keypoints are evaluated. `track_id` is
        there where objects were tracked.
        """
        ids = self.labels + 1 if self.class_ids is None else self.class_ids
        masks = [None] * len(self) if self.masks is None else self.masks.rle()
        results = []
        for row in range(len(self)):
            x0, y0, x1, y1 = self.boxes[row].astype(float).tolist()
            result: dict[str, Any] = {
                "image_id": image_id,
                "category_id": int(ids[row]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(self.scores[row]),
            }
            mask = masks[row]
            if mask is not None:
                result["segmentation"] = {
                    "size": list(mask["size"]),
                    "counts": mask["counts"].decode("ascii"),
                }
                if self.mask_scores is not None:
                    result["segmentation_score"] = float(self.mask_scores[row])
            if self.keypoints is not None:
                points = self.keypoints[row].astype(float) - (0.5, 0.5, 0.0)
                result["keypoints"] = points.ravel().tolist()
                if self.keypoint_scores is not None:
                    result["keypoints_score"] = float(self.keypoint_scores[row])
            if self.track_ids is not None:
                result["track_id"] = int(self.track_ids[row])
            results.append(result)
        return results

    def to_supervision(self) -> Detections:
        """The same as a `supervision.Detections`, with class names in its data; keypoints do not fit in it.

        Raises:
            UserError: supervision is not installed.
        """
        try:
            from supervision import Detections
        except ImportError:
            raise UserError("to_supervision: needs supervision; pip install supervision") from None
        return Detections(
            xyxy=self.boxes.astype(np.float32),
            confidence=self.scores.astype(np.float32),
            class_id=self.labels.astype(int),
            mask=None if self.masks is None else self.masks.bitmaps(),
            data={"class_name": np.array(self.names, dtype=str)},
        )


def _same(one: Any, other: Any) -> bool:
    """Whether two fields are equal; arrays may hold NaN."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        alike = isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.dtype == other.dtype
        return alike and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, dict | list | tuple) and type(one) is type(other) and len(one) == len(other):
        keys = one if isinstance(one, dict) else range(len(one))
        return all(
            (not isinstance(one, dict) or key in other) and _same(one[key], other[key]) for key in keys
        )
    return bool(one == other)


def _rows(index: Index) -> slice | np.ndarray:
    """An index that keeps the first axis, whatever was asked for."""
    if isinstance(index, slice):
        return index
    rows = np.atleast_1d(np.asarray(index))
    return rows.astype(np.int64) if rows.size == 0 else rows


def _outer_rings(window: Window, tolerance: float) -> list[np.ndarray]:
    """The outer rings of a bitmap at (x0, y0), largest first, around its pixels and not through their
    centres.
    """
    x0, y0, bitmap = window
    rings = [outer for outer, _ in bitmap_rings(bitmap)] if bitmap.any() else []
    return [(simplified_ring(ring, tolerance) + (x0, y0)).astype(np.float32) for ring in rings]
