"""Frames with what was found in each: tracks, counts, batches, and the Python API."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import number_in, write_clip
from fixed_model import FixedModel, Raw, answer
from torch import Tensor

from maskrcnn import MaskRCNN
from maskrcnn.cli.main import main
from maskrcnn.errors import DataError, UserError
from maskrcnn.images.draw import draw_instances
from maskrcnn.runtime.engine import Runner
from maskrcnn.video.source import video_source
from maskrcnn.video.stream import VideoStream

pytest.importorskip("av")


class Elsewhere:
    """The same model, which says that it leaves the processor alone."""

    name, device = "elsewhere", torch.device("meta")

    def __init__(self, model: FixedModel) -> None:
        self.model, self.config = model, model.config

    def __call__(self, images: Tensor, sizes: Tensor, score: float | None = None) -> Raw:
        return self.model(images, sizes)


class Moving(FixedModel):
    """A cat that goes to the right by 2 pixels of the model's a frame, from the 10th on behind something."""

    def forward(self, images: Tensor, sizes: Tensor) -> Raw:
        raw = answer(len(images))
        for place in range(len(images)):
            # the brightness of the squares says which frame it is
            frame = images[place].float().mean(0)
            row = frame[58]
            number = sum(1 << bit for bit in range(6) if row[int(10.67 * bit + 5)] > 127)
            raw.boxes[place, 0] = torch.tensor([2.0 + 2 * number, 4, 18 + 2 * number, 40])
            raw.scores[place, 0] = 0.9 if number < 10 else 0.3
        raw.valid[:, 1:] = False
        return raw


def stream_of(clip: Path, batch: int = 1, model: Runner | None = None, **options: object) -> VideoStream:
    source = video_source(str(clip))
    assert source is not None
    return VideoStream(model or Moving(), source, batch=batch, **options)  # type: ignore[arg-type]


def test_ids_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 20)
    seen = []
    for batch, model in (
        (1, Moving()),
        (3, Moving()),
        (8, Moving()),
        (1, Elsewhere(Moving())),
        (3, Elsewhere(Moving())),
    ):
        frames = list(stream_of(clip, batch, model, track=True))
        assert [number_in(frame.pixels) for frame in frames] == list(range(20))
        seen.append(
            [(frame.number, frame.found.track_ids.tolist(), frame.found.boxes.tolist()) for frame in frames]
        )  # type: ignore[union-attr]
    assert all(each == seen[0] for each in seen)
    # also where its score is low: it goes on with its track, and is nothing without one
    assert [ids for _, ids, _ in seen[0]] == [[1]] * 20
    assert [len(frame.found) for frame in stream_of(clip)] == [1] * 10 + [0] * 10


def test_counts_are_of_each_frame_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    clip, out = write_clip(tmp_path / "clip.mp4", 20), tmp_path / "out"
    zones = tmp_path / "zones.json"
    zones.write_text(json.dumps({"zones": [{"name": "door", "line": [[45, 96], [45, 0]]}]}))
    monkeypatch.setattr("maskrcnn.cli.predict.load_runner", lambda *_, **__: Moving())
    assert (
        main(["predict", "any", str(clip), "--out", str(out), "--count", str(zones), "--save", "overlay,csv"])
        == 0
    )
    told = capsys.readouterr().out.splitlines()
    assert told == [f"followed 1 cat in 20 frames of {clip}: {out}", "door: 1 cat in, 0 out"]
    _, row = csv.DictReader((out / "clip.counts.csv").open())
    assert (row["zone"], row["class"], row["in"], row["out"]) == ("door", "cat", "1", "0")
    objects = list(csv.DictReader((out / "objects.csv").open()))
    assert len(objects) == 20 and {row["track_id"] for row in objects} == {"1"}
    lines = [json.loads(line) for line in (out / "clip.jsonl").read_text().splitlines()]
    assert all(line["objects"][0]["track_id"] == 1 for line in lines)
    zones.write_text(json.dumps({"zones": [{"name": "door", "line": [[900, 96], [900, 0]]}]}))
    assert main(["predict", "any", str(clip), "--out", f"{out}2", "--count", str(zones)]) == 2
    assert "clip.mp4: the zone 'door' lies outside its frames of 128 x 96 pixels" in capsys.readouterr().err


def test_an_object_without_a_track_has_no_number_in_its_tag(tmp_path: Path) -> None:
    frame = next(iter(stream_of(write_clip(tmp_path / "clip.mp4", 1), track=True)))
    drawn = []
    for ids in ([-1], None):
        frame.found.track_ids = None if ids is None else np.array(ids)
        drawn.append(np.asarray(draw_instances(frame.pixels, frame.found, colours=["red"])))
    assert (drawn[0] == drawn[1]).all()


def test_a_network_streams(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", times=[0, 70])
    model = MaskRCNN.from_pretrained("person-mobilenet")
    frames = list(model.stream(clip, track=True))
    assert [(frame.number, frame.seconds, frame.pixels.shape) for frame in frames] == [
        (0, 0.0, (96, 128, 3)),
        (1, 0.07, (96, 128, 3)),
    ]
    assert all(frame.found.track_ids is not None for frame in frames)
    with pytest.raises(UserError, match="used only with --allow-network"):
        model.stream("http://127.0.0.1/a.mp4")
    with pytest.raises(UserError, match="no video; for images that are its frames add fps"):
        model.stream(tmp_path)
    (tmp_path / "bad.mp4").write_bytes(b"none")
    with pytest.raises(DataError, match="cannot be read as a video"):
        list(model.stream(tmp_path / "bad.mp4"))


@pytest.mark.parametrize("model", [Moving(), Elsewhere(Moving())])
def test_a_loop_that_is_left_ends_the_decoder(tmp_path: Path, model: Runner) -> None:
    stream = stream_of(write_clip(tmp_path / "clip.mp4", 250), model=model)
    for frame in stream:
        child = stream.reader._child
        if frame.number == 2:
            break
    stream.close()
    assert child is not None and child.poll() is not None
