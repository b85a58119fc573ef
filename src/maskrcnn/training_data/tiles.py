"""Large images as overlapping tiles: a scan of 10,000 x 10,000 pixels trains in the memory of its tiles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maskrcnn.config.data import TilesConfig
from maskrcnn.images.multichannel import ARRAY_SUFFIX, open_array
from maskrcnn.images.tiles import Window, tile_windows
from maskrcnn.labels.file_dataset import FileDataset
from maskrcnn.labels.image_files import refuse_other_size
from maskrcnn.labels.problem_kinds import ProblemKind
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.training_data.crop import crop_annotation, extent
from maskrcnn.training_data.decoded import DecodedImages, decode_apart

GOLDEN = 0.618034  # multiples of it spread evenly between whole numbers
WHOLE = 1 - 1e-9  # a share, but for rounding


class TiledDataset(Dataset):
    """A data set whose images are tiles of another's images, or the whole of one that fits into a tile.

    An object is one of a tile where the tile shows at least `visible` of it, measured against the tile that
    shows most of it; so every object is one of some tile, also one that is larger than a tile. What other
    tiles show of it is a crowd region there: neither object nor background.
    """

    def __init__(
        self,
        dataset: Dataset,
        tiles: TilesConfig,
        *,
        channels: int = 3,
        decoded: DecodedImages | None = None,
        keep_empty: bool = False,
    ) -> None:
        """
        Args:
            dataset: images with a path are read from it.
            channels: as `dataset` gives them.
            decoded: where decoded images are kept; None: each tile decodes its image.
            keep_empty: every tile without an object, whatever `tiles.empty` says.
        """
        self.dataset, self.tiles, self.channels = dataset, tiles, channels
        self.info = replace(dataset.info, problems=dataset.problems.copy())
        self.counts: Counter[str] = Counter()
        self._decoded = decoded
        self._share = 1.0 if keep_empty else tiles.empty
        places: list[tuple[int, int, int, int, int]] = []
        self._labels = FileDataset(self._crop_all(places), self.info)
        # image, then left, top, width and height of the tile; width 0 for a whole image
        self._places = np.array(places, np.int64).reshape(-1, 5)

    def __len__(self) -> int:
        return len(self._places)

    def image(self, index: int) -> LabelledImage:
        """Labels of the tile at `index`, in its pixels."""
        return self._labels.image(index)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the image at `index`."""
        return self._labels.size(index)

    def pixels(self, index: int) -> np.ndarray:
        """The tile at `index`: uint8 (H, W, C).

        Raises:
            DataError: its image cannot be read, or is not of the size or the channels that were labelled.
        """
        source, left, top, width, height = self._places[index].tolist()
        if not width:
            return self.dataset.pixels(source)
        # not the image with all its labels, which may be many
        name, size = self._labels.packed.path(index), self.dataset.size(source)
        path = None if name is None else Path(name)
        file = self._array_file(path, size)
        if path is None or file is None:
            return self.dataset.pixels(source)[top : top + height, left : left + width].copy()
        if not file.exists():
            decode_apart(path, self.channels, file, self.info.value_range)
        pixels = open_array(file)
        if pixels.shape[:2] != size:
            refuse_other_size(self.dataset.image(source), *pixels.shape[:2])
        # a copy: the rest is never in memory
        return np.array(pixels[top : top + height, left : left + width])

    @property
    def sources(self) -> np.ndarray:
        """(n,) int64: the index of the image that each tile is of."""
        return self._places[:, 0]

    @property
    def line(self) -> str:
        """What was cut, for the terminal."""
        count, side = self.counts, self.tiles.side
        return (
            f"{self.name}: {count['cut']} of {len(self.dataset)} images cut, {count['tiles']} tiles of "
            f"{side} x {side}, "
            f"overlapping by {self.tiles.overlap} or more; of {count['empty']} tiles without an object "
            f"{count['empty kept']} are used; {count['views']} views of {count['objects']} objects, "
            f"{count['parts']} of them of a part, and {count['remnants']} remnants that are ignored"
        )

    def _crop_all(self, places: list[tuple[int, int, int, int, int]]) -> Iterator[LabelledImage]:
        """Every tile that is used, and where it lies, appended to `places`."""
        for source in range(len(self.dataset)):
            image = self.dataset.image(source)
            if max(image.height, image.width) <= self.tiles.side:
                places.append((source, 0, 0, 0, 0))
                yield image
                continue
            self.counts["cut"] += 1
            self.counts["objects"] += sum(not a.crowd for a in image.annotations)
            if self._array_file(image.path, image.size) is None and image.path is not None:
                self.counts["not kept"] += 1
            for window, parts in crop_tiles(image, self.tiles):
                if self._used(parts):
                    places.append((source, window.left, window.top, window.width, window.height))
                    for part in parts:
                        if part.remnant:
                            record = f"annotation {part.annotation.id} of image {image.file_name!r}"
                            self.problems.note(ProblemKind.REMNANT, record, image.file_name)
                    yield tile_image(image, window, parts)

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

    def _array_file(self, path: Path | None, size: tuple[int, int]) -> Path | None:
        """The array file of an image's pixels, there or to come; None where each tile decodes the image."""
        if path is None:
            return None
        if path.suffix.lower() == ARRAY_SUFFIX:
            array = open_array(path)
            if array.dtype == np.uint8 and array.shape[2] == self.channels:
                return path
        if self._decoded is None:
            return None
        return self._decoded.reserve(path, self.channels, math.prod(size))


@dataclass
class Part:
    """What a tile shows of an object."""

    annotation: Annotation  # in the tile's pixels
    share: float  # of the object
    remnant: bool  # too little of it: `annotation` is a crowd region then


def crop_tiles(image: LabelledImage, tiles: TilesConfig) -> list[tuple[Window, list[Part]]]:
    """All tiles of an image with what they show."""
    windows = tile_windows(image.height, image.width, tiles.side, tiles.overlap)
    extents = np.array([extent(a) for a in image.annotations], np.float64).reshape(-1, 4)
    most = np.zeros(len(extents))  # of each object in any tile
    shown: list[list[tuple[int, Annotation, float]]] = []
    for window in windows:
        x0, y0, x1, y1 = window.box
        near = (extents[:, 0] < x1) & (extents[:, 2] > x0) & (extents[:, 1] < y1) & (extents[:, 3] > y0)
        parts = [(int(i), crop_annotation(image.annotations[i], window)) for i in np.flatnonzero(near)]
        shown.append([(i, *part) for i, part in parts if part is not None])
        for i, _, share in shown[-1]:
            most[i] = max(most[i], share)
    least = tiles.visible * most * WHOLE
    return [
        (window, [_judged(part, share, bool(share >= least[i])) for i, part, share in parts])
        for window, parts in zip(windows, shown, strict=True)
    ]


def _judged(annotation: Annotation, share: float, enough: bool) -> Part:
    """What a tile shows of an object, as an object or as a region to ignore."""
    if enough or annotation.crowd:
        return Part(annotation, share, False)
    return Part(replace(annotation, crowd=True), share, True)


def tile_image(image: LabelledImage, window: Window, parts: list[Part]) -> LabelledImage:
    """The labels of a tile, which is an image of its own."""
    here = {part.annotation.label for part in parts}
    negative = image.negative
    if negative is not None:
        # of a class that was labelled everywhere in the image there is none here
        elsewhere = {a.label for a in image.annotations} - here - set(image.not_exhaustive)
        negative = sorted({*negative, *elsewhere})
    place = f"{window.left},{window.top}"
    return replace(
        image,
        image_id=f"{image.image_id}@{place}",
        file_name=f"{image.file_name} at {place}",
        height=window.height,
        width=window.width,
        annotations=[part.annotation for part in parts],
        negative=negative,
    )
