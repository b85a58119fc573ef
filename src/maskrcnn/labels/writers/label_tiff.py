"""Label images of any size: a TIFF of uint32 object numbers, 0 for background, beside the images.

A pixel belongs to one object: the first that comes, which of a model's is the best.
"""

from __future__ import annotations

import contextlib
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
        self._number = 0

    def add(self, annotations: Sequence[Annotation], scores: Sequence[float] | None = None) -> None:
        assert self._path is not None
        # not mapped into memory: where the disk is full, that ends the process without a line
        with self._path.open("r+b") as file:
            for annotation in annotations:
                if not self.left_out.is_crowd(annotation):
                    self._draw(annotation, file)

    def end(self) -> None:
        self._new.close()
        self._path = None

    def leave_out(self) -> None:
        self.close()

    def close(self) -> None:
        if self._path is not None:  # of an image that has not ended nothing stays
            self._new.pop_all()
            self._path.unlink(missing_ok=True)
            self._path = None

    def _draw(self, annotation: Annotation, file: BinaryIO) -> None:
        self.left_out.note_keypoints(annotation)
        window = annotation_window(annotation, self.image)
        if window is None:
            self.left_out.note("object without a mask")
            return
        self._number += 1
        if len(self.info.classes) > 1:
            self.left_out.note("class name")
        x0, y0, bitmap = window
        rows = y0 + np.arange(bitmap.shape[0])
        places = (self._begin + BYTES * (rows * self.image.width + x0)).tolist()
        part = np.array([_read_row(file, place, bitmap.shape[1]) for place in places], np.uint32)
        part = part.reshape(bitmap.shape)  # of an empty mask too
        free = bitmap & (part == 0)
        self.left_out.note("pixels that two objects share", int(bitmap.sum() - free.sum()))
        if not free.any():
            self.left_out.note("object hidden by others")
        part[free] = self._number
        for place, row in zip(places, part, strict=True):
            file.seek(place)
            file.write(row.tobytes())


def _read_row(file: BinaryIO, place: int, width: int) -> np.ndarray:
    file.seek(place)
    return np.frombuffer(file.read(BYTES * width), np.uint32)
