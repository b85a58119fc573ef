"""Crossings and areas: generated walks whose counts are known, and what must not change them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn.instances import Instances, Masks
from maskrcnn.video.counting import Counter, CountsWriter, anchors
from maskrcnn.video.tracker import Tracker
from maskrcnn.video.zones import Zone

SIZE = (400, 600)
FPS = 25


def standing(*feet: tuple[float, float], names: list[str] | None = None) -> Instances:
    """Objects without masks, 40 pixels wide and 100 tall, by where they stand."""
    boxes = np.array([[x - 20, y - 100, x + 20, y] for x, y in feet]).reshape(-1, 4)
    count = len(feet)
    return Instances(boxes, np.ones(count), np.zeros(count, int), names or ["person"] * count, SIZE)


def counted(zone: Zone, *walks: list[tuple[float, float] | None]) -> tuple[int, int, int | None]:
    """In, out and inside after objects went so; None: it was not seen."""
    counter = Counter([zone])
    for number in range(max(map(len, walks))):
        there = [n for n, walk in enumerate(walks) if number < len(walk) and walk[number] is not None]
        found = standing(*(walks[n][number] for n in there))  # type: ignore[misc]
        remembered = np.array([n for n, walk in enumerate(walks) if number < len(walk)])
        counter.update(found, np.array(there, np.int64), number / FPS, remembered)
    (row,) = counter.rows
    return row.entered, row.left, row.inside


def line(*points: tuple[float, float], **more: object) -> Zone:
    return Zone(name="line", line=list(points), **more)


def straight(*corners: tuple[float, float], steps: int = 20) -> list[tuple[float, float]]:
    """A walk from corner to corner."""
    parts = [np.linspace(a, b, steps) for a, b in zip(corners[:-1], corners[1:], strict=True)]
    return [tuple(point) for point in np.concatenate(parts)]


DOOR = line((300, 50), (300, 350))  # downwards: its right is at smaller x


def test_in_is_from_the_left_to_the_right_of_the_line() -> None:
    assert counted(DOOR, straight((400, 200), (200, 200))) == (1, 0, None)
    assert counted(DOOR, straight((200, 200), (400, 200))) == (0, 1, None)
    assert counted(line((300, 350), (300, 50)), straight((200, 200), (400, 200))) == (1, 0, None)
    assert counted(DOOR, straight((400, 200), (200, 200), (400, 210), (200, 220))) == (2, 1, None)


def test_who_goes_round_the_end_of_a_line_does_not_cross_it() -> None:
    around = straight((400, 200), (400, 380), (200, 380), (200, 200))
    assert counted(DOOR, around) == (0, 0, None)
    assert counted(DOOR, [*around, *straight((200, 200), (400, 200))]) == (0, 1, None)


def test_the_corners_of_a_line_count_once() -> None:
    bent = line((300, 50), (300, 200), (260, 350))
    for y in (195, 199.999, 200, 200.001, 205):
        assert counted(bent, straight((400, y), (200, y), steps=41)) == (1, 0, None)
        assert counted(bent, straight((200, y), (400, y), steps=40)) == (0, 1, None)


def test_who_stands_on_the_line_and_goes_back_has_not_crossed_it() -> None:
    shake = [(300 + dx, 200.0) for dx in (3, -3, 2, -4, 4, -1, 0, 1) * 5]
    assert counted(DOOR, straight((400, 200), (302, 200)) + shake + straight((303, 200), (400, 200))) == (
        0,
        0,
        None,
    )
    assert counted(DOOR, straight((400, 200), (302, 200)) + shake + straight((303, 200), (200, 200))) == (
        1,
        0,
        None,
    )


def test_a_crossing_that_nobody_saw_counts_while_the_track_is_remembered() -> None:
    walk = straight((400, 200), (200, 200))
    hidden = [point if abs(point[0] - 300) > 60 else None for point in walk]
    assert counted(DOOR, hidden) == (1, 0, None)


def test_a_track_that_ended_is_forgotten() -> None:
    counter = Counter([Zone(name="room", polygon=[(100, 100), (500, 100), (500, 390), (100, 390)]), DOOR])
    none = np.zeros(0, np.int64)
    (row,) = counter.update(standing((400, 200)), np.array([7]), 0, none)
    assert (row.inside, row.entered) == (1, 0)
    assert counter.update(standing(), none, 1, np.array([7])) == []  # hidden, and still in the room
    (row,) = counter.update(standing(), none, 2, none)
    assert (row.seconds, row.inside, row.left) == (2, 0, 0)
    counter.update(standing((200, 200)), np.array([8]), 3, none)  # another, on the door's other side
    assert [row.entered + row.left for row in counter.rows] == [0, 0]
    assert all(len(zone._seen) <= 1 for zone in counter._zones)


def test_an_area_is_entered_and_left() -> None:
    room = Zone(name="room", polygon=[(100, 100), (300, 100), (300, 390), (100, 390)])
    assert counted(room, straight((50, 200), (200, 200))) == (1, 0, 1)
    assert counted(room, straight((50, 200), (200, 200), (500, 200))) == (1, 1, 0)
    assert counted(room, straight((200, 200), (500, 200)), straight((210, 300), (220, 300))) == (0, 1, 1)
    shake = [(300 + dx, 200.0) for dx in (3, -3, 2, -4, 4, -1) * 5]
    assert counted(room, straight((50, 200), (297, 200)) + shake) == (1, 0, 1)


def test_an_area_too_narrow_for_the_hysteresis_is_entered_all_the_same() -> None:
    strip = Zone(name="strip", polygon=[(295, 0), (303, 0), (303, 400), (295, 400)])
    walk = straight((200, 200), (400, 200), steps=201)
    assert counted(strip, walk) == (1, 1, 0)


def test_classes_are_counted_apart_and_objects_without_a_track_not_at_all() -> None:
    counter = Counter([DOOR, line((300, 50), (300, 350), classes=["dog"])])
    for number, x in enumerate(np.linspace(400, 200, 20)):
        found = standing((x, 100), (x, 200), (x, 300), names=["person", "dog", "person"])
        counter.update(found, np.array([1, 2, -1]), number / FPS, np.array([1, 2]))
    rows = [(row.name, row.entered) for row in counter.rows]
    assert rows == [("person", 1), ("dog", 1), ("dog", 1)]


def generated(rng: np.random.Generator, crossings: int, jitter: float) -> list[tuple[float, float]]:
    """A walk to and fro over the door, with stops anywhere, also on the line, and slow and fast stretches."""
    points, side = [(300 + 120 * rng.uniform(0.5, 1), 200.0)], 1
    for _ in range(crossings):
        side = -side
        goal = (300 + side * 120 * rng.uniform(0.5, 1), rng.uniform(120, 280))
        for share in np.sort(np.append(rng.uniform(0, 1, 3), [0.5, 1])):  # half the way is about the line
            here = np.array(points[-1])
            there = here + share * (np.array(goal) - here) if share < 1 else np.array(goal)
            points += [tuple(p) for p in np.linspace(here, there, rng.integers(2, 20))]
            points += [tuple(there)] * rng.integers(0, 25)
    shaken = np.array(points) + rng.uniform(-jitter, jitter, (len(points), 2))
    return [tuple(point) for point in shaken]


def test_200_crossings_with_jitter_and_stop_and_go_are_counted_without_an_error() -> None:
    rng = np.random.default_rng(0)
    walks = [generated(rng, 5, jitter=4.9) for _ in range(40)]  # 5% of 100 pixels are 5
    entered, left, _ = counted(DOOR, *walks)
    assert (entered, left) == (120, 80)


walk = st.integers(0, 10**6).map(lambda seed: generated(np.random.default_rng(seed), seed % 5, jitter=0))


@settings(max_examples=25, deadline=None)
@given(walk, st.integers(0, 10**6))
def test_jitter_below_the_hysteresis_changes_nothing(path, seed: int) -> None:
    shaken = np.array(path) + np.random.default_rng(seed).uniform(-4.9, 4.9, (len(path), 2))
    assert counted(DOOR, [tuple(point) for point in shaken]) == counted(DOOR, path)


anywhere = st.tuples(st.floats(0, 600), st.floats(0, 400))
corner = st.tuples(st.integers(0, 600), st.integers(0, 400))


@settings(max_examples=100, deadline=None)
@given(st.lists(anywhere, min_size=2, max_size=30), st.lists(corner, min_size=2, max_size=5, unique=True))
def test_a_line_the_other_way_round_swaps_in_and_out(path, points) -> None:
    entered, left, _ = counted(line(*points, hysteresis=0.01), path)
    assert counted(line(*points[::-1], hysteresis=0.01), path) == (left, entered, None)


@settings(max_examples=100, deadline=None)
@given(st.lists(anywhere, min_size=2, max_size=30))
def test_a_closed_line_and_the_area_in_it_count_alike(path) -> None:
    corners = [
        (200.0, 100.0),
        (400.0, 120.0),
        (420.0, 300.0),
        (190.0, 310.0),
    ]  # clockwise: its right is inside
    room = Zone(name="room", polygon=corners, hysteresis=0)
    entered, left, inside = counted(room, path)
    began = counted(room, path[:1])[2]
    assert counted(line(*corners, corners[0], hysteresis=0), path)[:2] == (entered, left)
    assert inside == began + entered - left


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_anchors_are_those_of_the_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.hstack([low := rng.uniform(-10, 90, (4, 2)), low + rng.uniform(2, 60, (4, 2))])
    maps = np.clip(rng.normal(0.6, 0.3, (4, 28, 28)), 0, 1).astype(np.float32)
    maps[3] = 0
    masks = Masks(maps, boxes, (110, 100))
    found = Instances(boxes.clip(0, 100), np.ones(4), np.zeros(4, int), ["x"] * 4, (110, 100), masks)
    places = anchors(found)
    for row, bitmap in enumerate(masks.bitmaps()):
        y, x = np.nonzero(bitmap)
        if len(x):
            assert places["centre"][row] == pytest.approx([x.mean() + 0.5, y.mean() + 0.5])
            assert places["bottom"][row] == pytest.approx([x.mean() + 0.5, y.max() + 1])
        else:
            box = found.boxes[row]
            assert places["bottom"][row] == pytest.approx([(box[0] + box[2]) / 2, box[3]])


def test_a_mask_from_top_to_bottom_has_its_anchors() -> None:
    bar = Masks(np.ones((1, 28, 28), np.float32), np.array([[10, -5, 30, 60]]), (50, 80))
    found = Instances(np.array([[10, 0, 30, 50]]), np.ones(1), np.zeros(1, int), ["x"], (50, 80), bar)
    assert anchors(found)["centre"].tolist() == [[20, 25]]
    assert anchors(found)["bottom"].tolist() == [[20, 50]]


@pytest.mark.parametrize("begin", [0, 1, 3])
def test_a_crossing_right_after_an_object_came_counts(begin: int) -> None:
    pytest.importorskip("scipy")
    room = Zone(name="room", polygon=[(100, 100), (295, 100), (295, 390), (100, 390)])
    tracker, counter = Tracker(), Counter([DOOR, room])
    for number, x in enumerate([None] * begin + [310, 288, 280, 276, 275, 276, 280, 288, 300, 310]):
        found = standing() if x is None else standing((500, 200), (x, 200))
        ids = tracker.update(found, number)
        counter.update(found, ids, number, tracker.remembered, tracker.first_seen)
    door, inside = counter.rows
    assert (door.entered, door.left, door.inside) == (1, 1, None)
    assert (inside.entered, inside.left, inside.inside) == (1, 1, 0)


def test_counts_are_written_as_they_change(tmp_path: Path) -> None:
    zones = [Zone(name="=door", line=DOOR.line), Zone(name="far", polygon=[(0, 0), (9, 0), (9, 9)])]
    counter, writer = Counter(zones), CountsWriter(tmp_path / "counts.csv", zones)
    for number, x in enumerate(np.linspace(400, 200, 20)):
        writer.add(counter.update(standing((x, 200)), np.array([1]), number / FPS, np.array([1])))
    with (tmp_path / "counts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["time", "zone", "class", "in", "out", "inside"],
        ["0.000", "'=door", "", "0", "0", ""],
        ["0.000", "far", "", "0", "0", "0"],
        ["0.400", "'=door", "person", "1", "0", ""],
    ]
    assert [(row.zone, row.name, row.entered) for row in counter.rows] == [
        ("=door", "person", 1),
        ("far", "", 0),
    ]
    writer.close()
