"""Winograd's algorithm for 3x3 convolutions, in plain PyTorch: F(4x4, 3x3) of Lavin and Gray 2016, "Fast
Algorithms for Convolutional Neural Networks", section 4.3.

A tile of 6 x 6 inputs becomes 4 x 4 outputs with 36 multiplications instead of 144. The input and output
transforms are matrix products too. Tiles are taken a few at a time, so that intermediate results stay in the
processor's cache.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from maskrcnn.ops.matmul import arranged, grouped, onednn_is_faster

TILE, SPAN = 4, 6  # outputs and inputs per side of a tile
# tiles at a time, the fastest of those measured; at 256 channels 192 tiles take 7 MB
_TILES = {"MKL": 192, "oneDNN": 384}

# the transforms of inputs, weights and outputs, for the interpolation points 0, 1, -1, 2, -2 and infinity
_INPUT = [
    [4.0, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WEIGHT = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT = [[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]


def transform_weights(weight: Tensor) -> Tensor:
    """(36, C, K): what `winograd_conv` takes, of weights (K, C, 3, 3)."""
    matrix = torch.tensor(_WEIGHT, dtype=torch.float64, device=weight.device)
    both = torch.kron(matrix, matrix)  # (36, 9): rows, then columns
    products = both @ weight.double().flatten(2).permute(2, 1, 0).flatten(1)
    return arranged(products.view(SPAN * SPAN, weight.shape[1], weight.shape[0]).to(weight.dtype))


def winograd_conv(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """The 3x3 convolution with stride 1 and padding 1; no gradients.

    Args:
        x: (B, C, H, W), fastest where it is channels-last in memory.
        weights: (36, C, K) from `transform_weights`.
        bias: (K,) or None.

    Returns:
        (B, K, H, W), channels-last in memory; in float32 within about 1e-5 of `conv2d`, relative to the
        largest value.
    """
    images, channels, height, width = x.shape
    down, across = -(-height // TILE), -(-width // TILE)
    into, out_of = (torch.tensor(m, dtype=x.dtype, device=x.device) for m in (_INPUT, _OUTPUT))
    into, out_of = torch.kron(into, into), torch.kron(out_of, out_of)  # (36, 36), (16, 36)
    border = (0, 0, 1, across * TILE - width + 1, 1, down * TILE - height + 1)
    padded = F.pad(x.permute(0, 2, 3, 1), border).contiguous()
    found = x.new_empty(images, down, TILE, across, TILE, weights.shape[2])
    # a few rows of tiles of one image or, where images are small, whole images
    tiles_at_once = _TILES["oneDNN" if onednn_is_faster() else "MKL"]
    rows = max(1, min(down, tiles_at_once // across))
    group = max(1, tiles_at_once // (down * across)) if rows == down else 1
    for first in range(0, images, group):
        for row in range(0, down, rows):
            part = found[first : first + group, row : row + rows]
            tiles = _tiles(padded, first, row, part.shape[0], part.shape[1], across)
            transformed = torch.matmul(into, tiles)  # (T, 36, C)
            product = grouped(transformed, weights)  # (T, 36, K)
            values = torch.matmul(out_of, product)
            values = values.view(part.shape[0], part.shape[1], across, TILE, TILE, -1)
            part.copy_(values.permute(0, 1, 3, 2, 4, 5))
    whole = found.view(images, down * TILE, across * TILE, -1)[:, :height, :width].contiguous()
    if bias is not None:
        whole += bias
    return whole.permute(0, 3, 1, 2)


def _tiles(padded: Tensor, first: int, row: int, images: int, rows: int, across: int) -> Tensor:
    """(T, 36, C): the overlapping tiles of some rows of some images, of a padded map (B, H, W, C)."""
    by_image, by_row, by_column, _ = padded.stride()
    channels = padded.shape[3]
    overlapping = padded.as_strided(
        (images, rows, across, SPAN, SPAN, channels),
        (by_image, TILE * by_row, TILE * by_column, by_row, by_column, 1),
        first * by_image + row * TILE * by_row,
    )
    return overlapping.reshape(-1, SPAN * SPAN, channels)
