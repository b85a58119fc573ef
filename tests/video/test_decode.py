from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import frame, number_in, write_clip

from maskrcnn.errors import DataError
from maskrcnn.video.decode import Video

av = pytest.importorskip("av")


def test_times_are_exact_at_a_variable_frame_rate(tmp_path: Path) -> None:
    times = np.append(0, np.cumsum(np.random.default_rng(0).integers(1, 200, 59))).tolist()
    video = Video(str(write_clip(tmp_path / "clip.mp4", times=times)))
    found = list(video)
    assert [number_in(each.pixels) for each in found] == list(range(60)) == [each.number for each in found]
    assert [each.ticks * video.opened.time_base * 1000 for each in found] == times
    assert video.damaged == 0 and not video.opened.live and video.opened.frames == 60


@pytest.mark.parametrize("rotation, quarters", [(90, 1), (-90, -1), (180, 2)])
def test_rotation_is_applied(tmp_path: Path, rotation: int, quarters: int) -> None:
    (first, *_) = Video(str(write_clip(tmp_path / "clip.mp4", 3, rotation=rotation)))
    # libavutil/display.h: counter-clockwise, as np.rot90
    expected = np.rot90(frame(0), quarters)
    assert first.pixels.shape == expected.shape
    assert np.abs(first.pixels.astype(int) - expected).mean() < 8


def test_time_that_goes_back_goes_on_by_a_frame(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.ts", 10)
    clip.write_bytes(clip.read_bytes() * 3)
    video = Video(str(clip))
    assert [float(each.ticks * video.opened.time_base) for each in video] == [n / 25 for n in range(30)]
    assert (video.set_back, video.damaged) == (2, 0)


def test_raw_frames_have_the_rate_that_their_codec_says(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.h264"), "w") as container:
        stream = container.add_stream("libx264", rate=5, options={"bf": "0"})
        stream.height, stream.width = 96, 128
        for number in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(number), "rgb24")))
        container.mux(stream.encode(None))
    video = Video(str(tmp_path / "a.h264"))
    assert [float(each.ticks * video.opened.time_base) for each in video] == [0, 0.2, 0.4, 0.6]


def test_a_matroska_file_that_begins_later_lacks_nothing(tmp_path: Path) -> None:
    video = Video(str(write_clip(tmp_path / "a.mkv", times=[5000 + 40 * number for number in range(30)])))
    assert len(list(video)) == 30 and video.damaged == 0 and video.opened.frames == 30


@pytest.mark.parametrize("rotation, aspect", [(0, 2), (90, 0.5), (180, 2)])
def test_pixels_that_are_no_squares_turn_too(tmp_path: Path, rotation: int, aspect: float) -> None:
    clip = write_clip(tmp_path / "a.mp4", 2, rotation=rotation, aspect=2)
    assert [each.aspect for each in Video(str(clip))] == [aspect] * 2


def packets(path: Path) -> list[tuple[int, int]]:
    """Where each frame's packet begins in the file, and its bytes."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def spoil(path: Path, numbers: list[int]) -> Path:
    """Overwrite most of the packets of these numbers."""
    content, places = bytearray(path.read_bytes()), packets(path)
    for number in numbers:
        begin, size = places[number]
        content[begin + 8 : begin + size] = bytes(
            7 * byte % 251 for byte in content[begin + 8 : begin + size]
        )
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("codec, name", [("libx264", "a.mp4"), ("mpeg4", "a.avi"), ("libx265", "a.mkv")])
def test_damaged_frames_are_counted_and_the_rest_read(tmp_path: Path, codec: str, name: str) -> None:
    clip = write_clip(
        tmp_path / name, 100, codec=codec, options={"bf": "0", "g": "10", "x265-params": "log-level=0"}
    )
    video = Video(str(spoil(clip, [30, 31])))
    found = list(video)
    assert 90 <= len(found) <= 100
    assert video.damaged >= 2 and video.damaged >= 100 - len(found)
    assert number_in(found[-1].pixels) == 99


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mp4"])
def test_a_file_that_was_cut_off_is_known_to_be(tmp_path: Path, name: str) -> None:
    clip = write_clip(tmp_path / name, 100, codec="mpeg4")
    if name == "a.mp4":  # its table of contents to the front
        with (
            av.open(str(clip)) as old,
            av.open(str(tmp_path / "b.mp4"), "w", options={"movflags": "faststart"}) as new,
        ):
            stream = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
        clip = tmp_path / "b.mp4"
    whole = Video(str(clip))
    assert len(list(whole)) == 100 and whole.damaged == 0 and whole.opened.frames == 100
    clip.write_bytes(clip.read_bytes()[: packets(clip)[50][0] + 20])
    video = Video(str(clip))
    found = list(video)
    assert 45 <= len(found) <= 52 and len(found) + video.damaged == pytest.approx(100, abs=1)


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")
    (tmp_path / "list.mp4").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "more.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    for name in ("clip.mp4", "list.mp4", "more.mp4"):
        with pytest.raises(
            DataError, match=f"{name}: cannot be read as a video: .*; check that it plays"
        ) as error:
            Video(str(tmp_path / name))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_an_avi_whose_frames_are_out_of_order_keeps_its_times(codec: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        for number in range(40):
            picture = av.VideoFrame.from_ndarray(frame(number), "rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    video = Video(str(tmp_path / "a.avi"))
    found = list(video)
    assert [number_in(each.pixels) for each in found] == list(range(40)) and not video.set_back
    assert [float(each.ticks * video.opened.time_base) for each in found] == [n / 25 for n in range(40)]
