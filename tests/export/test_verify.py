"""What an export's check counts, forgives and refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from exported import small_network

from maskrcnn.config.model import ModelConfig
from maskrcnn.errors import DataError
from maskrcnn.export.graph import is_square, least_side
from maskrcnn.export.test_images import Case, cases
from maskrcnn.export.verify import FP32, INT8, Row, compare, refusal, verify
from maskrcnn.model.mask_rcnn import MaskRCNN, RawDetections

SCORE = 0.05


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    return small_network()


def found(boxes: list[list[float]], scores: list[float], labels: list[int] | None = None) -> RawDetections:
    count = len(boxes)
    return RawDetections(
        boxes=torch.tensor(boxes).view(1, count, 4),
        scores=torch.tensor(scores)[None],
        labels=torch.tensor(labels or [0] * count, dtype=torch.int64)[None],
        valid=torch.ones(1, count, dtype=torch.bool),
        masks=torch.full((1, count, 4, 4), 0.25),
    )


CASE = Case("one", torch.zeros(1, 3, 96, 128, dtype=torch.uint8), torch.tensor([[96, 128]]))
A, B = [10.0, 10.0, 50.0, 60.0], [60.0, 10.0, 100.0, 60.0]


def row_of(network: MaskRCNN, expected: RawDetections, given: RawDetections) -> Row:
    return compare(CASE, expected, given, network, SCORE, FP32)


def test_equal_answers_in_another_order_have_no_difference(network: MaskRCNN) -> None:
    row = row_of(network, found([A, B], [0.9, 0.8]), found([B, A], [0.8, 0.9]))
    assert (row.matched, row.explained, row.unlike) == (2, 0, 0)
    assert row.boxes == row.scores == row.masks == 0 and row.keypoints is None
    assert refusal([row], FP32) is None


def test_two_boxes_in_one_place_are_told_apart(network: MaskRCNN) -> None:
    row = row_of(network, found([A, A], [0.9, 0.3], [0, 1]), found([A, A], [0.9, 0.3], [0, 1]))
    assert row.matched == 2 and row.scores == 0


@pytest.mark.parametrize(("score", "explained", "unlike"), [(SCORE + 5e-4, 1, 0), (0.5, 0, 1)])
def test_a_detection_on_one_side_only_is_forgiven_on_the_threshold(
    network: MaskRCNN, score: float, explained: int, unlike: int
) -> None:
    row = row_of(network, found([A, B], [0.9, score]), found([A], [0.9]))
    assert (row.explained, row.unlike) == (explained, unlike)
    wrong = refusal([row], FP32)
    assert wrong is None if explained else wrong is not None and "1 of 3 detections have no match" in wrong


def test_another_class_is_no_match(network: MaskRCNN) -> None:
    row = row_of(network, found([A], [0.9], [0]), found([A], [0.9], [1]))
    assert (row.matched, row.unlike) == (0, 2)


def test_what_nms_decides_by_rounding_is_forgiven(network: MaskRCNN) -> None:
    limit = network.config.test.nms_iou
    # a box of the same size that overlaps by exactly the threshold
    shift = 40 * (1 - limit) / (1 + limit)
    near = [A[0] + shift, A[1], A[2] + shift, A[3]]
    row = row_of(network, found([A, near], [0.9, 0.8]), found([A], [0.9]))
    assert (row.explained, row.unlike) == (1, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes": torch.tensor([[[10.5, 10.0, 50.0, 60.0]]])}, "boxes differ by 0.5 pixels"),
        ({"scores": torch.tensor([[0.89]])}, "scores differ by 0.01"),
        ({"masks": torch.full((1, 1, 4, 4), 0.75)}, "masks differ by 0.5"),
        ({"masks": torch.full((1, 1, 4, 4), float("nan"))}, "masks differ by inf"),
    ],
)
def test_differences_above_the_limits_are_refused(
    network: MaskRCNN, change: dict[str, torch.Tensor], said: str
) -> None:
    wrong = refusal([row_of(network, found([A], [0.9]), found([A], [0.9])._replace(**change))], FP32)
    assert wrong is not None and said in wrong and "'one', 96 x 128" in wrong


def test_images_are_none_one_and_many_at_two_sizes_alone_and_together() -> None:
    for changes in (
        {},
        {"input": {"channels": 1, "mean": [0.0], "std": [1.0], "short_side": 64, "long_side": 64}},
    ):
        config = ModelConfig.model_validate({"classes": ["a"], **changes})
        found = cases(config)
        assert {case.name for case in found} == {"none", "one", "many", "many, one"}
        assert {len(case.images) for case in found} == {1, 2}
        assert len({case.images.shape[2:] for case in found}) >= 2
        for case in found:
            assert case.images.shape[1] == config.input.channels and case.images.dtype == torch.uint8
            assert all(side % 32 == 0 for side in case.images.shape[2:])
        assert max(found[0].sizes[0].tolist()) <= max(config.input.long_side, least_side(config) + 32)


def test_a_model_that_finds_nothing_is_compared_at_a_lower_score(network: MaskRCNN) -> None:
    class Eager:
        name, config = "eager", network.config

        def __call__(
            self, images: torch.Tensor, sizes: torch.Tensor, score: float | None = None
        ) -> RawDetections:
            with torch.no_grad():
                return network.detect(images, sizes, score)

    own = network.config.input.short_side
    network.config.input.short_side, network.config.test.score = 96, 0.9999
    try:
        rows = verify(network, Eager(), INT8)
    finally:
        network.config.input.short_side, network.config.test.score = own, 0.0
    assert rows[0].score < 0.9999
    assert sum(row.eager for row in rows) >= 20 and all(row.unlike == row.explained == 0 for row in rows)
    assert all(row.boxes in (None, 0) for row in rows)


def test_a_network_whose_numbers_overflow_is_refused() -> None:
    """Its export would agree with it: neither finds anything."""
    network = small_network()
    with torch.no_grad():
        network.rpn.objectness.weight.fill_(3e38)
    with pytest.raises(DataError, match="became NaN or infinite"):
        verify(network, network)  # type: ignore[arg-type]


def test_keypoints_that_are_decoded_later_are_compared(network: MaskRCNN) -> None:
    expected = found([A], [0.9])
    logits = torch.randn(1, 1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    row = row_of(
        network, expected._replace(keypoint_logits=logits), expected._replace(keypoint_logits=logits.flip(-1))
    )
    assert row.keypoints is not None and row.keypoints > 1


@pytest.mark.parametrize(
    ("divisor", "least", "square"), [(32, 96, False), (1, 96, False), (1024, 1024, True)]
)
def test_the_least_image_of_a_graph(divisor: int, least: int, square: bool) -> None:
    """A ViTDet's image is one square: padding to a multiple of it would change what attention sees."""
    sides = {"divisor": divisor, "short_side": 800, "long_side": 1024}
    neck = {"neck": {"kind": "dc5"}, "rpn": {"sizes": [[32]]}} if divisor == 1 else {}
    config = ModelConfig.model_validate({"classes": ["a"], "input": sides, **neck})
    assert least_side(config) == least and is_square(config) == square
