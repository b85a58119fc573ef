"""An object as COCO's results have it, whichever form it was kept in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def coco_result(
    image_id: int | str,
    category_id: int,
    box: Sequence[float],
    score: float,
    size: Sequence[int],
    *,
    counts: bytes | None = None,
    mask_score: float | None = None,
    keypoints: Sequence[Sequence[float]] | None = None,
    keypoint_score: float | None = None,
) -> dict[str, Any]:
    """A plain dict, ready for JSON.

    Args:
        box: x0, y0, x1, y1.
        size: height and width of the image.
        counts: of the mask's RLE, compressed; None: no mask.
        keypoints: x, y, score of each, continuous; COCO's x and y are indices of pixels, half a pixel less.
        mask_score, keypoint_score: what ranks the object by its mask or keypoints, where there is such.
    """
    x0, y0, x1, y1 = box
    result: dict[str, Any] = {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "score": score,
    }
    if counts is not None:
        result["segmentation"] = {"size": list(size), "counts": counts.decode("ascii")}
        if mask_score is not None:
            result["segmentation_score"] = mask_score
    if keypoints is not None:
        points = [(x - 0.5, y - 0.5, score) for x, y, score in keypoints]
        result["keypoints"] = [value for point in points for value in point]
        if keypoint_score is not None:
            result["keypoints_score"] = keypoint_score
    return result
