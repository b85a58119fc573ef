"""Images resized, mirrored, cropped or tilted by one affine map (`View`), boxes and keypoints with them.

The image, its boxes, masks and keypoints all go through the same matrix, so labels follow exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass
class View:
    """An affine map from the original image's continuous coordinates to those of the network's input."""

    matrix: np.ndarray  # (2, 3) float64
    height: int  # of the result, pixels
    width: int
    flipped: bool  # the map mirrors: what was left is right

    @property
    def factor(self) -> np.ndarray:
        """(2,) float64: new pixels per original pixel along the original's x and y."""
        return np.linalg.norm(self.matrix[:, :2], axis=0)

    @property
    def upright(self) -> bool:
        """Whether the map neither turns nor tilts, so that boxes stay boxes."""
        return not self.matrix[[0, 1], [1, 0]].any()

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the original in the view's pixels."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]


def make_view(
    scaled: tuple[int, int],
    height: int,
    width: int,
    *,
    flipped: bool = False,
    corner: tuple[int, int] = (0, 0),
    crop: tuple[int, int] | None = None,
) -> View:
    """Scale to `scaled`, mirror, then cut `crop` from `corner` on; each pair is (vertical, horizontal)."""
    factor_y, factor_x = scaled[0] / height, scaled[1] / width
    start_x, sign = (scaled[1], -1.0) if flipped else (0, 1.0)
    matrix = np.array([[sign * factor_x, 0, start_x - corner[1]], [0, factor_y, -corner[0]]], np.float64)
    return View(matrix, *(crop or scaled), flipped)


def resized_sides(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Height and width scaled to `short_side`, or less where the longer side would pass `long_side`."""
    scale = min(short_side / min(height, width), long_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized_view(height: int, width: int, short_side: int, long_side: int) -> View:
    """The view of an image at test time: short side as given unless the long side would pass `long_side`."""
    return make_view(resized_sides(height, width, short_side, long_side), height, width)


def warp_image(pixels: np.ndarray, view: View) -> np.ndarray:
    """The image as the view shows it.

    Args:
        pixels: uint8 (H, W, C).

    Returns:
        uint8 (view.height, view.width, C); 0 where the view reaches past the image.
    """
    height, width = pixels.shape[:2]
    # the map was made from whole pixel counts, so these are exact and resize's half-pixel convention is ours
    scaled_w, scaled_h = (
        max(1, round(f * side)) for f, side in zip(view.factor, (width, height), strict=True)
    )
    if (scaled_h, scaled_w) != (height, width):
        pixels = resize_image(pixels, scaled_w, scaled_h)
    if not view.upright or view.matrix[1, 1] < 0:
        return _tilt(pixels, view.matrix / [*view.factor, 1.0], view.height, view.width)
    left, top = (round(shift) for shift in view.matrix[:, 2])
    if view.flipped:
        pixels = pixels[:, ::-1]
        left -= scaled_w
    pixels = pixels[max(0, -top) : view.height - top, max(0, -left) : view.width - left]
    if pixels.shape[:2] == (view.height, view.width):
        return np.ascontiguousarray(pixels)
    result = np.zeros((view.height, view.width, pixels.shape[2]), pixels.dtype)
    top, left = max(0, top), max(0, left)
    result[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return result


def _tilt(pixels: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image through a map (2, 3) that changes no lengths, by bilinear interpolation; 0 outside of it."""
    half = np.array([0.5, 0.5])
    # OpenCV counts from the middle of the first pixel, we from its corner
    centred = np.column_stack([matrix[:, :2], matrix[:, :2] @ half + matrix[:, 2] - half])
    return cv2.warpAffine(pixels, centred, (width, height), flags=cv2.INTER_LINEAR).reshape(height, width, -1)


def resize_image(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image (H, W, C) at another size: averaged over areas where that is smaller, else interpolated."""
    how = cv2.INTER_AREA if width * height < pixels.shape[0] * pixels.shape[1] else cv2.INTER_LINEAR
    # OpenCV averages at most four channels at a time
    parts = [np.ascontiguousarray(pixels[..., c : c + 4]) for c in range(0, pixels.shape[2], 4)]
    scaled = [
        cv2.resize(part, (width, height), interpolation=how).reshape(height, width, -1) for part in parts
    ]
    return scaled[0] if len(scaled) == 1 else np.concatenate(scaled, axis=2)


def transform_boxes(boxes: np.ndarray, view: View) -> np.ndarray:
    """Boxes in the view's pixels, not clipped to it; of a view that tilts, the boxes around the tilted ones.

    Args:
        boxes: (n, 4) xyxy in the original's pixels.

    Returns:
        (n, 4) float64 xyxy with x1 <= x2 and y1 <= y2.
    """
    corners = view.points(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def transform_keypoints(keypoints: np.ndarray, view: View, flip_permutation: list[int]) -> np.ndarray:
    """Keypoints in the view's pixels; what was left is right when the view is mirrored.

    A keypoint that is unlabelled or that the view leaves out comes back as zeros.

    Args:
        keypoints: (n, K, 3): x, y, visibility.
        flip_permutation: the index that each keypoint takes when mirrored, K of them.

    Returns:
        (n, K, 3) float64.
    """
    points = view.points(keypoints[..., :2])
    inside = ((points >= 0) & (points <= (view.width, view.height))).all(axis=-1) & (keypoints[..., 2] > 0)
    moved = np.concatenate([points, keypoints[..., 2:]], axis=-1)
    moved[~inside] = 0
    if not view.flipped:
        return moved
    swapped = np.empty_like(moved)
    swapped[:, flip_permutation] = moved
    return swapped
