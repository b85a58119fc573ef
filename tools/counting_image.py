"""Make docs/counting.png: a frame of a generated video with its tracks, zones and counts.

python tools/counting_image.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from crossings import Frame, crossings  # noqa: E402

from maskrcnn.images.draw import draw_instances  # noqa: E402
from maskrcnn.video.counting import Counter  # noqa: E402
from maskrcnn.video.draw_zones import draw_zones  # noqa: E402
from maskrcnn.video.tracker import Tracker  # noqa: E402
from maskrcnn.video.zones import Zone  # noqa: E402

SIZE = (540, 960)
ZONES = [
    Zone(name="door", line=[(480, 530), (480, 240)], classes=["person"]),
    Zone(name="queue", polygon=[(90, 300), (380, 300), (330, 480), (40, 480)]),
]


def street(frame: Frame) -> np.ndarray:
    """The frame's people in plain clothes on a grey square."""
    light = np.linspace(150, 90, SIZE[0])[:, None, None]
    pixels = np.broadcast_to(light * np.array([0.95, 1, 0.9]), (*SIZE, 3)).astype(np.uint8)
    for person, mask in zip(frame.objects, frame.masks, strict=True):
        pixels[mask] = np.random.default_rng(person).integers(60, 200, 3)
    return pixels


def main() -> None:
    tracker, counter = Tracker(), Counter(ZONES)
    for frame in crossings(5, frames=190, people=8, size=SIZE):
        ids = tracker.update(frame.found, frame.seconds)
        counter.update(frame.found, ids, frame.seconds, tracker.remembered)
    shown = frame.found[ids > 0]
    shown.track_ids = ids[ids > 0]
    drawn = np.asarray(draw_instances(street(frame), shown, scores=False))
    image = Image.fromarray(draw_zones(drawn, ZONES, counter.rows))
    image.quantize(128).save(ROOT / "docs" / "counting.png", optimize=True)


if __name__ == "__main__":
    main()
