"""Mosaics: several images as the tiles of one, so that a step shows more and smaller objects.

Bochkovskiy et al. 2020 (YOLOv4), section 3.3, with four tiles; any square grid here.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from maskrcnn.images.tiles import Window
from maskrcnn.training_data.targets import ObjectTargets

WANDER = 0.2  # how far a line between tiles may move, as a share of the mean tile


def draw_tiles(canvas: tuple[int, int], grid: int, rng: np.random.Generator) -> list[Window]:
    """A canvas (height, width) cut into `grid` x `grid` tiles along lines that wander about the even ones."""
    rows, columns = (_cuts(side, grid, rng) for side in canvas)
    return [
        Window(left, top, right - left, bottom - top)
        for top, bottom in zip(rows, rows[1:], strict=False)
        for left, right in zip(columns, columns[1:], strict=False)
    ]


def join_pixels(canvas: tuple[int, int], tiles: list[Window], images: list[np.ndarray]) -> np.ndarray:
    """uint8 (H, W, C): each image in its tile, whose size it has."""
    result = np.zeros((*canvas, images[0].shape[2]), images[0].dtype)
    for tile, pixels in zip(tiles, images, strict=True):
        result[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] = pixels
    return result


def join_targets(tiles: list[Window], parts: list[ObjectTargets], seed: int) -> ObjectTargets:
    """The objects of all tiles, given in their tiles' pixels, in the canvas's pixels."""
    return ObjectTargets.joined([_shift(part, tile) for tile, part in zip(tiles, parts, strict=True)], seed)


def _cuts(side: int, grid: int, rng: np.random.Generator) -> list[int]:
    """Where the tiles along one side begin, and the end."""
    inner = (np.arange(1, grid) + rng.uniform(-WANDER, WANDER, grid - 1)) * side / grid
    return [0, *(round(cut) for cut in inner), side]


def _shift(part: ObjectTargets, tile: Window) -> ObjectTargets:
    shift = np.array([tile.left, tile.top], np.float32)
    keypoints = part.keypoints.copy()
    keypoints[..., :2] += np.where(keypoints[..., 2:] > 0, shift, 0)  # unlabelled points stay zeros
    return dataclasses.replace(
        part,
        boxes=part.boxes + np.tile(shift, 2),
        mask_boxes=part.mask_boxes + np.tile(shift, 2),
        keypoints=keypoints,
    )
