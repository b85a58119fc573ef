"""Zones on a frame: where they are, with their counts, on a copy."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn.video.counting import Row
from maskrcnn.video.draw_zones import draw_zones
from maskrcnn.video.zones import Zone

DOOR = Zone(name="door", line=[(200, 150), (200, 350)])
ROOM = Zone(name="room", polygon=[(300, 100), (500, 100), (500, 300), (300, 300)])
ROWS = [Row(1, "door", "person", 2, 1), Row(2, "room", "person", 1, 0, 1), Row(2, "room", "dog", 0, 0, 0)]


def test_lines_areas_and_counts_are_drawn_on_a_copy() -> None:
    frame = np.full((400, 600, 3), 90, np.uint8)
    drawn = draw_zones(frame, [DOOR, ROOM], ROWS)
    assert drawn.shape == frame.shape and (frame == 90).all()
    assert (drawn[300, 200] == 255).all() and (drawn[290, 100] == 90).all()
    assert (drawn[250, 180] > 200).all() and (drawn[250, 220] == 90).all()  # the arrow, to the right of down
    assert (drawn[200, 300] > 200).all() and 90 < drawn[200, 400, 0] < 130
    without = draw_zones(frame, [DOOR, ROOM], [Row(0, "door", ""), Row(0, "room", "", inside=0)])
    assert (without != drawn).any() and (without[300, 200] == 255).all()


@pytest.mark.parametrize("size", [(20, 30), (400, 600), (2000, 3000)])
def test_a_zone_that_reaches_out_of_any_frame_is_drawn(size: tuple[int, int]) -> None:
    far = Zone(name="a name that is longer than the frame " * 2, line=[(-1e6, -1e6), (1e6, 1e6)])
    rows = [Row(0, far.name, f"class {number}") for number in range(9)]
    assert draw_zones(np.zeros((*size, 3), np.uint8), [far, ROOM], rows).shape == (*size, 3)
