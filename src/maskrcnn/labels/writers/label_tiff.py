"""Label images of any size: a TIFF of uint32 object numbers, 0 for background, beside the images.

A pixel belongs to one object: of a model's to the one of the best score, else to the first that comes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np

from maskrcnn.errors import UserError
from maskrcnn.files import new_file
from maskrcnn.labels.annotation_masks import annotation_window
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.labels.writers.left_out import LeftOut

BYTES = 4  # of a pixel


class LabelTiffWriter(FormatWriter):
    """SPLIT/images and SPLIT/labels.

    Pixels are written into the file where they belong, not compressed: of an image of any size only the
    objects of one `add` are in memory, and where the drive knows sparse files background takes no room.
    """

    flat = True
    with_images = False  # numbers say something without them

    def __init__(
        self, folder: Path, left_out: LeftOut, *, tolerance: float = 0.0, drafts: bool = False
    ) -> None:
        """
        Raises:
            UserError: tifffile is not installed.
        """
        super().__init__(folder, left_out, tolerance=tolerance, drafts=drafts)
        if find_spec("tifffile") is None:
            raise UserError("labels: needs tifffile; pip install 'maskrcnn[tiff]'")
        self._new = contextlib.ExitStack()
        self._path: Path | None = None  # the file in work

    def image_folder(self, split: str) -> Path:
        return self.folder / split / "images"

    def own_file(self, split: str, name: str) -> Path:
        return (self.folder / split / "labels" / name).with_suffix(".tif")

    def begin(self, split: str, name: str, image: LabelledImage, info: DatasetInfo) -> None:
        import tifffile

        self.close()
        super().begin(split, name, image, info)
        self._path = path = self._new.enter_context(new_file(self.own_file(split, name), flush=False))
        self._begin = int(tifffile.memmap(path, shape=image.size, dtype=np.uint32).offset)
        self._scores = [-math.inf]  # by number; of the background
        self._pixels = [0]  # that each still has

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        assert self._path is not None
        # not mapped into memory: where the disk is full, that ends the process without a line
        with self._path.open("r+b") as file:
            for annotation, score in zip(annotations, scores or [0.0] * len(annotations), strict=True):
                if not self.left_out.is_crowd(annotation):
                    self._draw(annotation, score, file)

    def end(self) -> None:
        if hidden := self._pixels[1:].count(0):
            self.left_out.note("object hidden by others", hidden)
        self._new.close()
        self._path = None

    def leave_out(self) -> None:
        self.close()

    def close(self) -> None:
        if self._path is not None:  # of an image that has not ended nothing stays
            self._new.pop_all()
            self._path.unlink(missing_ok=True)
            self._path = None

    def _draw(self, annotation: Annotation, score: float, file: BinaryIO) -> None:
        self.left_out.note_keypoints(annotation)
        window = annotation_window(annotation, self.image)
        if window is None:
            self.left_out.note("object without a mask")
            return
        if len(self.info.classes) > 1:
            self.left_out.note("class name")
        x0, y0, bitmap = window
        rows = y0 + np.arange(bitmap.shape[0])
        places = (self._begin + BYTES * (rows * self.image.width + x0)).tolist()
        part = np.array([_read_row(file, place, bitmap.shape[1]) for place in places], np.uint32)
        part = part.reshape(bitmap.shape)  # of an empty mask too
        weaker = [number for number in np.unique(part[bitmap]) if self._scores[number] < score]
        own = bitmap & np.isin(part, weaker)
        self.left_out.note("pixels that two objects share", int(np.count_nonzero(part[bitmap])))
        for number, lost in zip(*np.unique(part[own], return_counts=True), strict=True):
            self._pixels[number] -= int(lost)
        part[own] = len(self._scores)
        self._scores.append(score)
        self._pixels.append(int(own.sum()))
        for place, row in zip(places, part, strict=True):
            file.seek(place)
            file.write(row.tobytes())


def _read_row(file: BinaryIO, place: int, width: int) -> np.ndarray:
    file.seek(place)
    return np.frombuffer(file.read(BYTES * width), np.uint32)
