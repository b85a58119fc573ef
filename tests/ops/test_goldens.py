"""The operators against what torchvision and detectron2 computed (shared/goldens/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maskrcnn.masks.paste import integer_boxes, paste_windows
from maskrcnn.ops.heatmaps import decode_resize
from maskrcnn.ops.nms import nms
from maskrcnn.ops.roi_align import roi_align
from maskrcnn.ops.roi_pool import roi_pool

SHARED = Path(__file__).parents[3] / "shared"
FILE = SHARED / "goldens" / "ops.npz"
STRIDE = 8
pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not here")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return dict(file)


def rois(golden: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes, their images and their levels."""
    rows = torch.from_numpy(golden["rois"])
    return rows[:, 1:], rows[:, 0].long(), torch.zeros(len(rows), dtype=torch.int64)


@pytest.mark.parametrize("size", [7, 14])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(golden: dict[str, np.ndarray], aligned: bool, ratio: int, size: int) -> None:
    name = f"roi_align.aligned={aligned}.sampling_ratio={ratio}.size={size}"
    feature = torch.from_numpy(golden["feature"]).requires_grad_()
    boxes, image, level = rois(golden)
    pooled = roi_align(
        [feature], [STRIDE], boxes, image, level, size=size, sampling_ratio=ratio, aligned=aligned
    )
    assert relative(pooled.detach(), golden[name]) < 1e-4
    # the objective of the goldens: a ramp over the output
    (gradient,) = torch.autograd.grad(
        pooled, feature, torch.linspace(-1, 1, pooled.numel()).view(pooled.shape)
    )
    assert relative(gradient, golden[f"{name}.grad"]) < 1e-4


def relative(found: torch.Tensor, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest value expected."""
    assert found.shape == expected.shape
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("size", [7, 14])
def test_roi_pool(golden: dict[str, np.ndarray], size: int) -> None:
    boxes, image, level = rois(golden)
    pooled = roi_pool([torch.from_numpy(golden["feature"])], [STRIDE], boxes, image, level, size=size)
    np.testing.assert_array_equal(pooled.numpy(), golden[f"roi_pool.size={size}"])


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("block", [64, 256])
@pytest.mark.parametrize("grouped", [False, True])
def test_nms(golden: dict[str, np.ndarray], iou: float, block: int, grouped: bool) -> None:
    order = torch.from_numpy(golden["nms.scores"]).argsort(descending=True, stable=True)
    boxes = torch.from_numpy(golden["nms.boxes"])[order][None]
    groups = torch.from_numpy(golden["nms.classes"])[order][None] if grouped else None
    kept = nms(boxes, torch.ones(1, len(order), dtype=torch.bool), iou, groups, block=block)[0]
    expected = golden[f"{'batched_' if grouped else ''}nms.keep.iou={iou}"]
    np.testing.assert_array_equal(order[kept].numpy(), expected)


@pytest.mark.parametrize("library", ["detectron2", "torchvision"])
def test_paste(golden: dict[str, np.ndarray], library: str) -> None:
    height, width = (int(v) for v in golden["paste.image_size"])
    expected = np.unpackbits(golden[f"paste.{library}"], axis=-1)[..., :width].astype(bool)
    found = np.zeros_like(expected)
    masks, boxes = golden["paste.probs"], golden["paste.boxes"]
    boxes = integer_boxes(boxes, masks.shape[-1]) if library == "torchvision" else boxes
    windows = paste_windows(masks, boxes, height, width)
    for full, (x, y, window) in zip(found, windows, strict=True):
        full[y : y + window.shape[0], x : x + window.shape[1]] = window
    assert expected.any()
    # of the objects' own pixels, which is stricter than of the images'
    assert (found != expected).sum() <= 0.001 * expected.sum()


def test_keypoints(golden: dict[str, np.ndarray]) -> None:
    logits = torch.from_numpy(golden["keypoints.heatmaps"].astype(np.float32))
    found = decode_resize(logits, torch.from_numpy(golden["paste.boxes"])).numpy()
    np.testing.assert_allclose(found, golden["keypoints.detectron2"], atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(found[..., :2], golden["keypoints.torchvision"][..., :2], atol=1e-3, rtol=0)
    np.testing.assert_allclose(found[..., 2], golden["keypoints.torchvision.scores"], atol=1e-4, rtol=1e-4)
