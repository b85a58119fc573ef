"""What was found as label files of another tool, by the writers that `convert data` has too."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from maskrcnn.files import new_file
from maskrcnn.images.header import LARGEST
from maskrcnn.images.multichannel import ARRAY_SUFFIX
from maskrcnn.images.regions import whole_pixels
from maskrcnn.images.write import save_image
from maskrcnn.instances import Instances
from maskrcnn.labels.types import Annotation, DatasetInfo, LabelledImage
from maskrcnn.labels.writers.format_writer import FormatWriter
from maskrcnn.labels.writers.image_copy import link_image, plain_name
from maskrcnn.masks.rle import Rle, rle_area
from maskrcnn.predict.writers.writer import WrittenImage

PNG = ".png"


class LabelsWriter:
    """Label files of one format; where it wants the images beside them, they are there as links or copies.

    Files of a single image that is `done` stay: a person may have corrected them. Of an image that breaks off
    nothing stays, its link neither: without labels it would teach that there is nothing in it.
    """

    def __init__(self, writer: FormatWriter, info: DatasetInfo) -> None:
        """
        Args:
            info: of the model's classes.
        """
        self._writer, self._info = writer, info
        self._skipped = False
        self._ended = True  # the last image
        self._copy: Path | None = None  # of the image in work, beside its labels

    def begin(self, image: WrittenImage) -> None:
        self._leave_out()
        # a zarr, or one of several pages, is no file that a person could open beside its labels
        page = image.name.startswith(f"{image.path.as_posix()}[")
        of_pixels = self._writer.with_images and (page or image.path.is_dir())
        name = image.stem + (_suffix(image) if of_pixels else image.path.suffix)
        plain = plain_name(name) if self._writer.plain else name
        if plain != name:  # another image may be called that
            name = f"{plain.removesuffix(Path(plain).suffix)}-{image.number}{Path(plain).suffix}"
        own = self._writer.own_file("", name)
        self._skipped = image.done and own is not None and own.exists()
        if self._skipped:
            return
        copy = self._writer.image_folder("") / name
        # what leads to the image itself is no copy, and must stay
        own_copy = self._writer.with_images and os.path.realpath(copy) != os.path.realpath(image.path)
        self._copy = copy if own_copy else None
        if of_pixels:
            self._save_pixels(image, copy)
        elif self._writer.with_images:
            link_image(image.path, copy)
        labelled = LabelledImage(image.number, name, image.path, *image.size)
        self._writer.begin("", name, labelled, self._info)
        self._ended = False

    def add(self, found: Instances) -> None:
        if not self._skipped:
            self._writer.add(annotations_of(found), found.scores.astype(float).tolist())

    def end(self) -> None:
        if not self._skipped:
            self._writer.end()
            self._ended = True

    def close(self) -> None:
        self._leave_out()
        self._writer.close()

    def _leave_out(self) -> None:
        """Take away what there is of an image that has not ended."""
        if not self._ended:
            self._ended = True
            self._writer.leave_out()
            if self._copy is not None:
                self._copy.unlink(missing_ok=True)

    def _save_pixels(self, image: WrittenImage, path: Path) -> None:
        if image.size[0] * image.size[1] > LARGEST:
            self._writer.left_out.note("image too large to be written beside its labels")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = whole_pixels(image.pixels, image.size)
        if path.suffix == PNG:
            save_image(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), path)
        else:
            with new_file(path, flush=False) as unfinished, unfinished.open("wb") as file:
                np.save(file, pixels)


def _suffix(image: WrittenImage) -> str:
    return PNG if image.pixels.channels in (1, 3) else ARRAY_SUFFIX


def annotations_of(found: Instances) -> list[Annotation]:
    """Each object as a label: its mask as RLE, its keypoints as visible ones."""
    masks: list[Rle] | list[None] = [None] * len(found) if found.masks is None else found.masks.rle()
    annotations = []
    for row, rle in enumerate(masks):
        x0, y0, x1, y1 = found.boxes[row].astype(float).tolist()
        area = rle_area(rle) if rle is not None else 0
        points = None if found.keypoints is None else found.keypoints[row].astype(np.float64)
        if points is not None:
            points[:, 2] = 2
        annotations.append(
            Annotation(
                (x0, y0, x1, y1),
                int(found.labels[row]),
                rle=rle if area else None,  # an empty mask is none
                keypoints=points,
                area=float(area or (x1 - x0) * (y1 - y0)),
            )
        )
    return annotations
