"""Tracks: the rules of `Tracker`, and its ids beside those of other code."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from crossings import Frame, crossings  # noqa: E402
from tracking_scores import ALPHAS, Matched, hota, idf1  # noqa: E402

from maskrcnn.errors import UserError  # noqa: E402
from maskrcnn.instances import Instances, Masks  # noqa: E402
from maskrcnn.video.tracker import KEPT_FRAMES, Tracker  # noqa: E402

SIZE = (300, 400)


def seen(*objects: tuple[float, float, float], label: int | list[int] = 0, masks: bool = True) -> Instances:
    """Objects of 40 x 90 pixels by their left, top and score."""
    boxes = np.array([[x, y, x + 40, y + 90] for x, y, _ in objects], np.float32).reshape(-1, 4)
    count = len(objects)
    labels = np.broadcast_to(np.array(label), count).astype(np.int64)
    maps = Masks(np.ones((count, 28, 28), np.float32), boxes, SIZE) if masks else None
    scores = np.array([score for *_, score in objects], np.float32)
    return Instances(boxes, scores, labels, ["thing"] * count, SIZE, maps)


def ids(tracker: Tracker, *frames: Instances, step: float = 0.04, start: float = 0) -> list[list[int]]:
    return [tracker.update(found, start + step * n).tolist() for n, found in enumerate(frames)]


def test_objects_keep_their_ids_in_whatever_order_they_come() -> None:
    a, b = (10, 10, 0.9), (200, 10, 0.8)
    assert ids(Tracker(), seen(a, b), seen(b, a), seen(a), seen(a, b)) == [[1, 2], [2, 1], [1], [1, 2]]


@pytest.mark.parametrize("masks", [True, False])
def test_a_new_object_has_an_id_from_its_second_frame_on(masks: bool) -> None:
    a, b = (10, 10, 0.9), (200, 10, 0.8)
    frames = [seen(*what, masks=masks) for what in ([a], [a, b], [a, b], [b, a])]
    assert ids(Tracker(), *frames) == [[1], [1, -1], [1, 2], [2, 1]]


def test_what_was_seen_once_never_has_an_id() -> None:
    a, b = (10, 10, 0.9), (200, 10, 0.8)
    tracker = Tracker()
    assert ids(tracker, seen(a), seen(a, b), seen(a), seen(a, b), seen(a, b)) == [
        [1],
        [1, -1],
        [1],
        [1, -1],
        [1, 2],
    ]
    assert sorted(tracker.remembered) == [1, 2]


def test_a_low_score_goes_on_with_a_track_and_begins_none() -> None:
    tracker = Tracker(score=0.5)
    assert ids(tracker, seen((10, 10, 0.9), (200, 10, 0.3)), seen((12, 10, 0.2), (200, 10, 0.3))) == [
        [1, -1],
        [1, -1],
    ]
    assert ids(tracker, seen((13, 10, 0.05)), start=0.08) == [[-1]]
    assert ids(tracker, seen((13, 10, 0.3)), seen((13, 10, 0.9)), start=0.12) == [[1], [1]]


def test_a_low_score_makes_no_track_certain() -> None:
    there, here = (200, 10, 0.9), (10, 10, 0.9)
    tracker = Tracker()
    ids(tracker, seen(there))
    assert ids(tracker, seen(there, here), seen(there, (10, 10, 0.3)), start=0.04) == [[1, -1], [1, -1]]


def test_a_high_score_comes_first() -> None:
    tracker = Tracker()
    ids(tracker, seen((100, 10, 0.9)))
    assert ids(tracker, seen((100, 10, 0.4), (112, 10, 0.8)), start=0.04) == [[-1, 1]]


def test_a_track_has_one_class() -> None:
    tracker = Tracker()
    here = (100, 10, 0.9)
    assert ids(tracker, seen(here, label=0), seen(here, label=1), seen(here, label=1)) == [[1], [-1], [2]]
    assert ids(tracker, seen(here, label=0), start=0.12) == [[1]]


def test_a_track_is_remembered_for_a_time() -> None:
    for missed, again in ((20, 1), (30, -1)):  # at 25 frames a second
        tracker = Tracker(keep=1)
        ids(tracker, seen((10, 10, 0.9)))
        ids(tracker, *[seen()] * missed, start=0.04)
        assert ids(tracker, seen((10, 10, 0.9)), start=0.04 * (missed + 1)) == [[again]]
        assert len(tracker.remembered) == (again == 1)


def test_and_over_a_gap_without_frames_or_at_a_frame_in_ten_seconds() -> None:
    here = seen((10, 10, 0.9))
    tracker = Tracker(keep=1)
    assert ids(tracker, here, here, seen(), here, step=10) == [[1], [1], [-1][:0], [1]]
    ids(tracker, *[seen()] * KEPT_FRAMES, step=10, start=40)
    assert ids(tracker, here, start=90) == [[-1]]


def test_real_seconds_are_in_the_prediction() -> None:
    """At 300 pixels a second it is 120 pixels, three times its width, further after a gap of 0.4 s."""

    def at(seconds: float) -> Instances:
        return seen((300 * seconds, 10, 0.9))

    times = [0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.6, 0.64]
    tracker = Tracker()
    assert [tracker.update(at(t), t).tolist() for t in times] == [[1]] * 8
    even = Tracker()
    assert [even.update(at(t), 0.04 * n).tolist() for n, t in enumerate(times)][6] == [-1]


def test_a_clock_that_goes_back_stands_still() -> None:
    tracker = Tracker()
    assert ids(tracker, *[seen((10, 10, 0.9))] * 3, step=-5) == [[1]] * 3


def test_no_objects_and_no_masks_are_as_good_as_any() -> None:
    tracker = Tracker()
    nothing = seen(masks=False)
    assert ids(tracker, nothing, seen((10, 10, 0.9)), nothing, seen((10, 10, 0.9)), nothing) == [
        [],
        [-1],
        [],
        [-1],
        [],
    ]


@pytest.mark.parametrize("wrong", [{"score": -1}, {"score": 2}, {"keep": 0}, {"keep": float("nan")}])
def test_odd_arguments_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Tracker(**wrong)


def test_without_scipy_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskrcnn.video.tracker.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'maskrcnn\[video\]'"):
        Tracker()


def tracked(tracker: Tracker, frames: list[Frame]) -> list[Matched]:
    """The tracks of a generated video."""
    matched = []
    for frame in frames:
        given = tracker.update(frame.found, frame.seconds)
        matched.append(Matched(frame.objects, given[given > 0], frame.iou()[:, given > 0]))
    return matched


def test_masks_tell_apart_what_shares_a_box() -> None:
    """Two that cross like an X, with boxes that jitter; `benchmarks/tracking.py` has figures of people."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]
    cross = np.array([abs(x - y) < 5, abs(x + y - 27) < 5], np.float32)
    masks, boxes = Tracker(), Tracker(masks=False)
    by_masks, by_boxes = set(), set()
    for number in range(30):
        found = seen(*((100 + dx, 100 + dy, 0.9) for dx, dy in rng.uniform(-3, 3, (2, 2))))
        order = rng.permutation(2)
        found.masks.probabilities = cross[order]
        by_masks.add(tuple(masks.update(found, number / 25)[np.argsort(order)]))
        by_boxes.add(tuple(boxes.update(found, number / 25)[np.argsort(order)]))
    assert len(by_masks) == 1 and len(by_boxes) == 2


def test_scores_are_those_of_trackeval() -> None:
    metrics = pytest.importorskip("trackeval").metrics
    frames = tracked(Tracker(), list(crossings(0, frames=40)))
    frames[20] = Matched(frames[20].truth, np.zeros(0, np.int64), np.zeros((len(frames[20].truth), 0)))
    truth = np.unique(np.concatenate([frame.truth for frame in frames]))
    given = np.unique(np.concatenate([frame.tracks for frame in frames]))
    data = {
        "num_tracker_dets": sum(len(frame.tracks) for frame in frames),
        "num_gt_dets": sum(len(frame.truth) for frame in frames),
        "num_gt_ids": len(truth),
        "num_tracker_ids": len(given),
        "gt_ids": [np.searchsorted(truth, frame.truth) for frame in frames],
        "tracker_ids": [np.searchsorted(given, frame.tracks) for frame in frames],
        "similarity_scores": [frame.iou for frame in frames],
    }
    theirs = metrics.HOTA().eval_sequence(data)
    assert len(ALPHAS) == len(theirs["HOTA"])
    for name, value in hota(frames).items():
        assert value == pytest.approx(float(np.mean(theirs[name])), abs=1e-9)
    assert idf1(frames) == pytest.approx(float(metrics.Identity().eval_sequence(data)["IDF1"]), abs=1e-9)


def test_perfect_tracks_have_a_perfect_score_and_a_swap_in_the_middle_half_of_one() -> None:
    alone = np.eye(2)
    right = [Matched(np.array([1, 2]), np.array([5, 7]), alone) for _ in range(10)]
    assert hota(right) == pytest.approx({"HOTA": 1, "DetA": 1, "AssA": 1}) and idf1(right) == 1
    swapped = right[:5] + [Matched(np.array([1, 2]), np.array([7, 5]), alone) for _ in range(5)]
    assert hota(swapped)["AssA"] == pytest.approx(5 / 15) and idf1(swapped) == pytest.approx(0.5)


def test_boxes_alone_are_tracked_as_by_trackers() -> None:
    """Four objects on paths of their own, some frames without one of them."""
    supervision, trackers = pytest.importorskip("supervision"), pytest.importorskip("trackers")
    rng = np.random.default_rng(0)
    ours = Tracker(masks=False)
    theirs = trackers.ByteTrackTracker(
        frame_rate=25, track_activation_threshold=0.5, high_conf_det_threshold=0.5
    )
    pairs = set()
    for number in range(80):
        there = [n for n in range(4) if rng.random() > 0.1]
        where = [(20 + (1 + n) * number * 0.8, 95 * n, 0.9 if rng.random() > 0.2 else 0.4) for n in there]
        found = seen(*where, masks=False)
        mine = ours.update(found, number / 25)
        detections = supervision.Detections(xyxy=found.boxes, confidence=found.scores, class_id=found.labels)
        answer = theirs.update(detections)
        by_box = {tuple(box): int(track) for box, track in zip(answer.xyxy, answer.tracker_id, strict=True)}
        other = [by_box.get(tuple(box), -1) for box in found.boxes]
        pairs |= {(a, b) for a, b in zip(mine.tolist(), other, strict=True) if a > 0 and b >= 0}
    assert len(pairs) == 4 == len({a for a, _ in pairs}) == len({b for _, b in pairs})
