"""Random augmentation of a training image: where each pixel goes (a `View`), and what its colours become."""

from __future__ import annotations

import cv2
import numpy as np

from maskrcnn.config.data import AugmentConfig
from maskrcnn.images.view import View, make_view, resized_sides

TILE_ZOOM = 1.25  # how far past covering its tile an image of a mosaic may be enlarged
PASTED = (0.3, 1.0)  # scale of the image that objects are pasted from, where 1 fits it into the whole canvas
# a quarter turn clockwise, half a turn, and a quarter back: of whole numbers, so that warping is exact
TURNS = ([[0.0, -1.0], [1.0, 0.0]], [[-1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [-1.0, 0.0]])


def draw_view(
    config: AugmentConfig,
    height: int,
    width: int,
    rng: np.random.Generator,
    side_rng: np.random.Generator | None = None,
) -> View:
    """A random view of an image of `height` x `width` for training.

    Either one of `short_sides` is drawn and the whole image is scaled to it, or (with `jitter` and `crop`)
    the scale is drawn and a window of the `crop` size is cut, padded where the image ends (Ghiasi et al.
    2021). With `turn` the image is first turned by a random quarter, with `rotate` the view is tilted about
    its middle at the end.

    Args:
        rng: what the choices derive from.
        side_rng: what the short side derives from, where images of a batch are to share it.
    """
    flipped = bool(rng.random() < config.flip)
    turn = _draw_turn(config, height, width, rng)
    height, width = _turned_size(turn, height, width)
    if config.jitter is None or config.crop is None:
        short = config.short_sides[int((side_rng or rng).integers(len(config.short_sides)))]
        view = make_view(
            resized_sides(height, width, short, config.long_side), height, width, flipped=flipped
        )
    else:
        scale = rng.uniform(*config.jitter) * min(config.crop[0] / height, config.crop[1] / width)
        view = _view_at(scale, height, width, config.crop, rng, flipped)
    return _tilted(_after(view, turn), config.rotate, rng)


def draw_tile_view(
    config: AugmentConfig, height: int, width: int, tile: tuple[int, int], rng: np.random.Generator
) -> View:
    """A random view of an image that is `tile` (height, width) large.

    The scale lies between the one at which the whole image fits into the tile and `TILE_ZOOM` times the one
    at which it covers the tile.
    """
    flipped = bool(rng.random() < config.flip)
    turn = _draw_turn(config, height, width, rng)
    height, width = _turned_size(turn, height, width)
    ratios = tile[0] / height, tile[1] / width
    scale = np.exp(rng.uniform(np.log(min(ratios)), np.log(TILE_ZOOM * max(ratios))))
    return _tilted(_after(_view_at(scale, height, width, tile, rng, flipped), turn), config.rotate, rng)


def draw_paste_view(
    config: AugmentConfig, height: int, width: int, canvas: tuple[int, int], rng: np.random.Generator
) -> View:
    """A random view of an image whose objects are to be pasted into one of `canvas` (height, width): the
    whole of it, smaller than the canvas and anywhere in it."""
    flipped = bool(rng.random() < config.flip)
    turn = _draw_turn(config, height, width, rng)
    height, width = _turned_size(turn, height, width)
    scale = np.exp(rng.uniform(*np.log(PASTED))) * min(canvas[0] / height, canvas[1] / width)
    scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
    top, left = rng.integers(np.maximum(np.subtract(canvas, scaled), 0) + 1)
    view = make_view(scaled, height, width, flipped=flipped, corner=(-int(top), -int(left)), crop=canvas)
    return _tilted(_after(view, turn), config.rotate, rng)


def jitter_colour(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """The image with brightness, contrast, saturation and hue changed at random.

    At `strength` 1 brightness and contrast change by up to 40%, saturation by up to 60% and hue by up to a
    tenth of a turn. All four are linear in RGB (hue as a turn about the grey axis), so one 3 x 4 matrix does
    them in one pass.

    Args:
        pixels: uint8 (H, W, 3) RGB; of other channels only brightness and contrast change.
    """
    if strength <= 0:
        return pixels
    if pixels.shape[2] != 3:
        return _jitter_brightness(pixels, strength, rng)
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


def _jitter_brightness(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness and contrast changed alike in all channels (H, W, C), where these are not colours."""
    brightness, contrast = 1 + strength * rng.uniform(-1, 1, 2) * 0.4
    levels = brightness * (contrast * np.arange(256) + (1 - contrast) * float(pixels.mean()))
    return np.rint(levels).clip(0, 255).astype(np.uint8)[pixels]


def _view_at(
    scale: float, height: int, width: int, crop: tuple[int, int], rng: np.random.Generator, flipped: bool
) -> View:
    """A window of `crop` (height, width) somewhere in the image at `scale`."""
    scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
    corner = rng.integers(np.maximum(np.subtract(scaled, crop), 0) + 1)
    return make_view(
        scaled, height, width, flipped=flipped, corner=(int(corner[0]), int(corner[1])), crop=crop
    )


def _draw_turn(config: AugmentConfig, height: int, width: int, rng: np.random.Generator) -> np.ndarray | None:
    """(2, 3): a quarter, half or three-quarter turn of the whole image into its own corner; None for none."""
    if not config.turn or rng.random() >= config.turn:
        return None
    turn = np.array(TURNS[int(rng.integers(len(TURNS)))])
    corner = np.minimum(turn @ [width, 0], 0) + np.minimum(turn @ [0, height], 0)
    return np.column_stack([turn, -corner])


def _turned_size(turn: np.ndarray | None, height: int, width: int) -> tuple[int, int]:
    """Height and width of the turned image."""
    return (width, height) if turn is not None and turn[0, 0] == 0 else (height, width)


def _after(view: View, first: np.ndarray | None) -> View:
    """The view of an image that goes through the map `first` (2, 3) before."""
    if first is None:
        return view
    matrix = view.matrix[:, :2] @ first + [[0, 0, view.matrix[0, 2]], [0, 0, view.matrix[1, 2]]]
    return View(matrix, view.height, view.width, view.flipped)


def _tilted(view: View, most: float, rng: np.random.Generator) -> View:
    """The view tilted about its middle by up to `most` degrees to either side."""
    if not most:
        return view
    angle = np.deg2rad(rng.uniform(-most, most))
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([view.width, view.height]) / 2
    matrix = np.column_stack([tilt @ view.matrix[:, :2], tilt @ (view.matrix[:, 2] - middle) + middle])
    return View(matrix, view.height, view.width, view.flipped)
