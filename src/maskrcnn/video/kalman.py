"""Where the boxes of tracks are next: a Kalman filter for all of them at once.

The centre moves at a constant velocity that is pushed about by white noise, the width and height wander. The
four coordinates do not depend on one another, so each is a filter of its own with two values, position and
velocity, and a symmetric covariance of 2 x 2 (Bar-Shalom, Li and Kirubarajan 2001, section 6.2.2; as in SORT,
Bewley et al. 2016, but in seconds, so that frames may come at any time).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

# In units of a box's side, the root of its area; over its centre x, centre y, width and height
FIRST_SPEED = np.array([2.0, 2.0, 0, 0])  # per second: standard deviation of a new track's velocity
PUSH = np.array([0.1, 0.1, 0, 0])  # variance that a velocity gains in a second
WANDER = np.array([0.0, 0, 0.1, 0.1])  # variance that a position gains in a second
NOISE = 0.08  # standard deviation of a measured position


@dataclass
class Motion:
    """T boxes with their velocities; each array is (T, 4) float64 over centre x, centre y, width, height."""

    position: np.ndarray  # pixels
    velocity: np.ndarray  # pixels a second
    # variances of the position and of the velocity, and what they have in common
    var_position: np.ndarray
    covariance: np.ndarray
    var_velocity: np.ndarray

    @classmethod
    def of(cls, boxes: np.ndarray) -> Self:
        """At rest at boxes (T, 4) xyxy, with no idea of their velocities."""
        position = _centred(boxes)
        side = _side(position)
        zero = np.zeros_like(position)
        return cls(position, zero, zero + (NOISE * side) ** 2, zero, (FIRST_SPEED * side) ** 2)

    def __getitem__(self, rows: np.ndarray) -> Motion:
        return Motion(*(getattr(self, field.name)[rows] for field in fields(self)))

    def followed_by(self, other: Motion) -> Motion:
        """The boxes of both."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Motion(*(np.concatenate(pair) for pair in pairs))

    def boxes(self) -> np.ndarray:
        """float64 (T, 4) xyxy."""
        half = self.position[:, 2:] / 2
        return np.hstack([self.position[:, :2] - half, self.position[:, :2] + half])

    def after(self, seconds: np.ndarray) -> Motion:
        """What is expected so much later, (T,)."""
        seconds = seconds[:, None]
        square = _side(self.position) ** 2
        push = PUSH * square
        return Motion(
            self.position + seconds * self.velocity,
            self.velocity,
            self.var_position
            + 2 * seconds * self.covariance
            + seconds**2 * self.var_velocity
            + push * seconds**3 / 3
            + WANDER * square * seconds,
            self.covariance + seconds * self.var_velocity + push * seconds**2 / 2,
            self.var_velocity + push * seconds,
        )

    def corrected(self, boxes: np.ndarray) -> Motion:
        """The same once boxes (T, 4) xyxy were seen."""
        measured = _centred(boxes)
        surprise = measured - self.position
        variance = self.var_position + (NOISE * _side(measured)) ** 2
        gain, gain_velocity = self.var_position / variance, self.covariance / variance
        return Motion(
            self.position + gain * surprise,
            self.velocity + gain_velocity * surprise,
            (1 - gain) * self.var_position,
            (1 - gain) * self.covariance,
            self.var_velocity - gain_velocity * self.covariance,
        )


def _centred(boxes: np.ndarray) -> np.ndarray:
    """Boxes xyxy as centre x, centre y, width, height."""
    boxes = boxes.astype(np.float64)
    return np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])


def _side(position: np.ndarray) -> np.ndarray:
    """The root of each box's area, (T, 1), at least a pixel."""
    side: np.ndarray = np.sqrt(position[:, 2:].prod(axis=1, keepdims=True)).clip(min=1)
    return side
