"""A person made of limbs, with the 17 keypoints of COCO, facing us: its left is on the right of the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# how far apart and how long the parts are, in heights of the whole figure
HEAD, NECK, SHOULDER, HIP, TORSO, ARM, LEG = 0.075, 0.06, 0.1, 0.065, 0.3, 0.16, 0.22
LIMB, TRUNK = 0.055, 0.075  # thickness
INK = (20, 20, 20)  # of the face


@dataclass
class Drawing:
    """One object before it is put into an image of (H, W)."""

    mask: np.ndarray  # (H, W) bool
    ink: np.ndarray | None  # (H, W) bool: the parts of it that are dark
    keypoints: np.ndarray | None  # (17, 3) float64: x, y, visibility


def draw_stick_figure(rng: np.random.Generator, side: tuple[int, int]) -> Drawing:
    """A figure in a random pose, wholly inside an image of `side` (height, width)."""
    height = rng.uniform(0.55, 0.9) * min(side)
    points = _pose(rng) * height
    margin = (HEAD * 0.6 + LIMB) * height
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    room = np.maximum(np.array(side[::-1]) - (high - low), 0)
    # a figure that a small image cannot hold is made smaller
    shrink = min(1.0, float(((np.array(side[::-1]) - 1) / (high - low)).min()))
    points, height = (points - low) * shrink + rng.uniform(0, 1, 2) * room, height * shrink
    canvas = np.zeros(side, np.uint8)
    ink = np.zeros(side, np.uint8)
    nose = points[0]
    shoulders, hips = points[5:7].mean(axis=0), points[11:13].mean(axis=0)
    limbs = [(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)]
    for start, end in limbs:
        _line(canvas, points[start], points[end], LIMB * height)
    trunk = [_whole(p) for p in (points[5], points[6], points[12], points[11])]
    cv2.fillPoly(canvas, [np.array(trunk, np.int32)], 1)
    _line(canvas, points[5], points[6], TRUNK * height)
    _line(canvas, points[11], points[12], TRUNK * height)
    _line(canvas, nose, (shoulders + hips) / 2, LIMB * height)
    cv2.circle(canvas, _whole(nose), round(HEAD * height), 1, cv2.FILLED)
    for ear in points[3:5]:
        cv2.circle(canvas, _whole(ear), max(1, round(0.022 * height)), 1, cv2.FILLED)
    for dot in points[:3]:
        cv2.circle(ink, _whole(dot), max(1, round(0.013 * height)), 1, cv2.FILLED)
    return Drawing(canvas.astype(bool), ink.astype(bool), np.column_stack([points, np.full(17, 2.0)]))


def _pose(rng: np.random.Generator) -> np.ndarray:
    """(17, 2) keypoints of a figure one unit tall, standing about the origin; y points down."""
    points = np.zeros((17, 2))
    points[1:5] = [[0.03, -0.025], [-0.03, -0.025], [HEAD, -0.005], [-HEAD, -0.005]]
    below = HEAD + NECK
    for first, sign in ((5, 1), (6, -1)):  # the figure's left, then its right
        points[first] = (sign * SHOULDER, below)
        points[first + 6] = (sign * HIP, below + TORSO)
        arm, leg = rng.uniform(-0.1, 2.4), rng.uniform(0.0, 0.6)  # away from straight down, outwards
        points[first + 2] = points[first] + ARM * _direction(sign, arm)
        points[first + 4] = points[first + 2] + ARM * _direction(sign, arm + rng.uniform(-0.8, 0.8))
        points[first + 8] = points[first + 6] + LEG * _direction(sign, leg)
        points[first + 10] = points[first + 8] + LEG * _direction(sign, leg - rng.uniform(0, 0.6))
    turn = rng.uniform(-0.25, 0.25)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return points @ rotation.T


def _direction(sign: int, angle: float) -> np.ndarray:
    """A unit vector `angle` away from straight down, to the right of the image where `sign` is 1."""
    return np.array([sign * np.sin(angle), np.cos(angle)])


def _line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, thickness: float) -> None:
    cv2.line(canvas, _whole(start), _whole(end), 1, max(2, round(thickness)))


def _whole(point: np.ndarray) -> tuple[int, int]:
    """The pixel that a continuous point lies in."""
    return int(np.floor(point[0])), int(np.floor(point[1]))
