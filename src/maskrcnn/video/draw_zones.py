"""Zones and their counts drawn on a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from maskrcnn.images.draw import SUBPIXEL, Style, fixed
from maskrcnn.images.font import with_font
from maskrcnn.video.counting import Row
from maskrcnn.video.zones import Zone

LIGHT, DARK = (255, 255, 255), (20, 20, 20)
FILL = 0.12  # opacity of an area
MOST_CLASSES = 4  # that a zone's tag names


def draw_zones(pixels: np.ndarray, zones: Sequence[Zone], rows: Iterable[Row]) -> np.ndarray:
    """The frame with its zones: white lines with an arrow to where "in" is, bright areas, and their counts.

    Args:
        pixels: uint8 (H, W, 3) RGB; not changed.
        rows: the counts, as of `Counter.rows`.

    Returns:
        uint8 (H, W, 3).
    """
    canvas = np.ascontiguousarray(pixels).copy()
    style = Style.of(canvas.shape[0], canvas.shape[1], 1)
    thick = 2 * style.outline
    for zone in zones:
        points = fixed(zone.points - 0.5)  # OpenCV's whole coordinates are pixel centres
        if zone.kind == "polygon":
            bright = cv2.fillPoly(canvas.copy(), [points], LIGHT, cv2.LINE_AA, SUBPIXEL)
            canvas = cv2.addWeighted(canvas, 1 - FILL, bright, FILL, 0)
        for colour, width in ((DARK, thick + 2 * style.outline), (LIGHT, thick)):
            cv2.polylines(canvas, [points], zone.kind == "polygon", colour, width, cv2.LINE_AA, SUBPIXEL)
            if zone.kind == "line":
                start, tip = (fixed(point - 0.5).tolist() for point in _arrow(zone.points, 2 * style.letters))
                cv2.arrowedLine(canvas, start, tip, colour, width, cv2.LINE_AA, SUBPIXEL, 0.4)
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    every = list(rows)
    for zone in zones:
        _tag(pen, zone, [row for row in every if row.zone == zone.name], style.letters, image.size)
    return np.asarray(image)


def _arrow(points: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """From the middle of a line's longest part, that far to its right, which is "in"."""
    along = np.diff(points, axis=0)
    longest = int(np.argmax(np.hypot(*along.T)))
    middle = points[longest] + along[longest] / 2
    right = np.array([-along[longest, 1], along[longest, 0]]) / np.hypot(*along[longest])
    return middle, middle + length * right


def _tag(pen: ImageDraw.ImageDraw, zone: Zone, rows: list[Row], letters: int, size: tuple[int, int]) -> None:
    """A zone's name and counts: above a line, below an area, where they hide least of who is there."""
    texts = [zone.name, *(_counts(row) for row in rows[:MOST_CLASSES])]
    if len(rows) > MOST_CLASSES:
        texts.append(f"and {len(rows) - MOST_CLASSES} classes more")
    lines = [with_font(text, letters) for text in texts]
    pad = max(3, letters // 4)
    tall = max(font.getbbox("Ág")[3] for _, font in lines) + pad // 2
    wide = max(font.getlength(text) for text, font in lines) + 2 * pad
    high = tall * len(lines) + pad
    low, end = zone.points.min(axis=0), zone.points.max(axis=0)
    x = zone.points[np.argmin(zone.points[:, 1]), 0] if zone.kind == "line" else (low[0] + end[0]) / 2
    left = float(np.clip(x - wide / 2, 0, max(0, size[0] - wide)))
    top = float(
        np.clip(low[1] - high - pad if zone.kind == "line" else end[1] + pad, 0, max(0, size[1] - high))
    )
    box = (left, top, left + wide, top + high)
    pen.rounded_rectangle(box, radius=pad, fill=DARK, outline=LIGHT)
    for number, (text, font) in enumerate(lines):
        pen.text(
            (left + pad, top + pad / 2 + (number + 0.5) * tall), text, font=font, fill=LIGHT, anchor="lm"
        )


def _counts(row: Row) -> str:
    name = f"{row.name}: " if row.name else ""
    inside = "" if row.inside is None else f"{row.inside} inside, "
    return f"{name}{inside}{row.entered} in, {row.left} out"
