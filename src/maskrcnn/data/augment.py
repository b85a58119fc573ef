"""Where every pixel of a picture goes on its way into the network, as one affine map, and what becomes of its colours.

A `View` is drawn once per picture; the picture, its boxes, masks and keypoints all go through the same matrix, so
labels follow exactly. The matrix scales, mirrors and shifts; it never rotates, so boxes stay boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from maskrcnn.config import AugmentConfig
from maskrcnn.errors import UserError

TILE_ZOOM = 1.25  # how far past covering its tile a picture of a mosaic may be enlarged


@dataclass
class View:
    """An axis-aligned map from the original picture's continuous coordinates to those of the network's input."""

    matrix: np.ndarray  # (2, 3) float64; the off-diagonal terms are 0
    height: int  # of the result, pixels
    width: int
    flipped: bool

    @property
    def factor(self) -> np.ndarray:
        """(2,) float64: new pixels per original pixel in x and y; x is negative when mirrored."""
        return self.matrix[[0, 1], [0, 1]]

    @property
    def shift(self) -> np.ndarray:
        """(2,) float64: where the original's corner (0, 0) lands."""
        return self.matrix[:, 2]


def check_augment(config: AugmentConfig) -> None:
    """Refuse settings that contradict each other, before training starts.

    Raises:
        UserError: names the setting and what it needs.
    """
    if (config.jitter is None) != (config.crop is None):
        missing = "crop" if config.crop is None else "jitter"
        raise UserError(
            f"data.augment.{missing} is missing: large-scale jitter needs both jitter=[0.1, 2.0] and crop=[1024, 1024]"
        )
    if config.jitter is not None and not 0 < config.jitter[0] <= config.jitter[1]:
        raise UserError(f"data.augment.jitter is {list(config.jitter)}: write [smallest, largest] scale, both above 0")
    if config.mosaic and not config.mosaic_grids:
        raise UserError("data.augment.mosaic_grids is empty: name at least one number of tiles per side")
    if config.crop is not None and min(config.crop) < 1:
        raise UserError(f"data.augment.crop is {list(config.crop)}: write [height, width] in pixels")
    if config.jitter is None and not config.short_sides:
        raise UserError("data.augment.short_sides is empty: name at least one side in pixels")


def draw_view(
    config: AugmentConfig,
    height: int,
    width: int,
    rng: np.random.Generator,
    side_rng: np.random.Generator | None = None,
) -> View:
    """A random view of a picture of `height` x `width` for training.

    Either one of `short_sides` is drawn and the whole picture is scaled to it, or (with `jitter` and `crop`) the scale
    is drawn and a window of the `crop` size is cut, padded where the picture ends (Ghiasi et al. 2021).

    Args:
        rng: what the choices derive from.
        side_rng: what the short side derives from, where pictures of a batch are to share it.
    """
    flipped = bool(rng.random() < config.flip)
    if config.jitter is None or config.crop is None:
        short = config.short_sides[int((side_rng or rng).integers(len(config.short_sides)))]
        return _view(_fit(height, width, short, config.long_side), height, width, flipped=flipped)
    scale = rng.uniform(*config.jitter) * min(config.crop[0] / height, config.crop[1] / width)
    scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
    room = np.maximum(np.subtract(scaled, config.crop), 0)
    corner = rng.integers(room + 1)
    return _view(scaled, height, width, flipped=flipped, corner=(int(corner[0]), int(corner[1])), crop=config.crop)


def draw_tile_view(
    config: AugmentConfig, height: int, width: int, tile: tuple[int, int], rng: np.random.Generator
) -> View:
    """A random view of a picture that is `tile` (height, width) large.

    The scale lies between the one at which the whole picture fits into the tile and `TILE_ZOOM` times the one at which
    it covers the tile.
    """
    flipped = bool(rng.random() < config.flip)
    ratios = tile[0] / height, tile[1] / width
    scale = np.exp(rng.uniform(np.log(min(ratios)), np.log(TILE_ZOOM * max(ratios))))
    scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
    corner = rng.integers(np.maximum(np.subtract(scaled, tile), 0) + 1)
    return _view(scaled, height, width, flipped=flipped, corner=(int(corner[0]), int(corner[1])), crop=tile)


def test_view(height: int, width: int, short_side: int, long_side: int) -> View:
    """The view of a picture at test time: short side as given unless the long side would pass `long_side`."""
    return _view(_fit(height, width, short_side, long_side), height, width)


test_view.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of the name


def warp_picture(pixels: np.ndarray, view: View) -> np.ndarray:
    """The picture as the view shows it.

    Args:
        pixels: uint8 (H, W, C).

    Returns:
        uint8 (view.height, view.width, C); 0 where the view reaches past the picture.
    """
    height, width = pixels.shape[:2]
    # the map was made from whole pixel counts, so these are exact and resize's half-pixel convention is ours
    scaled_w, scaled_h = (round(abs(f) * side) for f, side in zip(view.factor, (width, height), strict=True))
    if (scaled_h, scaled_w) != (height, width):
        shrinks = scaled_h * scaled_w < height * width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        pixels = cv2.resize(pixels, (scaled_w, scaled_h), interpolation=how).reshape(scaled_h, scaled_w, -1)
    left, top = (round(s) for s in view.shift)
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


def jitter_colour(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The picture with brightness, contrast, saturation and hue changed at random.

    At `strength` 1 brightness and contrast change by up to 40%, saturation by up to 60% and hue by up to a tenth of a
    turn. All four are linear in RGB (hue as a turn about the grey axis), so one 3 x 4 matrix does them in one pass.

    Args:
        pixels: uint8 (H, W, 3) RGB.
    """
    if strength <= 0:
        return pixels
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3) * (0.4, 0.4, 0.6)
    angle = strength * rng.uniform(-0.1, 0.1) * 2 * np.pi
    luma = np.array([0.299, 0.587, 0.114])
    # Rodrigues' formula about the axis (1, 1, 1)/sqrt 3
    turn = np.full((3, 3), (1 - np.cos(angle)) / 3) + np.cos(angle) * np.eye(3)
    turn += np.sin(angle) / np.sqrt(3) * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    grey = np.tile(luma, (3, 1))
    linear = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * grey) @ turn
    middle = brightness * (1 - contrast) * float(luma @ cv2.mean(pixels)[:3])
    return cv2.transform(pixels, np.column_stack([linear, np.full(3, middle)]))


def transform_boxes(boxes: np.ndarray, view: View) -> np.ndarray:
    """Boxes in the view's pixels, not clipped to it.

    Args:
        boxes: (n, 4) xyxy in the original's pixels.

    Returns:
        (n, 4) float64 xyxy with x1 <= x2 and y1 <= y2.
    """
    corners = boxes.reshape(-1, 2, 2) * view.factor + view.shift
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
    points = keypoints[..., :2] * view.factor + view.shift
    inside = ((points >= 0) & (points <= (view.width, view.height))).all(axis=-1) & (keypoints[..., 2] > 0)
    moved = np.concatenate([points, keypoints[..., 2:]], axis=-1)
    moved[~inside] = 0
    if not view.flipped:
        return moved
    swapped = np.empty_like(moved)
    swapped[:, flip_permutation] = moved
    return swapped


def _fit(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Height and width scaled to `short_side`, or less where the longer side would pass `long_side`."""
    scale = min(short_side / min(height, width), long_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _view(
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
