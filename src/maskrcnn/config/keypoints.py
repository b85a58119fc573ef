"""COCO's 17 keypoints of a person (cocodataset.org/#keypoints-eval)."""

from __future__ import annotations

from maskrcnn.config.model import KeypointSchema

PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO_NAMES = ["nose", *(f"{side}_{part}" for part in PARTS for side in ("left", "right"))]
COCO_FLIP = [0, *(index + 1 if index % 2 else index - 1 for index in range(1, 17))]
COCO_SKELETON = [
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (6, 8),
    (7, 9),
]
COCO_SKELETON += [(8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)]
# one standard deviation of what people disagree by, relative to the object's size
COCO_SIGMAS = [
    0.026,
    *(s for s in (0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089) for _ in range(2)),
]


def coco_keypoints() -> KeypointSchema:
    """All of it as a schema of its own."""
    return KeypointSchema(names=COCO_NAMES, flip=COCO_FLIP, skeleton=COCO_SKELETON, sigmas=COCO_SIGMAS)
