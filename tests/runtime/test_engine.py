"""What the network is asked for at prediction time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from maskrcnn.config.model import KeypointSchema, ModelConfig
from maskrcnn.errors import UserError
from maskrcnn.model.build import build
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.runtime.engine import run_network
from maskrcnn.runtime.torch_engine import TorchEngine, torch_runner


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    """All heads, untrained, with scores that spread."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate(
        {
            "classes": ["cat", "dog"],
            "keypoints": KeypointSchema(names=["a", "b"], flip=[0, 1], sigmas=[0.05] * 2),
            "backbone": {"kind": "mobilenetv2", "freeze": 0},
            "neck": {"channels": 16},
            "input": {"short_side": 96, "long_side": 128},
            "rpn": {"pre_nms_test": 60, "post_nms_test": 40},
            "box_head": {"fc_channels": 32},
            "mask_head": {"convs": 1, "channels": 16},
            "keypoint_head": {"convs": 1, "channels": 16},
            "test": {"score": 0.01, "detections": 20},
        }
    )
    made = build(config)
    assert made.box_head is not None
    nn.init.normal_(made.box_head.score.weight, std=3)
    return made.eval()


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def test_a_score_asked_for_changes_nothing_but_what_is_computed(network: MaskRCNN) -> None:
    (everything,) = predict_pixels(network, [pixels()], score=0.0)
    assert len(everything) >= 8 and everything.scores[0] > everything.scores[-1]
    rows: list[int] = []
    counted = network.mask_head.register_forward_hook(lambda head, given, out: rows.append(len(out)))  # type: ignore[union-attr]
    try:
        # in the middle, and exactly that of a detection
        middle = float(everything.scores[3:5].mean())
        for score, count in ((0.0, len(everything)), (middle, 4), (float(everything.scores[5]), 6), (1.0, 0)):
            (found,) = predict_pixels(network, [pixels()], score=score)
            assert len(found) == count and rows[-1] <= count + 1
            np.testing.assert_allclose(found.boxes, everything.boxes[:count], atol=1e-4)
            np.testing.assert_allclose(found.scores, everything.scores[:count], atol=1e-6)
            assert found.labels.tolist() == everything.labels[:count].tolist()
            np.testing.assert_allclose(found.keypoints, everything.keypoints[:count], atol=1e-2)
            assert found.masks is not None and everything.masks is not None
            if count:
                assert (found.masks.bitmaps() != everything.masks.bitmaps()[:count]).mean() < 1e-3
    finally:
        counted.remove()


def test_a_score_asked_for_takes_the_place_of_the_models_own(network: MaskRCNN) -> None:
    images, sizes = torch.zeros(1, 3, 96, 128), torch.tensor([[96, 128]])
    asked: list[float | None] = []

    class Engine:
        name, config = "recorder", network.config

        def __call__(
            self, images: torch.Tensor, sizes: torch.Tensor, score: float | None = None
        ) -> RawDetections:
            asked.append(score)
            none = torch.zeros(1, 0)
            return RawDetections(none.view(1, 0, 4), none, none.long(), none.bool())

    for score in (None, 0.0, 0.005, 0.5):
        run_network(Engine(), images, sizes, score)  # type: ignore[arg-type]
    assert asked[0] is None
    # what is of exactly this score is wanted, and a network takes what is above
    for least, score in zip(asked[1:], (0.0, 0.005, 0.5), strict=True):
        assert least is not None and score - 1e-6 < least < score
    kept = network.config.test.model_copy()
    try:
        network.config.test.score = 1.0  # what is asked for goes before it
        everything = predict_pixels(network, [pixels()], score=0.0)[0].scores
        assert len(everything) > 0
        for own in (1.0, float(everything[len(everything) // 2])):
            network.config.test.predict_score = own  # of the model, where none is asked for
            assert predict_pixels(network, [pixels()])[0].scores.tolist() == [
                s for s in everything if s >= own
            ]
    finally:
        network.config.test = kept


def test_what_wraps_a_network_is_called_as_it_is(network: MaskRCNN) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.config, self.calls = network, network.config, 0

        def forward(self, *given: torch.Tensor) -> object:
            self.calls += 1
            return self.inner(*given)

    wrapped = Wrapped()
    (found,) = predict_pixels(wrapped, [pixels()], score=0.5)  # type: ignore[arg-type]
    assert wrapped.calls == 1 and (found.scores >= 0.5).all()
    with pytest.raises(UserError, match="below test.score=0.01"):
        predict_pixels(wrapped, [pixels()], score=0.0)  # type: ignore[arg-type]


def test_keypoints_have_a_score_of_their_own_where_it_is_expected_oks(network: MaskRCNN) -> None:
    assert network.config.keypoint_head is not None and network.config.keypoint_head.decode == "oks"
    (found,) = predict_pixels(network, [pixels()], score=0.0)
    assert found.keypoints is not None and found.keypoint_scores is not None
    np.testing.assert_allclose(
        found.keypoint_scores, found.scores * found.keypoints[..., 2].mean(1), rtol=1e-5
    )
    assert found[:2].to_coco(1)[1]["keypoints_score"] == pytest.approx(float(found.keypoint_scores[1]))
    network.config.keypoint_head.decode = "subpixel"
    try:
        (other,) = predict_pixels(network, [pixels()], score=0.0)
    finally:
        network.config.keypoint_head.decode = "oks"
    assert other.keypoint_scores is None and "keypoints_score" not in other.to_coco(1)[0]
    np.testing.assert_allclose(other.boxes, found.boxes)
    assert np.abs(other.keypoints - found.keypoints).max() > 0.1


def test_masks_have_a_score_of_their_own_where_it_is_expected_iou(network: MaskRCNN) -> None:
    assert network.config.test.mask_rank == "expected_iou"
    (found,) = predict_pixels(network, [pixels()], score=0.0)
    assert found.masks is not None and found.mask_scores is not None
    np.testing.assert_allclose(found.mask_scores, found.scores * found.masks.expected_iou(), rtol=1e-6)
    network.config.test.mask_rank = "score"
    try:
        (other,) = predict_pixels(network, [pixels()], score=0.0)
    finally:
        network.config.test.mask_rank = "expected_iou"
    assert other.mask_scores is None and other == replace(found, mask_scores=None)


def test_only_on_a_cpu_is_there_a_copy() -> None:
    settings = {"classes": ["cat"], "backbone": {"kind": "mobilenetv2"}, "neck": {"channels": 16}}
    small = build(ModelConfig.model_validate(settings))
    assert isinstance(torch_runner(small), TorchEngine)
    elsewhere = small.to("meta")
    assert torch_runner(elsewhere) is elsewhere
