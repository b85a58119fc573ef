"""What is drawn by the process that encodes is what would be drawn here."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from fixed_model import FixedModel, image

from maskrcnn.cli.main import main
from maskrcnn.images.draw import draw_instances
from maskrcnn.predict.predictor import predict_pixels
from maskrcnn.video import output
from maskrcnn.video.counting import Row
from maskrcnn.video.draw_zones import draw_zones
from maskrcnn.video.drawing import receive_frame, send_end, send_frame
from maskrcnn.video.pipe import HEADER
from maskrcnn.video.predict import predict_videos
from maskrcnn.video.source import video_source
from maskrcnn.video.zones import Zone

ZONES = (Zone(name="door", line=[(10.0, 10.0), (200.0, 100.0)]),)
ROWS = (Row(1.0, "door", "cat", entered=2),)


@pytest.mark.parametrize("zones, rows", [((), ()), (ZONES, ROWS)])
def test_frames_arrive_drawn(zones: tuple[Zone, ...], rows: tuple[Row, ...]) -> None:
    pixels, pipe = image(), io.BytesIO()
    (found,) = predict_pixels(FixedModel(), [pixels])
    found.track_ids = np.arange(1, len(found) + 1)
    send_frame(pipe, 7, pixels, found, zones, rows)
    send_frame(pipe, 8, pixels, found[:0], (), ())
    send_end(pipe)
    pipe.seek(0)
    drawn = np.asarray(draw_instances(pixels, found, enlarge=False))
    expected = draw_zones(drawn, zones, rows) if zones else drawn
    first, second, end = (receive_frame(pipe) for _ in range(3))
    assert first is not None and first[0] == 7 and np.array_equal(first[1], expected)
    assert second is not None and second[0] == 8 and np.array_equal(second[1], pixels)
    assert end is not None and end[1].size == 0
    assert receive_frame(pipe) is None  # the other end has gone


def test_a_frame_that_was_cut_off_is_none() -> None:
    pixels, pipe = image(), io.BytesIO()
    (found,) = predict_pixels(FixedModel(), [pixels])
    send_frame(pipe, 7, pixels, found, (), ())
    for left in (5, pixels.nbytes, len(pipe.getvalue()) - 1):
        assert receive_frame(io.BytesIO(pipe.getvalue()[:left])) is None


def test_an_encoder_that_is_killed_or_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr("maskrcnn.cli.predict.load_runner", lambda *_, **__: FixedModel())
    clip, started = write_clip(tmp_path / "clip.mp4", 30), output.start_child

    def killed(role: str, task: dict) -> object:
        child = started(role, task)
        os.kill(child.pid, signal.SIGKILL)
        return child

    monkeypatch.setattr(output, "start_child", killed)
    assert main(["predict", "any", str(clip), "--out", str(tmp_path / "killed")]) == 2
    told = capsys.readouterr().err
    assert "clip.mp4: the encoder ended with code -9" in told and told.count("\n") == 1

    def damaged(file: io.BufferedWriter, *_: object) -> None:
        file.write(HEADER.pack(29, 3) + b'{"ticks": 0, "shape": [1, 1]}' + b"abc")
        file.flush()

    monkeypatch.setattr(output, "start_child", started)
    monkeypatch.setattr(output, "send_frame", damaged)
    source = video_source(str(clip))
    assert source is not None
    with pytest.raises(RuntimeError, match="the encoder failed"):
        list(predict_videos(FixedModel(), [source], tmp_path / "failed"))
