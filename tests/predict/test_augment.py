"""Test-time augmentation: what several looks found becomes one answer in the image's own pixels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from fixed_model import config
from small import small_config

from maskrcnn import MaskRCNN
from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import RawDetections
from maskrcnn.predict.augment import LARGEST, LOOKS, Augmented, Seen, _agreed, _framed, merge
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.torch_engine import torch_runner


class Square:
    """An engine that finds the white square of an image: its mask is the square's left half, one keypoint in
    its upper left corner and one in its upper right, which are each other's mirror image.
    """

    name = "square"

    def __init__(self) -> None:
        self.config: ModelConfig = config().model_copy(deep=True)
        assert self.config.keypoints is not None
        self.config.keypoints.flip = [1, 0]
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> RawDetections:
        self.seen.append((*images.shape, *sizes[0].tolist()))
        assert images.dtype == torch.uint8 and len(images) == 1
        height, width = sizes[0].tolist()
        assert not images[0, :, height:].any() and not images[0, :, :, width:].any()
        white = (images[0, 1] > 127).numpy()
        if not white.any():
            empty = torch.zeros(1, 0)
            return RawDetections(
                empty[..., None].expand(1, 0, 4), empty, empty.long(), empty.bool(),
                torch.zeros(1, 0, 28, 28), torch.zeros(1, 0, 2, 3),
            )  # fmt: skip
        rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        # what marks the left side is red there; a mirrored image has it on the right
        red_left = bool((images[0, 0, y0:y1, x0 : (x0 + x1) // 2] > 127).all())
        mask = torch.full((28, 28), 0.1)
        mask[:, :14] = 0.9
        mask = mask if red_left else mask.flip(-1)
        return RawDetections(
            torch.tensor([[[x0, y0, x1, y1]]], dtype=torch.float32),
            torch.tensor([[0.8]]),
            torch.tensor([[1]]),
            torch.tensor([[True]]),
            mask[None, None],
            torch.tensor([[[[x0, y0, 0.9], [x1, y0, 0.7]]]], dtype=torch.float32),
        )


def image() -> np.ndarray:
    """96 x 160, green; red in its square's left half only."""
    pixels = np.zeros((96, 160, 3), np.uint8)
    pixels[20:60, 30:110, 1] = 255
    pixels[20:60, 30:70, 0] = 255
    return pixels


def test_every_look_is_taken_back_into_the_images_pixels() -> None:
    engine = Square()
    (plain,) = predict_pixels(engine, [image()])
    engine.seen.clear()
    (found,) = predict_pixels(Augmented(engine), [image()])
    assert len(engine.seen) == len(LOOKS) and len(set(engine.seen)) == len({look.scale for look in LOOKS})
    assert len(found) == 1 and found.size == (96, 160) and found.names == plain.names
    # its mask ends at x = 70: three quarters of the way there from 110
    np.testing.assert_allclose(found.boxes, [[30, 20, 80, 60]], atol=1.5)
    np.testing.assert_allclose(found.scores, [0.8], atol=1e-6)
    np.testing.assert_allclose(found.keypoints[0, :, :2], [[30, 20], [110, 20]], atol=1.5)
    np.testing.assert_allclose(found.keypoints[0, :, 2], [0.9, 0.7], atol=0.1)
    mask = found.masks.bitmaps()[0]
    assert mask[22:58, 33:67].all() and not mask[:, 74:].any()


def test_several_images_of_one_batch_each_on_their_own() -> None:
    empty = np.zeros((96, 160, 3), np.uint8)
    two = predict_pixels(Augmented(Square()), [image(), empty, image()])
    assert [len(one) for one in two] == [1, 0, 1] and two[0].masks == two[2].masks


def seen(boxes: list[list[float]], scores: list[float], mask: float = 0.9, label: int = 0) -> Seen:
    count = len(boxes)
    return Seen(
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(scores),
        torch.full((count,), label),
        torch.full((count, 4, 4), mask),
        None,
        None,
    )


def test_boxes_are_averaged_by_score_and_scores_over_all_looks() -> None:
    looks = [seen([[0, 0, 40, 40]], [0.9], 0.9), seen([[4, 0, 44, 40]], [0.3], 0.4), seen([], [])]
    boxes, scores, labels, valid, masks, *_ = merge(looks, config())
    assert boxes.tolist() == [pytest.approx([1, 0, 41, 40])] and valid.tolist() == [True]
    assert scores.tolist() == [pytest.approx(0.4)] and labels.tolist() == [0]
    expected = (0.75 * torch.tensor(0.9).logit() + 0.25 * torch.tensor(0.4).logit()).sigmoid()
    assert masks[0, 1, 1] == pytest.approx(float(expected), abs=1e-4)


def test_classes_and_neighbours_stay_apart() -> None:
    near = [[0.0, 0, 40, 40], [14, 0, 54, 40]]  # IoU 0.48
    looks = [seen(near, [0.9, 0.8]), seen(near[::-1], [0.7, 0.6]), seen(near[:1], [0.5], label=1)]
    boxes, scores, labels, *_ = merge(looks, config())
    assert boxes.tolist() == [near[0], near[1], near[0]] and labels.tolist() == [0, 0, 1]
    assert scores.tolist() == [pytest.approx(v) for v in (0.5, 0.5, 0.5 / 3)]


def test_no_more_than_the_model_gives() -> None:
    model = config()
    model.test.detections = 3
    apart = [[50.0 * n, 0, 50 * n + 40, 40] for n in range(6)]
    boxes, scores, *_ = merge([seen(apart, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])] * 2, model)
    assert scores.tolist() == [pytest.approx(v) for v in (0.6, 0.5, 0.4)] and len(boxes) == 3


def test_a_map_in_another_frame() -> None:
    """Of a map over a box, what lies over its right half; beyond the box there is nothing."""
    ramp = torch.arange(8.0).expand(1, 8, 8) + 1
    box, right = torch.tensor([[10.0, 0, 18, 8]]), torch.tensor([[14.0, 0, 22, 8]])
    assert torch.equal(_framed(ramp, box, box), ramp)
    laid = _framed(ramp, box, right)[0]
    assert laid[3].tolist() == pytest.approx([5, 6, 7, 8, 0, 0, 0, 0])


def test_an_outlier_among_keypoints_does_not_count() -> None:
    points = torch.tensor([[[[10.0, 10, 0.8]], [[12.0, 10, 0.8]], [[90.0, 90, 0.9]]]])
    (found,) = _agreed(
        points, torch.full((1, 3), 1 / 3), torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([0.1])
    )
    assert found[0, :2].tolist() == pytest.approx([11, 10], abs=0.1) and 0.4 < found[0, 2] < 0.55


@pytest.fixture
def model() -> MaskRCNN:
    torch.manual_seed(0)
    made = build(small_config(), MaskRCNN)
    assert isinstance(made, MaskRCNN)
    return made.eval()


def test_any_network_in_tiles_and_by_predict(model: MaskRCNN) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    before = model.config.model_copy(deep=True)
    for runner in (model, torch_runner(model)):
        (found,) = predict_pixels(Augmented(runner), [pixels], score=0.0)
        assert len(found) and (found.boxes[:, 2:] <= (128, 96)).all() and np.isfinite(found.boxes).all()
        assert found.keypoints.shape[1:] == (len(model.config.keypoints.names), 3)
    by_name = model.predict(pixels, score=0.0, tta=True)
    np.testing.assert_allclose(by_name.boxes, found.boxes, atol=1e-3)
    tiled = model.predict(pixels, tta=True, tiles=64)
    assert tiled.size == (96, 128)
    heat = model.config.model_copy(deep=True)
    heat.keypoint_head.decode = "resize"
    (found,) = predict_pixels(Augmented(build(heat).eval()), [pixels], score=0.0)
    assert len(found) and np.isfinite(found.keypoints).all()
    assert model.config == before
    with pytest.raises(UserError, match="tta"):
        model.predict(pixels, tta=3)


def test_images_come_at_the_largest_size_looked_at(model: MaskRCNN) -> None:
    mine, larger = model.config.input, Augmented(model).config.input
    assert (larger.short_side, larger.long_side) == (
        round(LARGEST * mine.short_side),
        round(LARGEST * mine.long_side),
    )
    assert larger.tile_side == mine.tile_side
