"""An image with its labels drawn, small enough for a page."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from maskrcnn.errors import DataError
from maskrcnn.images.draw import as_shown
from maskrcnn.images.tiles import Box
from maskrcnn.images.write import encoded
from maskrcnn.labels.annotation_masks import annotation_rle
from maskrcnn.labels.types import Annotation, Dataset, LabelledImage
from maskrcnn.masks.rle import rle_bitmap
from maskrcnn.pages import as_base64

SIDE = 360  # pixels; shown at half that
COLOURS = [(255, 90, 90), (90, 200, 255), (255, 200, 60), (120, 230, 120), (220, 130, 255), (255, 150, 80)]
MARKED, OTHERS = (255, 60, 60), (90, 200, 255)
Colour = tuple[int, int, int]


def thumbnail(dataset: Dataset, index: int, box: Box | None = None) -> str | None:
    """A JPEG, base64, of an image with its labels drawn; None where it cannot be read.

    Args:
        box: of the object to show, in pixels of the image: red and its mask filled, with as much again around
            it. None: all of the image, every object in a colour of its own.
    """
    image = dataset.image(index)
    try:
        pixels = dataset.pixels(index)
    except (DataError, OSError):
        return None
    window = _window(box, *pixels.shape[:2])
    x0, y0, x1, y1 = window
    crop = Image.fromarray(np.ascontiguousarray(as_shown(pixels[y0:y1, x0:x1])))
    scale = SIDE / max(crop.size)
    crop = crop.resize((max(1, round(crop.width * scale)), max(1, round(crop.height * scale))))
    for number, annotation in enumerate(image.annotations):
        marked = annotation.box == box
        colour = MARKED if marked else OTHERS if box else COLOURS[number % len(COLOURS)]
        if marked or box is None:
            _fill_mask(crop, annotation, image, window, colour)
        _draw_outline(crop, annotation, (x0, y0), scale, colour, 3 if marked else 1)
    return as_base64(encoded(crop, "JPEG", 80))


def _fill_mask(
    crop: Image.Image,
    annotation: Annotation,
    image: LabelledImage,
    window: tuple[int, int, int, int],
    colour: Colour,
) -> None:
    rle = annotation_rle(annotation, image.height, image.width)
    if rle is not None:
        x0, y0, x1, y1 = window
        mask = Image.fromarray(rle_bitmap(rle)[y0:y1, x0:x1] * np.uint8(100)).resize(crop.size)
        crop.paste(Image.new("RGB", crop.size, colour), mask=mask)


def _draw_outline(
    crop: Image.Image,
    annotation: Annotation,
    origin: tuple[int, int],
    scale: float,
    colour: Colour,
    width: int,
) -> None:
    """The box and the keypoints."""
    draw = ImageDraw.Draw(crop, "RGBA")
    box = [(value - start) * scale for value, start in zip(annotation.box, origin * 2, strict=True)]
    draw.rectangle(box, outline=(*colour, 255), width=width)
    for x, y, visibility in [] if annotation.keypoints is None else annotation.keypoints.tolist():
        if visibility > 0:
            x, y = (x - origin[0]) * scale, (y - origin[1]) * scale
            draw.ellipse([x - 2, y - 2, x + 2, y + 2], fill=(*colour, 255), outline=(255, 255, 255, 255))


def _window(box: Box | None, height: int, width: int) -> tuple[int, int, int, int]:
    """The part of the image to show: all of it, or the box with as much again around it."""
    if box is None:
        return 0, 0, width, height
    side = max(64.0, 2 * max(box[2] - box[0], box[3] - box[1]))
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    x0, y0 = max(0, int(x - side / 2)), max(0, int(y - side / 2))
    x1, y1 = min(width, math.ceil(x + side / 2)), min(height, math.ceil(y + side / 2))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else (0, 0, width, height)
