"""Large pictures as overlapping tiles: a scan of 10,000 x 10,000 pixels trains in the memory of its tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskrcnn.config.data import TilesConfig
from maskrcnn.errors import DataError
from maskrcnn.images.multichannel import ARRAY_SUFFIX, open_array
from maskrcnn.labels.file_dataset import LabelledPictures
from maskrcnn.labels.image_files import size_disagreement
from maskrcnn.labels.types import Annotation, Dataset, Picture
from maskrcnn.training_data.crop import Window, cut, extent
from maskrcnn.training_data.decoded import DecodedPictures, decode_apart

REMNANT = "remnant of an object at a tile's border ignored"
GOLDEN = 0.618034  # multiples of it spread evenly between whole numbers
WHOLE = 1 - 1e-9  # a share, but for rounding


class TiledDataset:
    """A `Dataset` each of whose pictures is a tile of one of another's, or the whole of one that fits into a tile.

    An object is one of a tile where the tile shows at least `visible` of it, measured against the tile that shows most of
    it; so every object is one of some tile, also one that is larger than a tile. What other tiles show of it is a crowd
    region there: neither object nor background.
    """

    def __init__(
        self,
        dataset: Dataset,
        tiles: TilesConfig,
        *,
        channels: int = 3,
        decoded: DecodedPictures | None = None,
        keep_empty: bool = False,
    ) -> None:
        """
        Args:
            dataset: pictures with a path are read from it.
            channels: as `dataset` gives them.
            decoded: where decoded pictures are kept; None: each tile decodes its picture.
            keep_empty: every tile without an object, whatever `tiles.empty` says.
        """
        self.dataset, self.tiles, self.channels = dataset, tiles, channels
        self.name, self.classes, self.class_ids = dataset.name, dataset.classes, dataset.class_ids
        self.keypoints = dataset.keypoints
        self.repairs, self.warnings = Counter(dataset.repairs), list(dataset.warnings)
        self.counts: Counter[str] = Counter()
        self._decoded = decoded
        self._share = 1.0 if keep_empty else tiles.empty
        places: list[tuple[int, int, int, int, int]] = []
        self._labels = LabelledPictures(
            self._cut_all(places),
            name=self.name,
            classes=self.classes,
            class_ids=self.class_ids,
            keypoints=self.keypoints,
        )
        # picture, then left, top, width and height of the tile; width 0 for a whole picture
        self._places = np.array(places, np.int64).reshape(-1, 5)
        if self.counts["remnants"]:
            self.repairs[REMNANT] += self.counts["remnants"]

    def __len__(self) -> int:
        return len(self._places)

    def picture(self, index: int) -> Picture:
        """Labels of the tile at `index`, in its pixels."""
        return self._labels.picture(index)

    def pixels(self, index: int) -> np.ndarray:
        """The tile at `index`: uint8 (H, W, C).

        Raises:
            DataError: its picture cannot be read, or is not of the size or the channels that were labelled.
        """
        source, left, top, width, height = self._places[index].tolist()
        if not width:
            return self.dataset.pixels(source)
        picture = self.dataset.picture(source)
        file = self._array_file(picture)
        if file is None:
            return self.dataset.pixels(source)[top : top + height, left : left + width].copy()
        if picture.path is not None and not file.exists():
            decode_apart(picture.path, self.channels, file)
        pixels = open_array(file)
        wrong = size_disagreement(picture, pixels.shape[0], pixels.shape[1])
        if wrong:
            raise DataError(wrong)
        return np.array(pixels[top : top + height, left : left + width])  # a copy: the rest is never in memory

    @property
    def line(self) -> str:
        """What was cut, for the terminal."""
        count, side = self.counts, self.tiles.side
        return (
            f"{self.name}: {count['cut']} of {len(self.dataset)} pictures cut, {count['tiles']} tiles of {side} x {side}, "
            f"overlapping by {self.tiles.overlap} or more; of {count['empty']} tiles without an object "
            f"{count['empty kept']} are used; {count['views']} views of {count['objects']} objects, "
            f"{count['parts']} of them of a part, and {count['remnants']} remnants that are ignored"
        )

    def _cut_all(self, places: list[tuple[int, int, int, int, int]]) -> Iterator[Picture]:
        """Every tile that is used, and where it lies, appended to `places`."""
        for source in range(len(self.dataset)):
            picture = self.dataset.picture(source)
            if max(picture.height, picture.width) <= self.tiles.side:
                places.append((source, 0, 0, 0, 0))
                yield picture
                continue
            self.counts["cut"] += 1
            self.counts["objects"] += sum(not a.crowd for a in picture.annotations)
            if self._array_file(picture) is None and picture.path is not None:
                self.counts["not kept"] += 1
            for window, parts in cut_picture(picture, self.tiles):
                if self._used(parts):
                    places.append((source, window.left, window.top, window.width, window.height))
                    yield _tile(picture, window, parts)

    def _used(self, parts: list[Part]) -> bool:
        """Whether a tile is used: each with an object, and of the others the asked share, spread evenly."""
        counts = self.counts
        views = [part for part in parts if not part.annotation.crowd]
        if not views:
            counts["empty"] += 1
            if (counts["empty"] - 1) * GOLDEN % 1 >= self._share:
                return False
            counts["empty kept"] += 1
        counts["tiles"] += 1
        counts["views"] += len(views)
        counts["parts"] += sum(part.share < WHOLE for part in views)
        counts["remnants"] += sum(part.remnant for part in parts)
        return True

    def _array_file(self, picture: Picture) -> Path | None:
        """The array file that holds a picture's pixels or will hold them; None where it is decoded for each tile."""
        if picture.path is None:
            return None
        if picture.path.suffix.lower() == ARRAY_SUFFIX:
            array = open_array(picture.path)
            if array.dtype == np.uint8 and array.shape[2] == self.channels:
                return picture.path
        if self._decoded is None:
            return None
        return self._decoded.reserve(picture.path, self.channels, picture.height * picture.width)


@dataclass
class Part:
    """What a tile shows of an object."""

    annotation: Annotation  # in the tile's pixels
    share: float  # of the object
    remnant: bool  # too little of it: `annotation` is a crowd region then


def cut_picture(picture: Picture, tiles: TilesConfig) -> list[tuple[Window, list[Part]]]:
    """All tiles of a picture with what they show."""
    windows = tile_windows(picture.height, picture.width, tiles.side, tiles.overlap)
    extents = np.array([extent(a) for a in picture.annotations], np.float64).reshape(-1, 4)
    most = np.zeros(len(extents))  # of each object in any tile
    shown: list[list[tuple[int, Annotation, float]]] = []
    for window in windows:
        x0, y0, x1, y1 = window.box
        near = (extents[:, 0] < x1) & (extents[:, 2] > x0) & (extents[:, 1] < y1) & (extents[:, 3] > y0)
        parts = [(int(i), cut(picture.annotations[i], window)) for i in np.flatnonzero(near)]
        shown.append([(i, *part) for i, part in parts if part is not None])
        for i, _, share in shown[-1]:
            most[i] = max(most[i], share)
    least = tiles.visible * most * WHOLE
    return [
        (window, [_judged(part, share, bool(share >= least[i])) for i, part, share in parts])
        for window, parts in zip(windows, shown, strict=True)
    ]


def tile_windows(height: int, width: int, side: int, overlap: int) -> list[Window]:
    """Windows of `side` x `side` (less where the picture is smaller) that cover a picture, row by row.

    As few as neighbours that share at least `overlap` pixels allow, at even distances.
    """
    return [
        Window(left, top, min(side, width), min(side, height))
        for top in _starts(height, side, overlap)
        for left in _starts(width, side, overlap)
    ]


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where the tiles along a side of a picture begin."""
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [i * (length - side) // (count - 1) for i in range(count)]


def _judged(annotation: Annotation, share: float, enough: bool) -> Part:
    """What a tile shows of an object, as an object or as a region to ignore."""
    if enough or annotation.crowd:
        return Part(annotation, share, False)
    return Part(replace(annotation, crowd=True), share, True)


def _tile(picture: Picture, window: Window, parts: list[Part]) -> Picture:
    """The labels of a tile, which is a picture of its own."""
    here = {part.annotation.label for part in parts}
    negative = picture.negative
    if negative is not None:
        # of a class that was labelled everywhere in the picture there is none here
        elsewhere = {a.label for a in picture.annotations} - here - set(picture.not_exhaustive)
        negative = sorted({*negative, *elsewhere})
    place = f"{window.left},{window.top}"
    return replace(
        picture,
        image_id=f"{picture.image_id}@{place}",
        file_name=f"{picture.file_name} at {place}",
        height=window.height,
        width=window.width,
        annotations=[part.annotation for part in parts],
        negative=negative,
    )
