"""An object as LabelMe's shapes (github.com/wkentaro/labelme), and the file that holds those of an image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from maskrcnn.masks.paste import Window


def labelme_file(shapes: list[dict[str, Any]], image: str, height: int, width: int) -> dict[str, Any]:
    """What is in the JSON beside an image of that name."""
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def labelme_shapes(
    name: str,
    number: int,
    box: Sequence[float] | np.ndarray,
    parts: list[tuple[np.ndarray, list[np.ndarray]]],
    window: Window | None,
) -> list[dict[str, Any]]:
    """The shapes of one object: a polygon for each part; with holes one of type "mask"; else its box.

    Args:
        number: of the object, which its parts share.
        box: xyxy.
        parts: each an outer ring (n, 2) of x, y and its holes.
        window: the object's pixels; needed where there are holes.
    """
    common = {"label": name, "group_id": number, "description": "", "flags": {}}
    if not parts:
        x0, y0, x1, y1 = (float(v) for v in box)
        return [common | {"shape_type": "rectangle", "points": [[x0, y0], [x1, y1]], "mask": None}]
    if any(holes for _, holes in parts):
        assert window is not None
        return [common | _mask_shape(*window)]
    return [common | {"shape_type": "polygon", "points": ring.tolist(), "mask": None} for ring, _ in parts]


def _mask_shape(x0: int, y0: int, bitmap: np.ndarray) -> dict[str, Any]:
    """A PNG over the box of whole pixels around the mask; the second point is its last pixel."""
    left, top, width, height = cv2.boundingRect(bitmap.astype(np.uint8))
    x0, y0 = x0 + left, y0 + top
    buffer = io.BytesIO()
    Image.fromarray(bitmap[top : top + height, left : left + width]).save(buffer, "PNG")
    png = base64.b64encode(buffer.getvalue()).decode("ascii")
    last = [float(x0 + width - 1), float(y0 + height - 1)]
    return {"shape_type": "mask", "points": [[float(x0), float(y0)], last], "mask": png}
