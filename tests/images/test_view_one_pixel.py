"""Images of one pixel, mirrored or not, are tensors like any other."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn.images.batch import as_tensor
from maskrcnn.images.view import make_view, warp_image


@pytest.mark.parametrize("side", [(1, 1), (1, 7), (7, 1)])
def test_a_mirrored_image_of_one_pixel(side: tuple[int, int]) -> None:
    pixels = np.arange(side[0] * side[1] * 3, dtype=np.uint8).reshape(*side, 3)
    tensor = as_tensor(warp_image(pixels, make_view(side, *side, flipped=True)))
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), pixels[:, ::-1])
