"""The filter of all boxes at once against the textbook's, with matrices, of each box."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.video.kalman import FIRST_SPEED, NOISE, PUSH, WANDER, Motion

side = st.floats(5, 200)
place = st.floats(-50, 500)
box = st.tuples(place, place, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
step = st.tuples(st.floats(0, 3), box)


def centred(box: list[float]) -> np.ndarray:
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0])


def length(z: np.ndarray) -> float:
    return max(1.0, float(np.sqrt(z[2] * z[3])))


class Textbook:
    """Eight values, predicted and corrected by matrices of 8 x 8."""

    def __init__(self, box: list[float]) -> None:
        z = centred(box)
        self.x = np.concatenate([z, np.zeros(4)])
        self.p = np.diag(np.concatenate([np.full(4, NOISE**2), FIRST_SPEED**2])) * length(z) ** 2

    def predict(self, t: float) -> None:
        square = length(self.x) ** 2
        f = np.eye(8)
        f[:4, 4:] = t * np.eye(4)
        push = np.diag(PUSH) * square
        q = np.block([[push * t**3 / 3, push * t**2 / 2], [push * t**2 / 2, push * t]])
        q[:4, :4] += np.diag(WANDER) * square * t
        self.x, self.p = f @ self.x, f @ self.p @ f.T + q

    def correct(self, box: list[float]) -> None:
        z = centred(box)
        h = np.hstack([np.eye(4), np.zeros((4, 4))])
        r = np.eye(4) * (NOISE * length(z)) ** 2
        gain = self.p @ h.T @ np.linalg.inv(h @ self.p @ h.T + r)
        self.x = self.x + gain @ (z - h @ self.x)
        self.p = (np.eye(8) - gain @ h) @ self.p


@settings(deadline=None)
@given(st.lists(st.tuples(box, st.lists(step, min_size=4, max_size=4)), min_size=1, max_size=4))
def test_is_the_textbooks_filter(paths) -> None:
    ours = Motion.of(np.array([first for first, _ in paths]))
    theirs = [Textbook(first) for first, _ in paths]
    for number in range(4):
        seconds = np.array([steps[number][0] for _, steps in paths])
        boxes = np.array([steps[number][1] for _, steps in paths])
        ours = ours.after(seconds)
        for one, t in zip(theirs, seconds, strict=True):
            one.predict(t)
        agree(ours, theirs)
        ours = ours.corrected(boxes)
        for one, seen in zip(theirs, boxes, strict=True):
            one.correct(seen)
        agree(ours, theirs)


def agree(ours: Motion, theirs: list[Textbook]) -> None:
    x = np.hstack([ours.position, ours.velocity])
    np.testing.assert_allclose(x, [one.x for one in theirs], rtol=1e-6, atol=1e-6)
    for mine, first, second in (
        (ours.var_position, 0, 0),
        (ours.covariance, 0, 4),
        (ours.var_velocity, 4, 4),
    ):
        parts = [np.diag(one.p[first : first + 4, second : second + 4]) for one in theirs]
        np.testing.assert_allclose(mine, parts, rtol=1e-5, atol=1e-5)


def test_a_prediction_in_two_steps_is_that_in_one_but_for_the_size_of_its_unit() -> None:
    motion = Motion.of(np.array([[0.0, 0, 40, 90]])).after(np.array([0.1]))
    motion = motion.corrected(np.array([[6.0, 1, 46, 91]]))
    once, twice = motion.after(np.array([1.0])), motion.after(np.array([0.3])).after(np.array([0.7]))
    np.testing.assert_allclose(once.boxes(), twice.boxes())
    np.testing.assert_allclose(once.var_position, twice.var_position)
