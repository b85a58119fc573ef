"""Generated videos of objects that cross and hide one another, with what a network would find in them.

People: figures with swinging arms and legs walk, stop and turn on a square, nearer ones in front. Rods: thin
bacteria in a time lapse glide along their axes, bend their way, stop and reverse, as myxobacteria do; where
they pass one another their boxes overlap and their masks hardly. What is "found" is the visible part of each:
its mask over its box, with jitter, a score that falls with what is hidden, and no object whose box overlaps a
better one's by more than half (NMS).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from maskrcnn.instances import Instances, Masks

SIDE = 28  # of a mask over its box
LEAST_SEEN = 0.1  # part of an object that must be visible for it to be there
NMS = 0.5


@dataclass
class Frame:
    """A moment of a video: what there is, and what was found."""

    seconds: float
    objects: np.ndarray  # (G,) int64: which are visible
    masks: np.ndarray  # bool (G, H, W): the visible part of each
    found: Instances

    def iou(self) -> np.ndarray:
        """(G, N): of each object's visible pixels with each found object's."""
        truth, found = (
            masks.reshape(len(masks), -1).astype(np.float32)
            for masks in (self.masks, self.found.masks.bitmaps())
        )
        shared = truth @ found.T
        return shared / (truth.sum(1)[:, None] + found.sum(1) - shared).clip(min=1)


def crossings(
    seed: int, *, people: int = 10, frames: int = 150, fps: float = 25, size: tuple[int, int] = (270, 480)
) -> Iterator[Frame]:
    """A video of so many people, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    height, width = size
    share = rng.uniform(0.85, 1.15, people)  # of the usual height
    x, foot = rng.uniform(0, width, people), rng.uniform(0.45, 0.95, people) * height
    speed, way = rng.uniform(0.4, 0.9, people), rng.uniform(0, 2 * np.pi, people)
    walking, phase = np.ones(people, bool), rng.uniform(0, 1, people)
    for number in range(frames):
        change = rng.random(people) < 0.5 / fps  # every two seconds one turns, stops or walks on
        way = np.where(change, rng.uniform(0, 2 * np.pi, people), way)
        walking ^= change & (rng.random(people) < 0.4)
        tall = share * (0.12 + 0.3 * foot / height) * height
        step = walking * speed * tall / fps
        across, down = step * np.cos(way), 0.5 * step * np.sin(way)
        out = (x + across < 0) | (x + across > width)
        across = np.where(out, -across, across)
        way = np.where(out, np.pi - way, way)
        out = (foot + down < 0.45 * height) | (foot + down > 0.97 * height)
        down = np.where(out, -down, down)
        way = np.where(out, -way, way)
        x, foot, phase = x + across, foot + down, phase + walking * speed / fps * 1.4
        facing = np.sign(np.cos(way))
        whole = [_person(size, *one) for one in zip(x, foot, tall, phase, facing, strict=True)]
        yield _frame(number / fps, whole, np.argsort(-foot), rng)


def rods(
    seed: int, *, count: int = 40, frames: int = 60, fps: float = 2, size: tuple[int, int] = (270, 480)
) -> Iterator[Frame]:
    """A video of so many rods, 6 to 12 times as long as wide, the same for the same arguments."""
    rng = np.random.default_rng(seed)
    long, wide = rng.uniform(50, 80, count), rng.uniform(6.5, 8.5, count)
    place, way = rng.uniform((0, 0), size[::-1], (count, 2)), rng.uniform(0, 2 * np.pi, count)
    speed, turn = rng.uniform(0.4, 0.9, count), np.zeros(count)  # lengths and radians a second
    forward, gliding = rng.choice([-1.0, 1.0], count), np.ones(count, bool)
    front = rng.permutation(count)
    for number in range(frames):
        change = rng.random(count) < 0.1 / fps  # every ten seconds one reverses, stops or goes on
        gliding ^= change & (rng.random(count) < 0.4)
        forward = np.where(change, -forward, forward)
        turn = 0.95 * turn + rng.normal(0, 0.1, count)
        way = way + gliding * turn / fps
        axis = np.stack([np.cos(way), np.sin(way)], axis=1)
        place = place + (gliding * forward * speed * long / fps)[:, None] * axis
        out = (place < 0) | (place > size[::-1])
        place = np.clip(place, 0, size[::-1])
        forward = np.where(out.any(1), -forward, forward)
        ends = np.stack([place - axis * long[:, None] / 2, place + axis * long[:, None] / 2], axis=1)
        yield _frame(number / fps, [_rod(size, *one) for one in zip(ends, wide, strict=True)], front, rng)


def _frame(seconds: float, whole: list[np.ndarray], front: np.ndarray, rng: np.random.Generator) -> Frame:
    """What is seen and found of objects, of which those named first by `front` hide the others."""
    masks, covered = np.zeros((len(whole), *whole[0].shape), bool), np.zeros(whole[0].shape, bool)
    for row in front:
        masks[row] = whole[row] & ~covered
        covered |= whole[row]
    seen = masks.sum((1, 2)) / np.maximum(1, [mask.sum() for mask in whole])
    present = np.flatnonzero((seen >= LEAST_SEEN) & (masks.sum((1, 2)) >= 30))
    return Frame(seconds, present, masks[present], _found(masks[present], seen[present], rng))


def _rod(size: tuple[int, int], ends: np.ndarray, wide: float) -> np.ndarray:
    """The pixels, bool (H, W), between two points (2, 2)."""
    canvas, (start, end) = np.zeros(size, np.uint8), np.rint(ends * 16).astype(int).tolist()
    cv2.line(canvas, start, end, 1, round(wide), shift=4)
    return canvas > 0


def _person(
    size: tuple[int, int], x: float, foot: float, tall: float, phase: float, facing: float
) -> np.ndarray:
    """The pixels, bool (H, W), of a figure that stands at (x, foot)."""
    canvas = np.zeros(size, np.uint8)
    swing = 0.45 * np.sin(2 * np.pi * phase)

    def at(across: float, up: float) -> tuple[int, int]:
        return round((x + facing * across * tall) * 16), round((foot - up * tall) * 16)

    def limb(a: tuple[int, int], b: tuple[int, int], thick: float) -> None:
        cv2.line(canvas, a, b, 1, max(2, round(thick * tall)), shift=4)

    cv2.circle(canvas, at(0.02, 0.92), round(0.075 * tall * 16), 1, -1, shift=4)
    limb(at(0, 0.82), at(0, 0.5), 0.17)
    for side in (-1, 1):
        knee = side * swing * 0.28
        limb(at(0, 0.5), at(knee, 0.26), 0.09)
        limb(at(knee, 0.26), at(knee + side * swing * 0.22 - 0.02, 0.02), 0.07)
        limb(at(0, 0.78), at(-side * swing * 0.4, 0.5), 0.06)
    return canvas > 0


def _found(masks: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> Instances:
    """What a network finds of these masks, best first."""
    size = (masks.shape[1], masks.shape[2])
    scores = np.clip(0.97 * seen**0.6 + rng.normal(0, 0.04, len(seen)), 0.05, 1)
    scores[rng.random(len(seen)) < 0.02] *= 0.3  # now and then one is hardly found
    boxes, maps = np.zeros((len(masks), 4), np.float32), np.zeros((len(masks), SIDE, SIDE), np.float32)
    for row, mask in enumerate(masks):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
        box += rng.normal(0, 0.015, 4) * np.tile(box[2:] - box[:2], 2)
        boxes[row] = np.clip(box, 0, [size[1], size[0]] * 2)
        maps[row] = _map(mask, boxes[row], rng)
    order = [row for row in np.argsort(-scores) if (boxes[row, 2:] > boxes[row, :2] + 1).all()]
    kept: list[int] = []
    for row in order:
        if all(_box_iou(boxes[row], boxes[other]) <= NMS for other in kept):
            kept.append(int(row))
    boxes, maps, scores = boxes[kept], maps[kept], scores[kept].astype(np.float32)
    labels = np.zeros(len(kept), np.int64)
    return Instances(boxes, scores, labels, ["object"] * len(kept), size, Masks(maps, boxes, size))


def _map(mask: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask over its box as a network gives it: soft and a little wrong at its edges."""
    centres = (np.arange(SIDE) + 0.5) / SIDE
    columns = box[0] + centres * (box[2] - box[0]) - 0.5
    rows = box[1] + centres * (box[3] - box[1]) - 0.5
    x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), 1.5)
    return np.clip(cv2.remap(soft, x, y, cv2.INTER_LINEAR) + 0.5 * noise, 0, 1)


def _box_iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = float((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(min=0).prod())
    return shared / float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)
