"""Where anchors stand: every cell, and torchvision's own distances between them."""

from __future__ import annotations

import pytest
import torch

from maskrcnn.model.anchors import cell_anchors, grid_anchors

STRIDES = [4, 8, 16, 32, 64]


def levels(height: int, width: int) -> list[tuple[int, int]]:
    """(H, W) of the five levels of an image whose sides are multiples of 32."""
    shapes = [(height // stride, width // stride) for stride in STRIDES[:4]]
    return [*shapes, (-(-shapes[3][0] // 2), -(-shapes[3][1] // 2))]


@pytest.mark.parametrize(
    ("size", "stride"), [((256, 320), (64, 64)), ((800, 1344), (61, 64)), ((1056, 800), (62, 61))]
)
def test_strides_of_the_image_are_torchvisions(size: tuple[int, int], stride: tuple[int, int]) -> None:
    """AnchorGenerator takes image_size // grid_size: 800 // 13 is 61."""
    cells = [cell_anchors([side], [1.0], True) for side in (32, 64, 128, 256, 512)]
    fixed = grid_anchors(levels(*size), STRIDES, cells)
    theirs = grid_anchors(levels(*size), STRIDES, cells, of_image=True)
    for ours, other in zip(fixed[:4], theirs[:4], strict=True):
        assert torch.equal(ours, other)
    rows, columns = levels(*size)[4]
    centres = (theirs[4][:, :2] + theirs[4][:, 2:]).reshape(rows, columns, 2) / 2
    assert centres[1, 1].tolist() == [stride[1], stride[0]]
    assert centres[-1, -1].tolist() == [(columns - 1) * stride[1], (rows - 1) * stride[0]]
