"""Tracks on generated crossings: HOTA and IDF1 with masks, with boxes and by `trackers`; the time a frame.

    python benchmarks/tracking.py [--json FILE] [--rounds N] [--videos N] [--seed N]

The videos are those of crossings.py, the scores those of tracking_scores.py, which a test compares with
trackeval's; trials of other trackers were made on the seeds 1000 to 1011, not on these. `trackers`
(Apache-2.0) has a row where it is installed, without the OpenCV that it asks for: `pip install --no-deps
trackers supervision pyDeprecate defusedxml requests`. Of the 50 objects whose time is taken the reference is
the same tracker on bitmaps of the frame's size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
from crossings import Frame, crossings, rods
from measure import OURS, Line, arguments, in_turns, report
from rich.console import Console
from rich.table import Table
from tracking_scores import Matched, hota, idf1

from maskrcnn.instances import Instances, Masks
from maskrcnn.video.overlap import Shapes, shared_areas
from maskrcnn.video.tracker import Tracker

FRAME = (1080, 1920)  # for the time
OBJECTS = 50
SCENES: dict[str, Callable[[int], Iterator[Frame]]] = {
    "10 people": lambda seed: crossings(seed, people=10),
    "16 people": lambda seed: crossings(seed, people=16),
    "40 rods": lambda seed: rods(seed, count=40),
    "60 rods": lambda seed: rods(seed, count=60),
}
AIM = 5  # HOTA with masks above that with boxes
Update = Callable[[Instances, float], np.ndarray]


def ways() -> dict[str, Callable[[], Update]]:
    """What gives ids, by name."""
    every: dict[str, Callable[[], Update]] = {
        "masks": lambda: Tracker().update,
        "boxes": lambda: Tracker(masks=False).update,
    }
    try:
        import supervision
        import trackers
    except ImportError:
        return every

    def by_trackers() -> Update:
        tracker = trackers.ByteTrackTracker(
            frame_rate=25, track_activation_threshold=0.5, high_conf_det_threshold=0.5
        )

        def update(found: Instances, seconds: float) -> np.ndarray:
            detections = supervision.Detections(
                found.boxes, confidence=found.scores, class_id=found.labels.astype(int)
            )
            answer = tracker.update(detections)
            by_box = {tuple(box): number for box, number in zip(answer.xyxy, answer.tracker_id, strict=True)}
            ids = [by_box.get(tuple(box), -1) for box in found.boxes]
            return np.array(ids, np.int64).reshape(-1) + 1

        return update

    return every | {"trackers": by_trackers}


def scores(seeds: range, scene: Callable[[int], Iterator[Frame]]) -> dict[str, dict[str, float]]:
    """HOTA with its parts and IDF1 in percent, and how many ids there were for each true object, by way.

    "perfect" gives each found object the id of that which it shows most of: more no tracker can reach.

    Args:
        seeds: of the videos.
        scene: makes the frames of one.
    """
    each: dict[str, list[dict[str, float]]] = {name: [] for name in (*ways(), "perfect")}
    for seed in seeds:
        frames = list(scene(seed))
        overlaps = [frame.iou() for frame in frames]
        for name, way in ways().items():
            update = way()
            given = [update(frame.found, frame.seconds) for frame in frames]
            each[name].append(_score(frames, overlaps, given))
        right = [frame.objects[iou.argmax(0)] + 1 for frame, iou in zip(frames, overlaps, strict=True)]
        each["perfect"].append(_score(frames, overlaps, right))
    return {
        name: {key: float(np.mean([video[key] for video in found])) for key in found[0]}
        for name, found in each.items()
    }


def _score(frames: list[Frame], overlaps: list[np.ndarray], given: list[np.ndarray]) -> dict[str, float]:
    matched = []
    for frame, iou, ids in zip(frames, overlaps, given, strict=True):
        matched.append(Matched(frame.objects, ids[ids > 0], iou[:, ids > 0]))
    percent = {name: 100 * value for name, value in (hota(matched) | {"IDF1": idf1(matched)}).items()}
    objects = len(np.unique(np.concatenate([frame.objects for frame in frames])))
    tracks = len(np.unique(np.concatenate([frame.tracks for frame in matched])))
    return percent | {"ids an object": tracks / objects}


def crowd(frames: int = 30) -> list[Instances]:
    """`OBJECTS` that walk through a frame, and overlap as people in a street do."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28] / 27 * 2 - 1
    maps = np.repeat(1 / (1 + np.exp(9 * (x**2 + y**2 - 0.8)))[None], OBJECTS, 0).astype(np.float32)
    low, side = rng.uniform(0, (1700, 800), (OBJECTS, 2)), rng.uniform(0.5, 1.5, (OBJECTS, 1)) * (90, 220)
    speed = rng.uniform(-4, 4, (OBJECTS, 2))
    every = []
    for number in range(frames):
        corner = low + number * speed
        boxes = np.hstack([corner, corner + side]).astype(np.float32)
        masks = Masks(maps, boxes, FRAME)
        labels, names = np.zeros(OBJECTS, np.int64), ["person"] * OBJECTS
        every.append(Instances(boxes, rng.uniform(0.3, 1, OBJECTS), labels, names, FRAME, masks))
    return every


def timed(update: Update, frames: list[Instances]) -> None:
    """Track the frames once."""
    for number, found in enumerate(frames):
        update(found, number / 25)


def by_pixels(before: Shapes, now: Shapes) -> np.ndarray:
    """Shared areas of masks that are pasted into bitmaps of the frame's size; of boxes as the tracker has
    them."""
    if before.cells is None or now.cells is None:
        return shared_areas(before, now)
    bitmaps = [
        Masks(each.cells.astype(np.float32), each.boxes, FRAME).bitmaps().reshape(len(each.boxes), -1)
        for each in (before, now)
    ]
    shared = [[np.count_nonzero(a & b) for b in bitmaps[1]] for a in bitmaps[0]]
    return np.array(shared, np.float64).reshape(len(before.boxes), len(now.boxes))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--videos", type=int, default=20, help="generated videos to score")
    parser.add_argument("--seed", type=int, default=2000, help="of the first of them")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.videos)
    found = {name: scores(seeds, scene) for name, scene in SCENES.items()}
    for scene, each in found.items():
        table = Table("", *each["masks"], title=f"{options.videos} videos of {scene} that cross")
        for name, values in each.items():
            table.add_row(name, *(f"{value:.1f}" for value in values.values()))
        Console().print(table)
        gained, room = (each[name]["HOTA"] - each["boxes"]["HOTA"] for name in ("masks", "perfect"))
        print(f"HOTA with masks less with boxes: {gained:+.1f} (aim {AIM}; perfect ids: {room:+.1f})")
    frames = crowd()
    fast: dict[str, Callable[[], Any]] = {OURS: lambda: timed(Tracker().update, frames)}
    if "trackers" in ways():
        fast["trackers, boxes"] = lambda: timed(ways()["trackers"](), frames)
    lines = [Line("30 frames of 50 objects", in_turns(fast, options.rounds))]
    few: dict[str, Callable[[], Any]] = {OURS: lambda: timed(Tracker().update, frames[:2])}

    def slow() -> None:
        with mock.patch("maskrcnn.video.overlap.shared_areas", by_pixels):
            timed(Tracker().update, frames[:2])

    few["bitmaps"] = slow
    lines.append(Line("2 frames of 50 objects", in_turns(few, 1)))
    begin = time.process_time()  # not the time that others have the processor
    timed(Tracker().update, frames)
    lines[0].notes["processor, ms a frame"] = round(1e3 * (time.process_time() - begin) / len(frames), 2)
    report("The time of tracking", lines, options.json, scores=found)


if __name__ == "__main__":
    main()
