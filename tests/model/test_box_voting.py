"""A detection's box is the mean of the candidates around it, and the same whatever score is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn.config.model import BoxHeadConfig, TestConfig
from maskrcnn.model.box_head import detect, vote
from maskrcnn.ops.boxes import encode, pairwise_iou

SIZES = torch.tensor([[200, 300]])


def slow_vote(boxes, candidates, ballots, least):
    """The same with loops, in float64."""
    found = np.zeros((len(boxes), 4))
    for row, box in enumerate(boxes.double()):
        total = 0.0
        for column, other in enumerate(candidates.double()):
            weight = float(ballots[row, column]) * max(
                0.0, float(pairwise_iou(box[None], other[None])) - least
            )
            found[row] += weight * other.numpy()
            total += weight
        found[row] /= total
    return found


def around(centre, count, rng, spread=6.0):
    """Boxes about `centre`."""
    return torch.tensor(np.array(centre) + rng.normal(0, spread, (count, 4)), dtype=torch.float32)


def run(boxes, scores, score=None, **test):
    """`detect` with candidates that are these boxes; scores (P, K)."""
    config = BoxHeadConfig(class_agnostic=True)
    logits = torch.cat([scores.log(), (1 - scores.sum(1, keepdim=True)).log()], 1)
    whole = torch.tensor([0.0, 0.0, 300.0, 200.0]).expand_as(boxes)
    deltas = encode(boxes, whole, config.box_weights)
    valid = torch.ones(1, len(boxes), dtype=torch.bool)
    found = detect(
        logits[None], deltas[None, :, None], whole[None], valid, SIZES, config, TestConfig(**test), score
    )
    kept = found[3][0]
    return [part[0][kept] for part in found[:3]]


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.9))
def test_as_loops_do(seed, least):
    rng = np.random.default_rng(seed)
    candidates = torch.cat([around([40, 40, 90, 120], 12, rng), around([60, 50, 110, 130], 8, rng)])
    ballots = torch.tensor(rng.uniform(0.01, 1, (3, 20)), dtype=torch.float32)
    kept = candidates[[0, 5, 13]]
    found = vote(kept[None], candidates[None], ballots[None], least)[0]
    np.testing.assert_allclose(found, slow_vote(kept, candidates, ballots, least), rtol=1e-5, atol=1e-3)


def test_other_classes_have_no_say():
    boxes = torch.tensor([[40.0, 40, 90, 120], [44.0, 40, 90, 120], [40.0, 44, 90, 120]])
    scores = torch.tensor([[0.8, 0.01], [0.4, 0.01], [0.01, 0.9]])
    found, kept_scores, labels = run(boxes, scores)
    assert labels.tolist() == [1, 0] and kept_scores.tolist() == pytest.approx([0.9, 0.8])
    assert found[0].tolist() == pytest.approx([40, 44, 90, 120], abs=1e-3)
    share = 0.4 * (46 / 50 - 0.6) / (0.4 * (46 / 50 - 0.6) + 0.8 * (1 - 0.6))
    assert found[1].tolist() == pytest.approx([40 + 4 * share, 40, 90, 120], abs=1e-3)


def test_null_leaves_boxes_alone():
    boxes = torch.tensor([[40.0, 40, 90, 120], [44.0, 40, 90, 120]])
    found, _, _ = run(boxes, torch.tensor([[0.8], [0.4]]), box_vote=None)
    assert found.tolist() == [pytest.approx([40, 40, 90, 120], abs=1e-3)]


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.9))
def test_a_higher_score_gives_the_same_boxes_only_fewer(seed, score):
    rng = np.random.default_rng(seed)
    boxes = torch.cat([around([40, 40, 90, 120], 12, rng), around([120, 50, 200, 130], 12, rng)])
    scores = torch.tensor(rng.uniform(0.01, 0.99, (24, 1)), dtype=torch.float32)
    every, every_score, _ = run(boxes, scores)
    some, some_score, _ = run(boxes, scores, score=score)
    same, same_score, _ = run(boxes, scores, score=torch.tensor(score))  # as an exported graph has it
    torch.testing.assert_close(some, every[every_score > score])
    torch.testing.assert_close(some_score, every_score[every_score > score])
    torch.testing.assert_close(same, some)
    torch.testing.assert_close(same_score, some_score)
