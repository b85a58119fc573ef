"""The tracker against ByteTrack's algorithm written out: a list of tracks, matrices, every assignment tried."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("scipy")
sys.path.insert(0, str(Path(__file__).parent))

from test_kalman import Textbook  # noqa: E402

from maskrcnn.instances import Instances  # noqa: E402
from maskrcnn.video.tracker import KEPT_FRAMES, LEAST_IOU, LEAST_SCORE, Tracker  # noqa: E402

SCORE, KEEP = 0.5, 1.0


@dataclass
class Track:
    filter: Textbook
    label: int
    seen: float
    missed: int = 0
    id: int | None = None


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, w) * max(0, h)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def best(fits: dict[tuple[int, int], float], rows: list[int], columns: list[int]) -> list[tuple[int, int]]:
    """The pairs with the largest sum, by trying all."""
    if len(rows) > len(columns):
        return [(a, b) for b, a in best({(b, a): fit for (a, b), fit in fits.items()}, columns, rows)]
    tries = [list(zip(rows, order, strict=True)) for order in permutations(columns, len(rows))]
    pairs = max(tries, key=lambda pairs: sum(fits[pair] for pair in pairs))
    return [pair for pair in pairs if fits[pair] > 0]


class Written:
    """One step after the other, of boxes."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.given, self.now, self.begun = 0, 0.0, False

    def update(self, found: Instances, seconds: float) -> list[int]:
        ids = [-1] * len(found)
        for track in self.tracks:
            end = track.seen + KEEP
            track.filter.predict(min(seconds, end) - min(self.now, end))
            track.missed += 1
        fits = {}
        for t, track in enumerate(self.tracks):
            x, y, w, h = track.filter.x[:4]
            expected = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            for n in range(len(found)):
                fit = iou(expected, found.boxes[n].astype(float))
                fits[t, n] = fit if fit >= LEAST_IOU and track.label == found.labels[n] else 0
        high = [n for n in range(len(found)) if found.scores[n] >= SCORE]
        low = [n for n in range(len(found)) if LEAST_SCORE <= found.scores[n] < SCORE]
        pairs = best(fits, list(range(len(self.tracks))), high)
        left = [t for t, track in enumerate(self.tracks) if t not in dict(pairs) and track.id is not None]
        pairs += best(fits, left, low)
        for t, n in sorted(pairs, key=lambda pair: pair[1]):
            track = self.tracks[t]
            track.filter.correct(found.boxes[n].tolist())
            track.seen, track.missed = seconds, 0
            track.id = track.id or self.next()
            ids[n] = track.id
        taken = {n for _, n in pairs}
        self.tracks = [track for track in self.tracks if self.remembers(track, seconds)]
        for n in high:
            if n not in taken:
                track = Track(Textbook(found.boxes[n].tolist()), int(found.labels[n]), seconds)
                if not self.begun:
                    ids[n] = track.id = self.next()
                self.tracks.append(track)
        self.now, self.begun = seconds, True
        return ids

    def next(self) -> int:
        self.given += 1
        return self.given

    def remembers(self, track: Track, seconds: float) -> bool:
        if track.missed == 0:
            return True
        return track.id is not None and (seconds - track.seen <= KEEP or track.missed < KEPT_FRAMES)


def walk(seed: int) -> list[tuple[Instances, float]]:
    """Four that go about one another and are missed now and then, in frames at any time."""
    rng = np.random.default_rng(seed)
    place, speed, seconds = rng.uniform(0, 150, (4, 2)), rng.normal(0, 60, (4, 2)), 0.0
    labels, frames = rng.integers(0, 2, 4), []
    for _ in range(30):
        step = float(rng.choice([0.04, 0.04, 0.1, 0.7, 2.5]))
        seconds += step
        place = place + step * speed + rng.normal(0, 2, (4, 2))
        place, speed = place.clip(0, 150), np.where((place < 0) | (place > 150), -speed, speed)
        there = rng.permutation(np.flatnonzero(rng.random(4) < 0.8))
        size = rng.uniform(0.9, 1.1, (len(there), 2)) * (40, 80)
        boxes = np.hstack([place[there], place[there] + size]).astype(np.float32)
        scores = rng.choice([0.05, 0.3, 0.9, 0.9], len(there)).astype(np.float32)
        frames.append((Instances(boxes, scores, labels[there], ["x"] * len(there), (300, 300)), seconds))
    return frames


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_ids_are_those_of_the_algorithm_written_out(seed: int) -> None:
    ours, theirs = Tracker(score=SCORE, keep=KEEP), Written()
    for found, seconds in walk(seed):
        assert ours.update(found, seconds).tolist() == theirs.update(found, seconds)
        known = sorted(track.id for track in theirs.tracks if track.id is not None)
        assert sorted(ours.remembered.tolist()) == known
