"""zones.json: what is taken, and the one line about what is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from maskrcnn.errors import UserError
from maskrcnn.video.zones import check_size, read_zones

LINE = {"name": "door", "line": [[10, 10], [10, 90]]}
ROOM = {"name": "room", "polygon": [[0, 0], [50, 0], [50, 50]]}


def zones_of(tmp_path: Path, content: object):
    path = tmp_path / "zones.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_zones(path, ["person", "dog"])


def test_lines_and_polygons_are_read(tmp_path: Path) -> None:
    zones = zones_of(tmp_path, {"zones": [LINE, ROOM | {"anchor": "centre", "classes": ["dog"]}]})
    assert [zone.kind for zone in zones] == ["line", "polygon"]
    assert zones[1].points.tolist() == ROOM["polygon"] and zones[1].classes == ["dog"]


@pytest.mark.parametrize(
    "content, says",
    [
        ("{", "not readable as JSON"),
        ("[]", "a mapping is expected"),
        ({"zones": []}, "a list of zones is expected"),
        ({"zones": [LINE], "more": 1}, "a list of zones is expected"),
        ({"zones": [3]}, "zone 1: a mapping is expected, not int"),
        ({"zones": [LINE] * 201}, "201 zones; give at most 200"),
        ({"zones": [LINE, LINE]}, "zone 2 ('door'): another zone has this name"),
        ({"zones": [LINE | ROOM]}, "zone 1 ('room'): line: a zone has either a line or a polygon"),
        ({"zones": [{"name": "x"}]}, "zone 1 ('x'): line: a zone has either a line or a polygon"),
        ({"zones": [{"line": LINE["line"]}]}, "zone 1: name: Field required"),
        ({"zones": [LINE | {"name": " "}]}, "zone 1 (' '): name: "),
        ({"zones": [LINE | {"lines": 1}]}, "zone 1 ('door'): no setting 'lines'; did you mean 'line'?"),
        ({"zones": [LINE | {"line": [[1, 2]]}]}, "zone 1 ('door'): line: "),
        ({"zones": [LINE | {"line": [[1, 2], [1, 2]]}]}, "zone 1 ('door'): line: has the same point twice"),
        ({"zones": [LINE | {"line": [[1, 2], [1]]}]}, "zone 1 ('door'): line.1"),
        ({"zones": [LINE | {"line": [[1, 2], [1, "x"]]}]}, "zone 1 ('door'): line.1.1"),
        ('{"zones": [{"name": "door", "line": [[1, 2], [1, NaN]]}]}', "zone 1 ('door'): line.1.1"),
        ({"zones": [LINE | {"line": [[1, 2], [1, 1e30]]}]}, "zone 1 ('door'): line.1.1"),
        ({"zones": [ROOM | {"polygon": [[0, 0], [9, 9], [5, 5]]}]}, "polygon: has no area"),
        (
            {"zones": [ROOM | {"polygon": [[0, 0], [9, 0], [5, 5], [0, 0]]}]},
            "polygon: has the same point twice",
        ),
        ({"zones": [LINE | {"anchor": "top"}]}, "zone 1 ('door'): anchor: "),
        ({"zones": [LINE | {"hysteresis": -1}]}, "zone 1 ('door'): hysteresis: "),
        ({"zones": [LINE | {"classes": ["persn"]}]}, "no class 'persn'; did you mean 'person'?"),
        ({"zones": [LINE | {"classes": []}]}, "zone 1 ('door'): classes: "),
        ({"zones": [LINE | {"classes": ["x"]}]}, "no class 'x'; there are: person, dog"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_zone(tmp_path: Path, content: object, says: str) -> None:
    with pytest.raises(UserError) as error:
        zones_of(tmp_path, content)
    assert says in str(error.value) and str(tmp_path / "zones.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.json"):
        read_zones(tmp_path / "none.json", ["person"])


def test_a_zone_outside_the_frame_is_named(tmp_path: Path) -> None:
    zones = zones_of(tmp_path, {"zones": [ROOM, LINE | {"line": [[300, 10], [400, 20]]}]})
    check_size(zones, (100, 350), "clip.mp4")
    with pytest.raises(
        UserError, match="clip.mp4: the zone 'door' lies outside its frames of 200 x 100 pixels; "
    ):
        check_size(zones, (100, 200), "clip.mp4")


def test_the_example_of_the_docs_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "predict-video.md"
    blocks = re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = [block for block in blocks if '"zones"' in block]
    assert [zone.kind for zone in zones_of(tmp_path, example)] == ["line", "polygon"]
