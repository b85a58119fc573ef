"""What was found in one image, in that image's own pixels: the object between the network and every use of
it.

Boxes are xyxy, continuous and half-open. Masks stay the small probability maps that the network made until a
form of them is asked for, and each is then pasted inside its own box only.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from maskrcnn.config.model import KeypointSchema
from maskrcnn.errors import DataError, UserError, one_line
from maskrcnn.files import new_file
from maskrcnn.masks.coco_result import coco_result
from maskrcnn.masks.masks import Index, Masks, chosen_rows, same
from maskrcnn.masks.packed import PackedMasks
from maskrcnn.masks.polygons import check_tolerance, window_rings

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL import Image
    from supervision import Detections

    from maskrcnn.images.draw import Colours

PER_OBJECT = (
    *("boxes", "scores", "labels", "masks", "keypoints", "keypoint_scores", "mask_scores"),
    *("class_ids", "track_ids"),
)


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
    capped: bool = False  # the image or a tile of it has as many as the model gives: there may be more

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        """One line: how many of which class, on what."""
        counts = ", ".join(f"{count} {name}" for name, count in Counter(self.names).most_common())
        parts = [name for name in ("masks", "keypoints", "track_ids") if getattr(self, name) is not None]
        on = f" of {self.path.name}" if self.path else ""
        return (
            f"<Instances: {counts or 'no objects'}{', and perhaps more' if self.capped else ''}; "
            f"{' and '.join(['boxes', *parts])}; "
            f"image{on} {self.size[1]} x {self.size[0]}>"
        )

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal, those of the image (`path`, `pixels`) too."""
        return isinstance(other, Instances) and same(vars(self), vars(other))

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, index: Index) -> Instances:
        """Some of the objects: by position (which gives N = 1), slice, list of positions or boolean array."""
        rows = chosen_rows(index)
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
            keypoints=None
            if self.keypoints is None
            else self.keypoints * np.array([factor, factor, 1], np.float32),
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
        """The image, at its own size, with the parts of the objects drawn on it that are asked for.

        Args:
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
        """Open `plot`, which has the options and errors, in the system's image viewer."""
        self.plot(**options).show()

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows: `plot`, or the line alone where the image is not known."""
        if self.pixels is None and (self.path is None or not self.path.is_file()):
            return None
        from maskrcnn.images.write import encoded

        return encoded(self.plot(enlarge=True), "PNG")

    def crops(self, *, masked: bool = False) -> list[np.ndarray]:
        """Each object cut from its image: uint8 (h, w, C), the pixels that its box touches.

        Args:
            masked: what is not the object's is 0.

        Raises:
            UserError: the image is not known, or masks are asked of a model without them.
            DataError: its file cannot be read any more.
        """
        pixels = self._pixels("crops")
        crops = [pixels[y0:y1, x0:x1].copy() for x0, y0, x1, y1 in self._whole_boxes()]
        if not masked:
            return crops
        if self.masks is None:
            raise UserError("crops: these objects have no masks; leave out masked=True")
        for crop, inside in zip(crops, self.masks.over(self._whole_boxes()), strict=True):
            crop[~inside] = 0
        return crops

    def _whole_boxes(self) -> list[list[int]]:
        """xyxy of the pixels that each box touches."""
        corners = np.concatenate([np.floor(self.boxes[:, :2]), np.ceil(self.boxes[:, 2:])], axis=1)
        return [[int(side) for side in box] for box in corners.tolist()]

    def _pixels(self, wanted_by: str) -> np.ndarray:
        """The image, from memory or its file."""
        from maskrcnn.images.header import LARGEST
        from maskrcnn.images.read import read_image
        from maskrcnn.images.regions import open_regions, whole_pixels

        if self.pixels is not None:
            return self.pixels
        if self.path is None:
            raise UserError(
                f"{wanted_by}: these instances have no image; set found.pixels (H, W, C) or found.path"
            )
        regions = open_regions(self.path, self.channels, self.value_range)  # of a zarr, a slide, a TIFF
        if regions is None:
            return read_image(self.path, self.channels, self.value_range)
        with closing(regions):
            height, width = regions.size
            if height * width > LARGEST:
                raise UserError(f"{self.path}: {width} x {height} pixels are too many; set found.pixels")
            return whole_pixels(regions, regions.size)

    def simplify(self, tolerance: float = 0.5) -> list[list[np.ndarray]]:
        """Each object's outline for a person to edit: its outer rings, float32 (n, 2) of x, y, largest first.

        At half a pixel and less the IoU with the mask stays above 0.98; a quarter of the points are left.

        Args:
            tolerance: pixels that an outline may be off the edges of the mask's pixels.

        Raises:
            UserError: a model without masks, or a tolerance that is no number of pixels.
        """
        if self.masks is None:
            raise UserError("simplify: these objects have no masks, so there is no outline to simplify")
        check_tolerance("simplify: tolerance", tolerance)
        return self.masks.polygons(float(tolerance))

    def measure(self, scale: float | None = None) -> list[dict[str, Any]]:
        """A row an object: class, score, box, shape of the mask, and brightness of the image under it; see
        `maskrcnn.masks.measure.measure`.

        Args:
            scale: micrometres per pixel, for further columns such as `area_um2`.

        Raises:
            UserError: scikit-image is not installed, or a scale that nothing can have.
        """
        from maskrcnn.masks.measure import measure

        return measure(self, scale)

    def to_pandas(self, scale: float | None = None) -> DataFrame:
        """`measure` as a pandas table, with `track_id` where objects were tracked.

        Raises:
            UserError: pandas or scikit-image is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise UserError("to_pandas: needs pandas; pip install pandas") from None
        table = DataFrame(self.measure(scale))
        if self.track_ids is not None:
            table.insert(0, "track_id", self.track_ids)
        return table

    def to_labelme(self, *, tolerance: float = 0.5) -> dict[str, Any]:
        """What LabelMe's JSON beside the image holds, ready for `json.dump`: each object's outlines, or its
        box where there are no masks.

        Args:
            tolerance: pixels that outlines may be off the masks, for fewer points.
        """
        check_tolerance("to_labelme: tolerance", tolerance)
        from maskrcnn.masks.labelme import labelme_file, labelme_shapes

        shapes: list[dict[str, Any]] = []
        windows = [None] * len(self) if self.masks is None else self.masks.windows()
        for number, (name, box, window) in enumerate(zip(self.names, self.boxes, windows, strict=True), 1):
            parts = [] if window is None else window_rings(*window, tolerance)
            if window is not None and not parts:
                continue  # a mask of no pixel
            shapes += labelme_shapes(name, number, box, parts, window)
        return labelme_file(shapes, self.path.name if self.path else "", *self.size)

    def to_fiftyone(self) -> Any:
        """The same as `fiftyone.Detections`: boxes as shares of the image, masks over their boxes.

        Raises:
            UserError: fiftyone is not installed.
        """
        try:
            from fiftyone import Detection, Detections
        except ImportError:
            raise UserError("to_fiftyone: needs fiftyone; pip install fiftyone") from None
        masks = [None] * len(self) if self.masks is None else list(self.masks.over(self._whole_boxes()))
        # a mask covers whole pixels, and so must the box that it is stretched over
        boxes = self.boxes if self.masks is None else np.array(self._whole_boxes()).reshape(-1, 4)
        shares = boxes / np.tile(self.size[::-1], 2)
        detections = []
        for row, (x0, y0, x1, y1) in enumerate(shares.astype(float).tolist()):
            detection = Detection(
                label=self.names[row],
                bounding_box=[x0, y0, x1 - x0, y1 - y0],
                confidence=float(self.scores[row]),
            )
            if self.track_ids is not None:
                detection.index = int(self.track_ids[row])
            if masks[row] is not None:
                detection.mask = masks[row]
            detections.append(detection)
        return Detections(detections=detections)

    def save(self, path: str | Path) -> None:
        """Write all but the image to a file of NumPy's (.npz), which `load` reads.

        Raises:
            UserError: another suffix.
            OSError: it cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise UserError(f"{path}: give the file the suffix .npz")
        arrays = {name: getattr(self, name) for name in PER_OBJECT if name != "masks"}
        record: dict[str, Any] = {"names": self.names, "size": self.size, "channels": self.channels}
        record |= {"path": self.path and str(self.path), "value_range": self.value_range}
        record["capped"] = self.capped
        record["schema"] = self.keypoint_schema and self.keypoint_schema.model_dump()
        if self.masks is not None:
            record["threshold"], record["known"] = self.masks.threshold, list(self.masks.known)
            arrays |= {"mask_maps": self.masks.probabilities, "mask_boxes": self.masks.boxes}
            packed = PackedMasks.of(self.masks.known.values())
            arrays |= {"known_boxes": packed.boxes, "known_words": packed.words}
        arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
        with new_file(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **{name: value for name, value in arrays.items() if value is not None})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What `save` wrote.

        Raises:
            DataError: no such file, or not one of `save`.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            record = json.loads(arrays.pop("record").tobytes())
            masks = None
            if "mask_maps" in arrays:
                packed = PackedMasks(arrays.pop("known_boxes"), arrays.pop("known_words"))
                windows = packed.windows(np.arange(len(packed)))
                known = dict(zip(record["known"], windows, strict=True))
                maps, boxes, size = arrays.pop("mask_maps"), arrays.pop("mask_boxes"), tuple(record["size"])
                masks = Masks(maps, boxes, size, record["threshold"], known)
            return cls(
                **arrays,
                names=record["names"],
                size=tuple(record["size"]),
                masks=masks,
                keypoint_schema=record["schema"] and KeypointSchema(**record["schema"]),
                path=record["path"] and Path(record["path"]),
                channels=record["channels"],
                value_range=record["value_range"] and tuple(record["value_range"]),
                capped=record.get("capped", False),
            )
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; check the name") from None
        # whatever a strange or damaged file makes of it
        except Exception as error:  # noqa: BLE001
            raise DataError(
                f"{path}: not a file of Instances.save ({one_line(error):.120}); save it again"
            ) from None

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """COCO results, one plain dict for each object, ready for JSON.

        `bbox` is x, y, width, height; `segmentation` is RLE with counts as text; `keypoints` is flat x, y,
        score, where x and y are pixel indices as in COCO's labels: half a pixel less than ours;
        `segmentation_score` and `keypoints_score`, where there are any, rank the objects when masks and
        keypoints are evaluated. `track_id` is there where objects were tracked.
        """
        ids = self.labels + 1 if self.class_ids is None else self.class_ids
        masks = None if self.masks is None else self.masks.rle()

        def at(values: np.ndarray | None, row: int) -> Any:
            return None if values is None else values[row].astype(float).tolist()

        results = []
        for row in range(len(self)):
            result = coco_result(
                image_id,
                int(ids[row]),
                at(self.boxes, row),
                at(self.scores, row),
                self.size,
                counts=None if masks is None else masks[row]["counts"],
                mask_score=at(self.mask_scores, row),
                keypoints=at(self.keypoints, row),
                keypoint_score=at(self.keypoint_scores, row),
            )
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
            tracker_id=None if self.track_ids is None else self.track_ids.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )
