from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskrcnn.errors import UserError
from maskrcnn.video.source import _exact, video_source


def test_a_file_is_a_video_by_its_suffix_and_images_are_not(tmp_path: Path) -> None:
    for name in ("My clip.MP4", "a.ts", "0"):
        (tmp_path / name).touch()
    source = video_source(str(tmp_path / "My clip.MP4"))
    assert source is not None and (source.kind, source.name) == ("file", "My clip")
    assert video_source(str(tmp_path / "a.ts")).kind == "file"  # type: ignore[union-attr]
    assert video_source(str(tmp_path)) is None and video_source("shots/*.png") is None


def test_a_number_is_a_camera_unless_there_is_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = video_source("0")
    assert source is not None and (source.kind, source.address, source.name) == ("camera", "0", "camera0")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "7", "PNG")
    assert video_source("7") is None


def test_the_network_is_asked_only_where_that_is_allowed() -> None:
    for address in (
        "rtsp://me:secret@cam.local:554/door",
        "http://127.0.0.1/a.ts",
        "https://example.org/x.mp4",
    ):
        with pytest.raises(
            UserError, match="is on the network, which is used only with --allow-network"
        ) as error:
            video_source(address)
        assert "secret" not in str(error.value)
    source = video_source("rtsp://me:secret@cam.local:554/door 1", allow_network=True)
    assert source is not None and (source.kind, source.name) == ("network", "door_1")
    assert source.shown == "rtsp://me@cam.local:554/door 1"
    for address in (
        "file:///etc/passwd",
        "concat://a|b",
        "ftp://x/y.mp4",
        "http://[",
        "http:///x",
        "http://a:b/x",
    ):
        with pytest.raises(UserError, match="address") as error:
            video_source(address, allow_network=True)
        assert "\n" not in str(error.value)


def test_images_with_fps_are_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in (1, 2, 10):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"f{number}.png")
    (folder / "f3.png.txt").touch()
    for text in ("shots", "shots/*.png", "shots/f%d.png", "shots/f%01d.png"):
        source = video_source(str(tmp_path / text), fps=29.97)
        assert source is not None and [path.name for path in source.images] == ["f1.png", "f2.png", "f10.png"]
        assert source.fps == Fraction(30_000, 1001) and source.name == "shots"
    two = video_source(str(folder / "f%02d.png"), fps=5)
    assert two is not None and [path.name for path in two.images] == ["f10.png"]
    with pytest.raises(UserError, match="add --fps"):
        video_source(str(folder / "f%02d.png"))
    with pytest.raises(UserError, match="no image has such a name"):
        video_source(str(folder / "g%02d.png"), fps=5)
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UserError, match="fps"):
            video_source(str(folder), fps=fps)


def test_a_video_that_is_not_there_is_no_image() -> None:
    with pytest.raises(UserError, match=r"typo.mp4: no such file or folder; check the name"):
        video_source("typo.mp4")


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (29.97, Fraction(30000, 1001)),
        (30, 30),
        (12.5, Fraction(25, 2)),
        (1 / 300, Fraction(1, 300)),
        (1e-3, Fraction(1, 1000)),
    ],
)
def test_rates_of_television_and_of_a_time_lapse_are_exact(fps: float, exact: Fraction) -> None:
    assert _exact(fps) == exact


@given(st.floats(1e-4, 240))
def test_no_rate_becomes_nothing(fps: float) -> None:
    assert abs(float(_exact(fps)) - fps) <= 0.005
    assert _exact(fps) > 0
